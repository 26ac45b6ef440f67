// What both gradients of the projection need. They decide nothing: float32, added up in parts that the shapes alone give.
#pragma once

#include "launch.cuh"

namespace dht {

// Sums parts of [columns][rows] floats in a fixed order to [rows][columns] doubles: 32 threads share the parts of a sum.
static __global__ void sum_parts(const float* parts, int64_t number, int32_t rows, int32_t columns, double* sums) {
  __shared__ double shares[32][33];
  const int64_t values = int64_t(rows) * columns, value = int64_t(blockIdx.x) * 32 + threadIdx.x;
  double sum = 0.0;
  if (value < values) {
#pragma unroll 4
    for (int64_t part = threadIdx.y; part < number; part += 32) sum += static_cast<double>(parts[part * values + value]);
  }
  shares[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || value >= values) return;
  for (int share = 1; share < 32; ++share) sum += shares[share][threadIdx.x];
  sums[value % rows * columns + value / rows] = sum;
}

inline Tensor sum_of_parts(const Tensor& parts, int64_t number, int32_t rows, int32_t columns) {
  const Tensor sums = empty_on(parts, {rows, columns}, ScalarType::Double);
  sum_parts<<<blocks_of_one((int64_t(rows) * columns + 31) / 32), dim3(32, 32), 0, current_stream(parts)>>>(
      data<float>(parts), number, rows, columns, mutable_data<double>(sums));
  check(cudaGetLastError(), "launching sum_parts");
  return sums;
}

// SiLU at x and its derivative.
struct Silu {
  float value, slope;
};

__device__ __forceinline__ Silu silu_at(float x) {
  const float share = __fdividef(1.0f, 1.0f + __expf(-x)), value = x * share;
  return {value, fmaf(value, 1.0f - share, share)};
}

}  // namespace dht
