// CUDA kernels of the gradient of pixel_features: a thread takes the pixels between four cells, and one feature.
#include "../common/projection.h"

#include "gradient_sums.cuh"

namespace dht {
namespace {

constexpr int kMostRows = 8;      // rows of pixels between two rows of cells, at most
constexpr int kInputsAtOnce = 8;  // weights whose gradients a thread sums

// Sum over the threads of a block that have the same feature, for each feature, in the order of the threads.
__device__ __forceinline__ void sum_features(float value, int d, float* shared, float* sums) {
  __syncthreads();
  shared[threadIdx.x] = value;
  __syncthreads();
  const int first = static_cast<int>(int64_t(blockIdx.y) * blockDim.x % d);
  for (int o = threadIdx.x; o < d; o += blockDim.x) {
    float sum = 0.0f;
    for (int i = (o - first + d) % d; i < blockDim.x; i += d) sum += shared[i];
    sums[o] = sum;
  }
}

// One feature of four cells, the pixels between them, or its gradient.
struct Corners {
  float upper, upper_right, lower, lower_right;
};

__device__ __forceinline__ Corners load_corners(const double* cell, int64_t right, int64_t below) {
  return {static_cast<float>(cell[0]), static_cast<float>(cell[right]), static_cast<float>(cell[below]), static_cast<float>(cell[below + right])};
}

// Hands a gradient in a column of pixels to the cells: `all` of it, of which `down` belongs to the lower two, weighed by its way across.
__device__ __forceinline__ void add_column(float all, float down, float across, Corners& to) {
  to.upper = fmaf(all - down, 1.0f - across, to.upper);
  to.upper_right = fmaf(all - down, across, to.upper_right);
  to.lower = fmaf(down, 1.0f - across, to.lower);
  to.lower_right = fmaf(down, across, to.lower_right);
}

__device__ __forceinline__ void store_corners(const Corners& from, int64_t at, int64_t cells, float* corners) {
  corners[at] = from.upper;
  corners[cells + at] = from.upper_right;
  corners[2 * cells + at] = from.lower;
  corners[3 * cells + at] = from.lower_right;
}

// What the pixels between four cells pass to them, [4][cells][d], and sums of [C weights | bias]. Threads lie as [column][feature].
template <int C>
__global__ void __launch_bounds__(kThreads) gradients_of_pixels(const float* grad, const float* image, const double* coarse,
                                                                ProjectionSize size, Linear fine, float* corners, float* parts) {
  __shared__ float ways[kMostRows], shared[kThreads];
  const int32_t row = blockIdx.x % size.coarse_height, b = blockIdx.x / size.coarse_height;
  const int32_t top = first_between(row, size.coarse_height), bottom = min(first_between(row + 1, size.coarse_height), size.height);
  if (threadIdx.x < kMostRows) ways[threadIdx.x] = static_cast<float>(way_between(top + threadIdx.x, row, size.coarse_height));
  __syncthreads();
  constexpr int kKept = C > 0 ? C : kInputsAtOnce;
  const int d = size.channels, inputs = C > 0 ? C : size.in_channels, first_input = blockIdx.z * kKept;
  const int32_t thread = blockIdx.y * blockDim.x + threadIdx.x, column = thread / d, o = thread % d;
  const bool inside = column < size.coarse_width;
  const int64_t at = inside ? ((int64_t(b) * size.coarse_height + row) * size.coarse_width + column) * d + o : 0;
  const int64_t right = column + 1 < size.coarse_width ? d : 0, below = row + 1 < size.coarse_height ? int64_t(size.coarse_width) * d : 0;
  const int64_t plane = int64_t(size.height) * size.width;
  const Corners cells = load_corners(coarse + at, inside ? right : 0, inside ? below : 0);
  const float bias = static_cast<float>(fine.bias[o]);
  Corners to_cells{};
  float weight[kKept], to_weight[kKept] = {}, to_bias = 0.0f;
#pragma unroll
  for (int c = 0; c < (C > 0 ? C : 0); ++c) weight[c] = static_cast<float>(fine.weight[o * C + c]);
  const int32_t end = inside ? min(first_between(column + 1, size.coarse_width), size.width) : 0;
  for (int32_t x = inside ? first_between(column, size.coarse_width) : 0; x < end; ++x) {
    const float across = static_cast<float>(way_between(x, column, size.coarse_width));
    const float at_upper = fmaf(cells.upper_right - cells.upper, across, cells.upper);
    const float step = fmaf(cells.lower_right - cells.lower, across, cells.lower) - at_upper;
    const float* pixel = image + int64_t(b) * inputs * plane + int64_t(top) * size.width + x;
    const float* to_feature = grad + ((int64_t(b) * size.height + top) * size.width + x) * d + o;
    float all = 0.0f, down = 0.0f;
    for (int32_t y = top; y < bottom; ++y, pixel += size.width, to_feature += int64_t(size.width) * d) {
      const float way = ways[y - top];
      float sum = fmaf(step, way, at_upper) + bias;
#pragma unroll
      for (int c = 0; c < inputs; ++c)
        sum = fmaf(pixel[c * plane], C > 0 ? weight[C > 0 ? c : 0] : static_cast<float>(fine.weight[int64_t(o) * inputs + c]), sum);
      const float to_sum = *to_feature * silu_at(sum).slope;
      all += to_sum;
      down = fmaf(to_sum, way, down);
#pragma unroll
      for (int k = 0; k < kKept; ++k)
        if (C > 0 || first_input + k < inputs) to_weight[k] = fmaf(to_sum, pixel[(first_input + k) * plane], to_weight[k]);
    }
    to_bias += all;
    add_column(all, down, across, to_cells);
  }
  if (inside && blockIdx.z == 0) store_corners(to_cells, at, int64_t(size.batch) * size.coarse_height * size.coarse_width * d, corners);
  float* part = parts + (int64_t(blockIdx.x) * gridDim.y + blockIdx.y) * d * (inputs + 1);
#pragma unroll
  for (int k = 0; k < kKept; ++k)
    if (C > 0 || first_input + k < inputs) sum_features(to_weight[k], d, shared, part + int64_t(first_input + k) * d);
  if (blockIdx.z == 0) sum_features(to_bias, d, shared, part + int64_t(inputs) * d);
}

// Adds up what a cell gets from the pixels on its four sides.
__global__ void add_corners(const float* corners, ProjectionSize size, double* to_coarse) {
  const int64_t d = size.channels, width = size.coarse_width, below = width * d, cells = int64_t(size.batch) * size.coarse_height * below;
  for (int64_t i = grid_thread(); i < cells; i += grid_size()) {
    const bool left = i / d % width > 0, above = i / below % size.coarse_height > 0;
    float sum = corners[i];
    if (left) sum += corners[cells + i - d];
    if (above) sum += corners[2 * cells + i - below];
    if (left && above) sum += corners[3 * cells + i - below - d];
    to_coarse[i] = sum;
  }
}

}  // namespace

std::tuple<Tensor, Tensor> pixel_features_backward_cuda(const Tensor& grad, const Tensor& image, const Tensor& coarse, const Tensor& weight,
                                                        const Tensor& bias) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const ProjectionSize size = projection_size(image, bias.size(0));
  const cudaStream_t stream = current_stream(image);
  const int64_t rows = int64_t(size.batch) * size.coarse_height, threads = int64_t(size.coarse_width) * size.channels;
  const int64_t block = threads < kThreads ? (threads + 31) / 32 * 32 : kThreads, across = (threads + block - 1) / block;
  const Tensor corners = empty_on(image, {4, rows * threads}, ScalarType::Float);
  const Tensor parts = empty_on(image, {rows * across, size.channels, size.in_channels + 1}, ScalarType::Float);
  const Tensor to_coarse = empty_on(coarse, {size.batch, size.coarse_height, size.coarse_width, size.channels}, ScalarType::Double);
  if (rows > 0) {
    const bool usual = size.in_channels == 3;
    const dim3 grid(blocks_of_one(rows), static_cast<unsigned>(across), usual ? 1 : (size.in_channels + kInputsAtOnce - 1) / kInputsAtOnce);
    const auto kernel = usual ? gradients_of_pixels<3> : gradients_of_pixels<0>;
    kernel<<<grid, static_cast<unsigned>(block), 0, stream>>>(data<float>(grad), data<float>(image), data<double>(coarse), size,
                                                              linear_of(weight, bias), mutable_data<float>(corners), mutable_data<float>(parts));
    add_corners<<<blocks_for(rows * threads), kThreads, 0, stream>>>(data<float>(corners), size, mutable_data<double>(to_coarse));
  }
  check(cudaGetLastError(), "launching the gradient of pixel_features");
  return {to_coarse, sum_of_parts(parts, rows * across, size.channels, size.in_channels + 1)};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("pixel_features_backward", TORCH_BOX(&dht::pixel_features_backward_cuda)); }
