// CUDA kernel of project: coarse cells first, then pixels; features leave as [B, H, W, d], which the hierarchy reads.
#include "../common/projection.h"

#include "launch.cuh"

namespace dht {
namespace {

struct Size {
  int32_t batch, in_channels, height, width, channels, coarse_height, coarse_width;
};

constexpr int kCells = 16;          // coarse cells of a block
constexpr int kCoarseThreads = 128;

// Shared memory of a block: pixels and hidden values of its cells, and the second layer's weights, channels last.
struct CoarseScratch {
  double *pixels, *hidden, *weight;
  int32_t hidden_stride;
};

__host__ __device__ inline int64_t coarse_scratch_doubles(int in_channels, int channels) {
  return int64_t(kCells) * 16 * in_channels + int64_t(kCells) * (16 * channels + 1) + int64_t(16) * channels * channels;
}

__device__ __forceinline__ CoarseScratch coarse_scratch(int in_channels, int channels) {
  extern __shared__ double memory[];
  const int32_t stride = 16 * channels + 1;  // odd, so that the cells of a warp lie in different banks
  double* hidden = memory + kCells * 16 * in_channels;
  return {memory, hidden, hidden + kCells * stride, stride};
}

// The 4 x 4 pixels of every cell, as [cell][position 2 x 2][channel][2 x 2]: the patches of the first layer.
__device__ __forceinline__ void load_cells(const float* image, const Size& size, int64_t first_cell, int64_t cells, double* pixels) {
  const int values = 16 * size.in_channels;
  for (int i = threadIdx.x; i < kCells * values; i += kCoarseThreads) {
    const int64_t cell = first_cell + i / values;
    if (cell >= cells) continue;
    const int position = i % values / (4 * size.in_channels), c = i / 4 % size.in_channels, tap = i % 4;
    const int32_t column = static_cast<int32_t>(cell % size.coarse_width), row = static_cast<int32_t>(cell / size.coarse_width);
    const int32_t y = row % size.coarse_height * 4 + position / 2 * 2 + tap / 2, x = column * 4 + position % 2 * 2 + tap % 2;
    const int64_t plane = int64_t(row / size.coarse_height) * size.in_channels + c;
    pixels[i] = image[(plane * size.height + min(y, size.height - 1)) * size.width + min(x, size.width - 1)];
  }
}

// First layer with SiLU: a thread keeps one output channel and its weights, and goes through the positions.
template <int C, int D>
__device__ __forceinline__ void hidden_values(const Layer& layer, double eps, const Size& size, const CoarseScratch& scratch) {
  const int inputs = C > 0 ? 4 * C : layer.inputs, wide = D > 0 ? 4 * D : layer.outputs;
  for (int o = threadIdx.x % wide; o < wide; o += blockDim.x) {
    const float* weight = layer.weight + o * inputs;
    double kept[C > 0 ? 4 * C : 1];
    for (int k = 0; k < (C > 0 ? inputs : 0); ++k) kept[k] = weight[k];
    const double bias = layer.bias[o], mean = layer.mean[o], beta = layer.beta[o], scale = norm_scale(layer, o, eps);
    const int groups = max(1, static_cast<int>(blockDim.x) / wide), group = threadIdx.x / wide;
    if (group >= groups) continue;
    for (int position = group; position < 4 * kCells; position += groups) {
      const double* patch = scratch.pixels + position * inputs;
      double sum = bias;
#pragma unroll
      for (int k = 0; k < inputs; ++k) sum += patch[k] * (C > 0 ? kept[k] : static_cast<double>(weight[k]));
      scratch.hidden[position / 4 * scratch.hidden_stride + o * 4 + position % 4] = silu(normalize(sum, mean, scale, beta));
    }
  }
}

template <int C, int D>
__global__ void coarse_cells(const float* image, Size size, Layer first, Layer second, double eps, double* coarse) {
  const int d = D > 0 ? D : size.channels, taps = 16 * d;
  const CoarseScratch scratch = coarse_scratch(size.in_channels, d);
  const int64_t cells = int64_t(size.batch) * size.coarse_height * size.coarse_width;
  for (int i = threadIdx.x; i < taps * d; i += blockDim.x) scratch.weight[i] = second.weight[i % d * taps + i / d];
  for (int64_t begin = int64_t(blockIdx.x) * kCells; begin < cells; begin += int64_t(gridDim.x) * kCells) {
    __syncthreads();
    load_cells(image, size, begin, cells, scratch.pixels);
    __syncthreads();
    hidden_values<C, D>(first, eps, size, scratch);
    __syncthreads();
    for (int i = threadIdx.x; i < kCells * d; i += blockDim.x) {
      const int cell = i / d, o = i % d;
      if (begin + cell >= cells) continue;
      const double* hidden = scratch.hidden + cell * scratch.hidden_stride;
      double sum = second.bias[o];
#pragma unroll 8
      for (int k = 0; k < taps; ++k) sum += hidden[k] * scratch.weight[k * d + o];
      coarse[(begin + cell) * d + o] = normalize(sum, second.mean[o], norm_scale(second, o, eps), second.beta[o]);
    }
  }
}

constexpr int kStripRows = 16;  // rows that a thread goes down, keeping its column and channel

// Features of a strip of columns: threads lie as [column][channel], so that loads and stores of a pixel's channels coalesce.
template <int C>
__global__ void pixel_features(const float* image, const double* coarse, Size size, Layer layer, double eps, float* features) {
  const int inputs = C > 0 ? C : layer.inputs, d = size.channels, columns = kThreads / d;
  const int o = threadIdx.x % d, x = blockIdx.x * columns + threadIdx.x / d;
  if (threadIdx.x >= columns * d || x >= size.width) return;
  const int32_t b = blockIdx.z, top = blockIdx.y * kStripRows, plane = size.height * size.width;
  const double bias = layer.bias[o], mean = layer.mean[o], beta = layer.beta[o], scale = norm_scale(layer, o, eps);
  double weight[C > 0 ? C : 1];
  for (int c = 0; c < (C > 0 ? C : 0); ++c) weight[c] = layer.weight[o * C + c];
  const Between across = upsample4_position(x, size.coarse_width);
  const double* left = coarse + (int64_t(b) * size.coarse_height * size.coarse_width + across.low) * d + o;
  const double* right = left + (across.high - across.low) * d;
  const int32_t row = size.coarse_width * d;
  const float* pixel = image + int64_t(b) * inputs * plane + x;
  for (int32_t y = top; y < min(top + kStripRows, size.height); ++y) {
    const Between down = upsample4_position(y, size.coarse_height);
    double sum = bias;
#pragma unroll
    for (int c = 0; c < inputs; ++c)
      sum += static_cast<double>(pixel[c * plane + y * size.width]) * (C > 0 ? weight[c] : static_cast<double>(layer.weight[o * inputs + c]));
    const double at_left = lerp(left[down.low * row], left[down.high * row], down.fraction);
    const double at_right = lerp(right[down.low * row], right[down.high * row], down.fraction);
    features[(int64_t(b) * plane + y * size.width + x) * d + o] =
        static_cast<float>(silu(normalize(sum, mean, scale, beta) + lerp(at_left, at_right, across.fraction)));
  }
}

template <int C, int D>
void run(const float* image, const Size& size, const Projection& layers, double eps, double* coarse, float* features, cudaStream_t stream) {
  const int64_t cells = int64_t(size.batch) * size.coarse_height * size.coarse_width;
  const size_t scratch = coarse_scratch_doubles(size.in_channels, size.channels) * sizeof(double);
  check(cudaFuncSetAttribute(coarse_cells<C, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(scratch)),
        "reserving shared memory for the projection");
  coarse_cells<C, D><<<blocks_for((cells + kCells - 1) / kCells * kThreads), kCoarseThreads, scratch, stream>>>(
      image, size, layers.coarse1, layers.coarse2, eps, coarse);
  const int columns = kThreads / size.channels;
  const dim3 strips((size.width + columns - 1) / columns, (size.height + kStripRows - 1) / kStripRows, size.batch);
  pixel_features<C><<<strips, kThreads, 0, stream>>>(image, coarse, size, layers.fine, eps, features);
  check(cudaGetLastError(), "launching the projection");
}

}  // namespace

Tensor project_cuda(const Tensor& image, const Tensor& parameters, int64_t channels, double eps) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const int32_t height = static_cast<int32_t>(image.size(2)), width = static_cast<int32_t>(image.size(3));
  const Size size{static_cast<int32_t>(image.size(0)), static_cast<int32_t>(image.size(1)), height, width,
                  static_cast<int32_t>(channels), (height + 3) / 4, (width + 3) / 4};
  const Projection layers = take_projection(data<float>(parameters), size.in_channels, size.channels);
  const int64_t cells = int64_t(size.batch) * size.coarse_height * size.coarse_width;
  const Tensor coarse = empty_on(image, {cells * channels}, ScalarType::Double);
  const Tensor features = empty_on(image, {size.batch, height, width, channels}, ScalarType::Float);
  const auto kernel = size.in_channels == 3 && channels == 8 ? run<3, 8> : run<0, 0>;
  kernel(data<float>(image), size, layers, eps, mutable_data<double>(coarse), mutable_data<float>(features), current_stream(image));
  return features;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("project", TORCH_BOX(&dht::project_cuda)); }
