// CUDA kernels of the gradient of coarse_features: a thread keeps one hidden value of all cells.
#include "../common/projection.h"

#include "gradient_sums.cuh"

namespace dht {
namespace {

constexpr int kTile = 32;        // cells that a block loads at once, at most
constexpr int kTileFloats = 10240;
constexpr int kOutputs = 8;      // second weights of a thread
constexpr int kInputs = 12;      // first weights of a thread

int32_t cells_of_tile(const ProjectionSize& size) {
  const int32_t fit = kTileFloats / (16 * size.in_channels + size.channels);
  return fit < 1 ? 1 : fit < kTile ? fit : kTile;
}

// Patches of the cells as [cell][position][4 C] and the gradients to them as [cell][d].
__device__ __forceinline__ void load_tile(const float* image, const double* grad, const ProjectionSize& size, int64_t begin, int32_t count,
                                          float* patches, float* grads) {
  const int inputs = 4 * size.in_channels;
  for (int i = threadIdx.x; i < 4 * count; i += blockDim.x) {
    const int64_t cell = begin + i / 4;
    const int32_t column = static_cast<int32_t>(cell % size.coarse_width), row = static_cast<int32_t>(cell / size.coarse_width);
    const int32_t y = row % size.coarse_height * 4 + i % 4 / 2 * 2, x = column * 4 + i % 2 * 2;
    const int32_t lower = min(y + 1, size.height - 1), right = min(x + 1, size.width - 1);
    const int32_t upper = min(y, size.height - 1), left = min(x, size.width - 1);
    const float* plane = image + int64_t(row / size.coarse_height) * size.in_channels * size.height * size.width;
    for (int c = 0; c < inputs; c += 4, plane += int64_t(size.height) * size.width) {
      patches[i * inputs + c] = plane[int64_t(upper) * size.width + left];
      patches[i * inputs + c + 1] = plane[int64_t(upper) * size.width + right];
      patches[i * inputs + c + 2] = plane[int64_t(lower) * size.width + left];
      patches[i * inputs + c + 3] = plane[int64_t(lower) * size.width + right];
    }
  }
  for (int i = threadIdx.x; i < count * size.channels; i += blockDim.x) grads[i] = static_cast<float>(grad[begin * size.channels + i]);
}

// Sums for three channels of an image and eight features. A thread keeps one hidden value of all cells, and its weights and sums:
// [d second weights | 4 C first weights | first bias | for the first d threads the second bias].
__global__ void __launch_bounds__(16 * kOutputs) gradients_of_cells(const float* image, const double* grad, ProjectionSize size,
                                                                    Linear first, const double* weight2, float* parts) {
  constexpr int kHidden = 16 * kOutputs;
  __shared__ float4 patches[kTile * 4 * kInputs / 4], grads[kTile * kOutputs / 4];
  const int hidden = threadIdx.x, tap = hidden % 4;
  float second[kOutputs], weight[kInputs], to_second[kOutputs] = {}, to_weight[kInputs] = {}, to_bias = 0.0f, to_bias2 = 0.0f;
#pragma unroll
  for (int j = 0; j < kOutputs; ++j) second[j] = static_cast<float>(weight2[j * kHidden + hidden]);
#pragma unroll
  for (int k = 0; k < kInputs; ++k) weight[k] = static_cast<float>(first.weight[hidden / 4 * kInputs + k]);
  const float bias = static_cast<float>(first.bias[hidden / 4]);
  const int64_t cells = int64_t(size.batch) * size.coarse_height * size.coarse_width;
  for (int64_t begin = int64_t(blockIdx.x) * kTile; begin < cells; begin += int64_t(gridDim.x) * kTile) {
    const int32_t count = static_cast<int32_t>(min(int64_t(kTile), cells - begin));
    __syncthreads();
    load_tile(image, grad, size, begin, count, reinterpret_cast<float*>(patches), reinterpret_cast<float*>(grads));
    __syncthreads();
#pragma unroll 2
    for (int cell = 0; cell < count; ++cell) {
      float input[kInputs], to_output[kOutputs], x = bias, to_hidden = 0.0f;
#pragma unroll
      for (int k = 0; k < kInputs / 4; ++k) *reinterpret_cast<float4*>(input + 4 * k) = patches[(cell * 4 + tap) * kInputs / 4 + k];
#pragma unroll
      for (int j = 0; j < kOutputs / 4; ++j) *reinterpret_cast<float4*>(to_output + 4 * j) = grads[cell * kOutputs / 4 + j];
#pragma unroll
      for (int k = 0; k < kInputs; ++k) x = fmaf(input[k], weight[k], x);
#pragma unroll
      for (int j = 0; j < kOutputs; ++j) to_hidden = fmaf(to_output[j], second[j], to_hidden);
      const Silu silu = silu_at(x);
      const float to_x = to_hidden * silu.slope;
#pragma unroll
      for (int j = 0; j < kOutputs; ++j) to_second[j] = fmaf(to_output[j], silu.value, to_second[j]);
#pragma unroll
      for (int k = 0; k < kInputs; ++k) to_weight[k] = fmaf(input[k], to_x, to_weight[k]);
      to_bias += to_x;
      to_bias2 += reinterpret_cast<const float*>(grads)[cell * kOutputs + hidden % kOutputs];
    }
  }
  float* part = parts + int64_t(blockIdx.x) * kHidden * (kOutputs + kInputs + 2) + hidden;
#pragma unroll
  for (int j = 0; j < kOutputs; ++j) part[j * kHidden] = to_second[j];
#pragma unroll
  for (int k = 0; k < kInputs; ++k) part[(kOutputs + k) * kHidden] = to_weight[k];
  part[(kOutputs + kInputs) * kHidden] = to_bias;
  part[(kOutputs + kInputs + 1) * kHidden] = to_bias2;
}

// The same for any number of channels and features; blockIdx.y counts groups of hidden values, blockIdx.z groups of their sums.
__global__ void gradients_of_any_cells(const float* image, const double* grad, ProjectionSize size, Linear first, const double* weight2,
                                       int32_t tile, float* parts) {
  extern __shared__ float memory[];
  const int d = size.channels, inputs = 4 * size.in_channels, all = 16 * d, output = blockIdx.z * kOutputs, input = blockIdx.z * kInputs;
  const int hidden = blockIdx.y * blockDim.x + threadIdx.x;
  float *patches = memory, *grads = memory + tile * 4 * inputs;
  float to_second[kOutputs] = {}, to_weight[kInputs] = {}, to_bias = 0.0f, to_bias2 = 0.0f;
  const int64_t cells = int64_t(size.batch) * size.coarse_height * size.coarse_width;
  for (int64_t begin = int64_t(blockIdx.x) * tile; begin < cells; begin += int64_t(gridDim.x) * tile) {
    const int32_t count = static_cast<int32_t>(min(int64_t(tile), cells - begin));
    __syncthreads();
    load_tile(image, grad, size, begin, count, patches, grads);
    __syncthreads();
    for (int cell = 0; cell < (hidden < all ? count : 0); ++cell) {
      const float *patch = patches + (cell * 4 + hidden % 4) * inputs, *to_output = grads + cell * d;
      float x = static_cast<float>(first.bias[hidden / 4]), to_hidden = 0.0f;
      for (int k = 0; k < inputs; ++k) x = fmaf(patch[k], static_cast<float>(first.weight[int64_t(hidden / 4) * inputs + k]), x);
      for (int j = 0; j < d; ++j) to_hidden = fmaf(to_output[j], static_cast<float>(weight2[int64_t(j) * all + hidden]), to_hidden);
      const Silu silu = silu_at(x);
      const float to_x = to_hidden * silu.slope;
#pragma unroll
      for (int j = 0; j < kOutputs; ++j) to_second[j] = output + j < d ? fmaf(to_output[output + j], silu.value, to_second[j]) : 0.0f;
#pragma unroll
      for (int k = 0; k < kInputs; ++k) to_weight[k] = input + k < inputs ? fmaf(patch[input + k], to_x, to_weight[k]) : 0.0f;
      to_bias += to_x;
      to_bias2 += to_output[hidden % d];
    }
  }
  if (hidden >= all) return;
  float* part = parts + int64_t(blockIdx.x) * all * (d + inputs + 2) + hidden;
  for (int j = 0; j < kOutputs && output + j < d; ++j) part[int64_t(output + j) * all] = to_second[j];
  for (int k = 0; k < kInputs && input + k < inputs; ++k) part[int64_t(d + input + k) * all] = to_weight[k];
  if (blockIdx.z > 0) return;
  part[int64_t(d + inputs) * all] = to_bias;
  part[int64_t(d + inputs + 1) * all] = to_bias2;
}

}  // namespace

Tensor coarse_features_backward_cuda(const Tensor& grad, const Tensor& image, const Tensor& weight1, const Tensor& bias1,
                                     const Tensor& weight2) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const ProjectionSize size = projection_size(image, weight2.size(0));
  const Linear first = linear_of(weight1, bias1);
  const cudaStream_t stream = current_stream(image);
  const int32_t rows = 16 * size.channels, inputs = 4 * size.in_channels, columns = size.channels + inputs + 2, tile = cells_of_tile(size);
  const int64_t tiles = (int64_t(size.batch) * size.coarse_height * size.coarse_width + tile - 1) / tile;
  const unsigned blocks = static_cast<unsigned>(tiles < kMaxBlocks ? tiles : kMaxBlocks);
  const Tensor parts = empty_on(image, {blocks, rows, columns}, ScalarType::Float);
  if (blocks > 0 && inputs == kInputs && size.channels == kOutputs) {
    gradients_of_cells<<<blocks, rows, 0, stream>>>(data<float>(image), data<double>(grad), size, first, data<double>(weight2),
                                                    mutable_data<float>(parts));
  } else if (blocks > 0) {
    const int32_t block = rows < kThreads ? rows : kThreads, by_outputs = (size.channels + kOutputs - 1) / kOutputs;
    const int32_t by_inputs = (inputs + kInputs - 1) / kInputs;
    const dim3 grid(blocks, (rows + block - 1) / block, by_outputs > by_inputs ? by_outputs : by_inputs);
    gradients_of_any_cells<<<grid, block, tile * (4 * inputs + size.channels) * sizeof(float), stream>>>(
        data<float>(image), data<double>(grad), size, first, data<double>(weight2), tile, mutable_data<float>(parts));
  }
  check(cudaGetLastError(), "launching the gradient of coarse_features");
  return sum_of_parts(parts, blocks, rows, columns);
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("coarse_features_backward", TORCH_BOX(&dht::coarse_features_backward_cuda)); }
