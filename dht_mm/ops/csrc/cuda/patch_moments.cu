// CUDA kernel of patch_moments: a thread keeps one product of inputs and goes through patches; integers are added in any order.
#include "../common/integer_moments.h"

#include "fixed_point.cuh"

namespace dht {
namespace {

// Patches that a block loads at once: a power of two that leaves them 16 KiB of shared memory, as far as one patch does.
int32_t patches_of_tile(const PatchShape& shape) {
  int32_t tile = kThreads;
  while (tile > 1 && int64_t(tile) * shape.inputs > 2048) tile /= 2;
  return tile;
}

// The largest of the images' largest magnitudes, for all threads.
__device__ __forceinline__ float largest_of_all(const float* largest, int64_t images) {
  __shared__ uint32_t shared;
  if (threadIdx.x == 0) shared = 0;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < images; i += blockDim.x) atomicMax(&shared, __float_as_uint(largest[i]));
  __syncthreads();
  return __uint_as_float(shared);
}

// Patches [begin, begin + count) as [input][tile + 1] doubles; `tile` divides the number of threads.
__device__ __forceinline__ void load_patches(const float* image, const PatchShape& shape, const int64_t* offsets, uint32_t begin,
                                             int32_t count, int32_t tile, double* patches) {
  const int n = threadIdx.x % tile;
  if (n >= count) return;
  const float* patch = image + patch_start(shape, begin + n);
  for (int k = threadIdx.x / tile; k < shape.inputs; k += blockDim.x / tile) patches[k * (tile + 1) + n] = patch[offsets[k]];
}

// Threads lie as [group of patches][moment]; blockIdx.y counts chunks of moments where they are more than threads.
__global__ void add_moments(const float* image, PatchShape shape, int32_t tile, const float* largest, int64_t images, int64_t* sums) {
  extern __shared__ double patches[];
  int64_t* offsets = reinterpret_cast<int64_t*>(patches + shape.inputs * (tile + 1));
  for (int k = threadIdx.x; k < shape.inputs; k += blockDim.x) offsets[k] = input_offset(shape, k);
  const int32_t moments = moment_count(shape.inputs), columns = min(moments, static_cast<int32_t>(blockDim.x));
  const int32_t groups = blockDim.x / columns, group = threadIdx.x / columns, moment = blockIdx.y * columns + threadIdx.x % columns;
  const bool active = group < groups && moment < moments, is_first = moment < shape.inputs;
  const MomentBits bits = moment_bits(feature_exponent(largest_of_all(largest, images)), shape.patches);
  const double unit = power_of_two(is_first ? bits.first : bits.second);
  const Pair pair = !active ? Pair{0, 0} : is_first ? Pair{moment, moment} : pair_of(moment, shape.inputs);
  const double *a = patches + pair.i * (tile + 1), *b = patches + pair.j * (tile + 1);
  uint64_t sum = 0;
  for (int64_t begin = int64_t(blockIdx.x) * tile; begin < shape.patches; begin += int64_t(gridDim.x) * tile) {
    const int32_t count = static_cast<int32_t>(min(int64_t(tile), int64_t(shape.patches) - begin));
    __syncthreads();
    load_patches(image, shape, offsets, static_cast<uint32_t>(begin), count, tile, patches);
    __syncthreads();
#pragma unroll 4
    for (int n = group; n < (active ? count : 0); n += groups)
      sum += static_cast<uint64_t>(rounded_bits((is_first ? a[n] : a[n] * b[n]) * unit));
  }
  add_groups(sum, columns, active && group == 0 ? groups : 0, sums + moment);
}

__global__ void write_moments(PatchShape shape, const float* largest, int64_t images, const int64_t* sums, double* first, double* second) {
  const MomentBits bits = moment_bits(feature_exponent(largest_of_all(largest, images)), shape.patches);
  for (int32_t n = threadIdx.x; n < moment_count(shape.inputs); n += blockDim.x) {
    if (n < shape.inputs) {
      first[n] = sum_of_bits(sums[n], shape.patches, bits.first);
      continue;
    }
    const Pair pair = pair_of(n, shape.inputs);
    second[pair.i * shape.inputs + pair.j] = second[pair.j * shape.inputs + pair.i] = sum_of_bits(sums[n], shape.patches, bits.second);
  }
}

}  // namespace

std::tuple<Tensor, Tensor> patch_moments_cuda(const Tensor& image, int64_t stride) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const PatchShape shape = patch_shape(image, stride);
  STD_TORCH_CHECK(shape.inputs <= 2048, "patches may have up to 2048 values, got ", shape.inputs);
  const int64_t images = image.size(0);
  const Tensor largest = largest_magnitudes(image, nullptr, images, int64_t(shape.channels) * shape.height, shape.width);
  const int32_t moments = moment_count(shape.inputs), tile = patches_of_tile(shape);
  const Tensor sums = zeros_on(image, {moments}, ScalarType::Long);
  const int64_t tiles = (int64_t(shape.patches) + tile - 1) / tile;
  const Tensor first = empty_on(image, {shape.inputs}, ScalarType::Double);
  const Tensor second = empty_on(image, {shape.inputs, shape.inputs}, ScalarType::Double);
  if (tiles > 0) {
    const dim3 grid(static_cast<unsigned>(tiles < kMaxBlocks ? tiles : kMaxBlocks), (moments + kThreads - 1) / kThreads);
    add_moments<<<grid, kThreads, shape.inputs * (tile + 2) * sizeof(double), current_stream(image)>>>(
        data<float>(image), shape, tile, data<float>(largest), images, mutable_data<int64_t>(sums));
  }
  write_moments<<<1, kThreads, 0, current_stream(image)>>>(shape, data<float>(largest), images, data<int64_t>(sums),
                                                           mutable_data<double>(first), mutable_data<double>(second));
  check(cudaGetLastError(), "launching patch_moments");
  return {first, second};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("patch_moments", TORCH_BOX(&dht::patch_moments_cuda)); }
