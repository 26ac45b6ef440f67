// Sums in fixed point on the GPU: the largest value of every image, which gives its unit, and additions in any order.
#pragma once

#include "../common/fixed_point.h"
#include "launch.cuh"

namespace dht {

__device__ __forceinline__ void add_atomically(int64_t* to, int64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

// Adds the sums of a block's threads t, t + columns, ... to `to`: thread t asks for `groups` of them, the others for none.
__device__ __forceinline__ void add_groups(uint64_t sum, int32_t columns, int32_t groups, int64_t* to) {
  __shared__ uint64_t shares[kThreads];
  __syncthreads();
  shares[threadIdx.x] = sum;
  __syncthreads();
  for (int32_t group = 1; group < groups; ++group) sum += shares[threadIdx.x + group * columns];
  if (groups > 0) add_atomically(to, static_cast<int64_t>(sum));
}

// Bits of the largest absolute value among the rows of each image. Magnitudes order as their bits do, NaN last.
static __global__ void raise_to_largest(const float* values, const int32_t* first_row, int64_t rows, int64_t width, uint32_t* largest) {
  const int64_t image = blockIdx.x;
  const int64_t begin = (first_row ? first_row[image] : image * rows) * width;
  const int64_t end = (first_row ? first_row[image + 1] : (image + 1) * rows) * width;
  uint32_t mine = 0;
  for (int64_t i = begin + int64_t(blockIdx.y) * blockDim.x + threadIdx.x; i < end; i += int64_t(gridDim.y) * blockDim.x)
    mine = max(mine, __float_as_uint(values[i]) & 0x7FFFFFFFu);
  mine = __reduce_max_sync(0xFFFFFFFFu, mine);
  if (threadIdx.x % 32 == 0) atomicMax(largest + image, mine);
}

// The largest absolute value of each of `batch` images, `[batch]`. Image i has the rows from first_row[i] to first_row[i + 1], or, where
// that is null, `rows` rows like any other.
inline Tensor largest_magnitudes(const Tensor& values, const int32_t* first_row, int64_t batch, int64_t rows, int64_t width) {
  const Tensor largest = zeros_on(values, {batch}, ScalarType::Float);
  const int64_t blocks = (rows * width + 16 * kThreads - 1) / (16 * kThreads);
  if (batch == 0 || blocks == 0) return largest;
  const dim3 grid(blocks_of_one(batch), static_cast<unsigned>(blocks < 64 ? blocks : 64));
  raise_to_largest<<<grid, kThreads, 0, current_stream(values)>>>(
      data<float>(values), first_row, rows, width, reinterpret_cast<uint32_t*>(mutable_data<float>(largest)));
  check(cudaGetLastError(), "launching a kernel");
  return largest;
}

}  // namespace dht
