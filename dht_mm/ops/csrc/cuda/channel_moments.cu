// CUDA kernel of channel_moments for values that lie as [B, h, w, d]: the largest magnitude, then sums of integers in any order.
#include "../common/integer_moments.h"

#include "fixed_point.cuh"

namespace dht {
namespace {

// The upper half of the bits of the largest absolute value: its exponent is in them.
__global__ void raise_to_largest_high(const double* values, int64_t count, uint32_t* largest) {
  uint32_t mine = 0;
  for (int64_t i = grid_thread(); i < count; i += grid_size())
    mine = max(mine, static_cast<uint32_t>(static_cast<uint64_t>(double_to_bits(values[i])) >> 32) & 0x7FFFFFFFu);
  mine = __reduce_max_sync(0xFFFFFFFFu, mine);
  if (threadIdx.x % 32 == 0) atomicMax(largest, mine);
}

__device__ __forceinline__ MomentBits bits_of(uint32_t largest, int64_t terms) {
  return moment_bits(exponent_of_bits(static_cast<uint64_t>(largest) << 32), terms);
}

// A thread keeps its channel; blockIdx.y counts chunks of channels where they are more than threads.
__global__ void add_channels(const double* values, int64_t terms, int32_t channels, const uint32_t* largest, int64_t* sums) {
  const MomentBits bits = bits_of(*largest, terms);
  const double first = power_of_two(bits.first), second = power_of_two(bits.second);
  const int32_t columns = min(channels, static_cast<int32_t>(blockDim.x)), rows = blockDim.x / columns;
  const int32_t row = threadIdx.x / columns, channel = blockIdx.y * columns + threadIdx.x % columns;
  const bool active = row < rows && channel < channels;
  uint64_t sum = 0, squares = 0;
#pragma unroll 4
  for (int64_t n = int64_t(blockIdx.x) * rows + row; n < (active ? terms : 0); n += int64_t(gridDim.x) * rows) {
    const double value = values[n * channels + channel];
    sum += static_cast<uint64_t>(rounded_bits(value * first));
    squares += static_cast<uint64_t>(rounded_bits(value * value * second));
  }
  const int32_t groups = active && row == 0 ? rows : 0;
  add_groups(sum, columns, groups, sums + channel);
  add_groups(squares, columns, groups, sums + channels + channel);
}

__global__ void write_channels(const int64_t* sums, int64_t terms, int32_t channels, const uint32_t* largest, double* first, double* second) {
  const MomentBits bits = bits_of(*largest, terms);
  for (int32_t c = threadIdx.x; c < channels; c += blockDim.x) {
    first[c] = sum_of_bits(sums[c], terms, bits.first);
    second[c] = sum_of_bits(sums[channels + c], terms, bits.second);
  }
}

}  // namespace

std::tuple<Tensor, Tensor> channel_moments_cuda(const Tensor& values) {
  const torch::stable::accelerator::DeviceGuard guard(values.get_device_index());
  const cudaStream_t stream = current_stream(values);
  const int32_t channels = static_cast<int32_t>(values.size(3));
  const int64_t terms = values.size(0) * values.size(1) * values.size(2);
  // One more for the largest magnitude.
  const Tensor sums = zeros_on(values, {2 * channels + 1}, ScalarType::Long);
  uint32_t* largest = reinterpret_cast<uint32_t*>(mutable_data<int64_t>(sums) + 2 * channels);
  const Tensor first = empty_on(values, {channels}, ScalarType::Double), second = empty_on(values, {channels}, ScalarType::Double);
  raise_to_largest_high<<<blocks_for(terms * channels / 8), kThreads, 0, stream>>>(data<double>(values), terms * channels, largest);
  const dim3 grid(blocks_for(terms * channels / 16), (channels + kThreads - 1) / kThreads);
  add_channels<<<grid, kThreads, 0, stream>>>(data<double>(values), terms, channels, largest, mutable_data<int64_t>(sums));
  write_channels<<<1, kThreads, 0, stream>>>(data<int64_t>(sums), terms, channels, largest, mutable_data<double>(first),
                                             mutable_data<double>(second));
  check(cudaGetLastError(), "launching channel_moments");
  return {first, second};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("channel_moments", TORCH_BOX(&dht::channel_moments_cuda)); }
