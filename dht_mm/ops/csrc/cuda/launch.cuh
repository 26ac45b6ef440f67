// Launch shapes, streams and errors.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "../common/tensors.h"

namespace dht {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 1056;  // eight blocks on each of 132 multiprocessors
constexpr unsigned kAllLanes = 0xFFFFFFFF;

__host__ __device__ inline int blocks_for(int64_t work) {
  const int64_t blocks = (work + kThreads - 1) / kThreads;
  return static_cast<int>(blocks < 1 ? 1 : blocks > kMaxBlocks ? kMaxBlocks : blocks);
}

// One block for each of `count` things.
inline unsigned blocks_of_one(int64_t count) {
  STD_TORCH_CHECK(count <= INT32_MAX, "the batch is too large for a kernel, it needs ", count, " blocks");
  return static_cast<unsigned>(count);
}

inline void check(cudaError_t status, const char* what) {
  STD_TORCH_CHECK(status == cudaSuccess, what, ": ", cudaGetErrorString(status));
}

// How many blocks of a kernel the current device holds at once. Asked for once: the driver takes a microsecond to work it out.
template <class... Parameters>
int resident_blocks(void (*kernel)(Parameters...), int threads = kThreads) {
  thread_local std::map<std::pair<const void*, int>, int> known;
  int device = 0, multiprocessors = 0, each = 0;
  check(cudaGetDevice(&device), "finding the device");
  int& blocks = known[{reinterpret_cast<const void*>(kernel), device}];
  if (blocks > 0) return blocks;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), "counting multiprocessors");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, 0), "finding a kernel's occupancy");
  return blocks = std::max(1, each * multiprocessors);
}

// Blocks for kernels whose threads go on to the next piece of work: all of them run from the beginning to the end. More would have to
// wait for the first to end, and would then leave most of the device idle.
template <class... Parameters>
int one_wave(void (*kernel)(Parameters...), int64_t work, int threads = kThreads) {
  const int64_t blocks = std::max<int64_t>(1, (work + threads - 1) / threads);
  return static_cast<int>(std::min<int64_t>(blocks, resident_blocks(kernel, threads)));
}

inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream);
  return static_cast<cudaStream_t>(stream);
}

// A tensor of zeros beside another one, filled on the stream. Takes a fraction of the dispatcher's time.
inline Tensor zeros_on(const Tensor& like, std::initializer_list<int64_t> shape, ScalarType dtype) {
  const Tensor zeros = empty_on(like, shape, dtype);
  const int64_t bytes = zeros.numel() * static_cast<int64_t>(zeros.element_size());
  if (bytes > 0) check(cudaMemsetAsync(zeros.data_ptr(), 0, bytes, current_stream(like)), "filling with zeros");
  return zeros;
}

// Division of numbers below 2^31 by one that is the same for all threads, as a product and a shift.
struct Divider {
  uint32_t divisor, factor, shift;

  explicit Divider(int32_t by) : divisor(static_cast<uint32_t>(by)), shift(0) {
    while ((uint64_t(1) << shift) < divisor) ++shift;
    factor = static_cast<uint32_t>((((uint64_t(1) << shift) - divisor) << 32) / divisor + 1);
  }
  __device__ __forceinline__ int32_t quotient(int32_t x) const {
    return static_cast<int32_t>((__umulhi(static_cast<uint32_t>(x), factor) + static_cast<uint32_t>(x)) >> shift);
  }
  __device__ __forceinline__ int32_t remainder(int32_t x) const { return x - quotient(x) * static_cast<int32_t>(divisor); }
};

__device__ __forceinline__ int64_t grid_thread() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t grid_size() { return int64_t(gridDim.x) * blockDim.x; }

}  // namespace dht
