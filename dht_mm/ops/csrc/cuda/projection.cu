// CUDA kernels of the projection's forward: coarse cells, then pixels; both leave as [B, H, W, d], which the hierarchy reads.
#include "../common/fold_norm.h"
#include "../common/projection.h"

#include "launch.cuh"

namespace dht {
namespace {

constexpr int kCoarseThreads = 128;
constexpr int kCells = kCoarseThreads / 4;  // cells of a block: a thread takes one of the four positions in a cell
constexpr int kOutputs = 8;                 // sums that a thread holds

// Upper left pixel of one position of a cell.
struct Patch {
  int32_t image, y, x;
};

__device__ __forceinline__ Patch patch_at(const ProjectionSize& size, int64_t cell, int tap) {
  const int32_t column = static_cast<int32_t>(cell % size.coarse_width), row = static_cast<int32_t>(cell / size.coarse_width);
  return {row / size.coarse_height, row % size.coarse_height * 4 + tap / 2 * 2, column * 4 + tap % 2 * 2};
}

// Input k of a patch; the image goes on with its last row and column.
__device__ __forceinline__ double patch_input(const float* image, const ProjectionSize& size, const Patch& patch, int k) {
  const int32_t y = min(patch.y + k / 2 % 2, size.height - 1), x = min(patch.x + k % 2, size.width - 1);
  return image[((int64_t(patch.image) * size.in_channels + k / 4) * size.height + y) * size.width + x];
}

// Adds up the four positions, which lie in neighbouring threads; each stores its two of the outputs from `first_output` on.
__device__ __forceinline__ void store_cell(const ProjectionSize& size, const Linear& second, int64_t cell, int64_t cells, int tap,
                                           int first_output, const double* sums, double* coarse) {
#pragma unroll
  for (int j = 0; j < kOutputs; ++j) {
    double sum = sums[j] + __shfl_xor_sync(0xFFFFFFFFu, sums[j], 1);
    sum = sum + __shfl_xor_sync(0xFFFFFFFFu, sum, 2);
    if (j / 2 == tap && cell < cells && first_output + j < size.channels)
      coarse[cell * size.channels + first_output + j] = second.bias[first_output + j] + sum;
  }
}

// For C channels of an image and eight features: weights in shared memory, those of the second layer as [hidden][pair][position].
template <int C>
__global__ void __launch_bounds__(kCoarseThreads, 6) coarse_cells(const float* image, ProjectionSize size, Linear first, Linear second,
                                                                  double* coarse) {
  constexpr int kWide = 4 * kOutputs, kInputs = 4 * C, kPairs = kOutputs / 2;
  __shared__ double2 weight1[kWide * kInputs / 2], weight2[kWide * kPairs * 4];
  __shared__ double bias1[kWide];
  for (int i = threadIdx.x; i < kWide * kInputs / 2; i += kCoarseThreads) weight1[i] = {first.weight[2 * i], first.weight[2 * i + 1]};
  for (int i = threadIdx.x; i < kWide * kPairs * 4; i += kCoarseThreads) {
    const double* weight = second.weight + i / 4 % kPairs * 2 * 4 * kWide + i / (4 * kPairs) * 4 + i % 4;
    weight2[i] = {weight[0], weight[4 * kWide]};
  }
  if (threadIdx.x < kWide) bias1[threadIdx.x] = first.bias[threadIdx.x];
  __syncthreads();
  const int64_t cells = int64_t(size.batch) * size.coarse_height * size.coarse_width;
  const int tap = threadIdx.x % 4;
  for (int64_t begin = int64_t(blockIdx.x) * kCells; begin < cells; begin += int64_t(gridDim.x) * kCells) {
    const int64_t cell = begin + threadIdx.x / 4;
    const Patch patch = patch_at(size, min(cell, cells - 1), tap);
    double inputs[kInputs], sums[kOutputs] = {};
#pragma unroll
    for (int k = 0; k < kInputs; ++k) inputs[k] = patch_input(image, size, patch, k);
#pragma unroll 2
    for (int o = 0; o < kWide; ++o) {
      double hidden = bias1[o];
#pragma unroll
      for (int k = 0; k < kInputs / 2; ++k) {
        const double2 weight = weight1[o * kInputs / 2 + k];
        hidden += inputs[2 * k] * weight.x;
        hidden += inputs[2 * k + 1] * weight.y;
      }
      hidden = silu(hidden);
#pragma unroll
      for (int j = 0; j < kPairs; ++j) {
        const double2 weight = weight2[(o * kPairs + j) * 4 + tap];
        sums[2 * j] += hidden * weight.x;
        sums[2 * j + 1] += hidden * weight.y;
      }
    }
    store_cell(size, second, cell, cells, tap, 0, sums, coarse);
  }
}

// For any number of channels and features; blockIdx.y counts groups of eight features.
__global__ void __launch_bounds__(kCoarseThreads) coarse_cells_of_any(const float* image, ProjectionSize size, Linear first, Linear second,
                                                                      double* coarse) {
  const int64_t cells = int64_t(size.batch) * size.coarse_height * size.coarse_width;
  const int tap = threadIdx.x % 4, wide = 4 * size.channels, inputs = 4 * size.in_channels, output = blockIdx.y * kOutputs;
  for (int64_t begin = int64_t(blockIdx.x) * kCells; begin < cells; begin += int64_t(gridDim.x) * kCells) {
    const int64_t cell = begin + threadIdx.x / 4;
    const Patch patch = patch_at(size, min(cell, cells - 1), tap);
    double sums[kOutputs] = {};
    for (int o = 0; o < wide; ++o) {
      double hidden = first.bias[o];
      for (int k = 0; k < inputs; ++k) hidden += patch_input(image, size, patch, k) * first.weight[int64_t(o) * inputs + k];
      hidden = silu(hidden);
#pragma unroll
      for (int j = 0; j < kOutputs; ++j)
        if (output + j < size.channels) sums[j] += hidden * second.weight[(int64_t(output + j) * wide + o) * 4 + tap];
    }
    store_cell(size, second, cell, cells, tap, output, sums, coarse);
  }
}

constexpr int kMostRows = 8;  // no more rows or columns of pixels lie between two of cells: seven where there are two cells, else fewer

// Features of the pixels between a row of cells and the next. A thread takes those between two columns of cells, and V features.
template <int C, int V>
__global__ void __launch_bounds__(kThreads) features_of_pixels(const float* image, const double* coarse, ProjectionSize size, Linear fine,
                                                               float* features) {
  __shared__ double ways[kMostRows];
  const int32_t row = blockIdx.x % size.coarse_height, b = blockIdx.x / size.coarse_height;
  const int32_t top = first_between(row, size.coarse_height), bottom = min(first_between(row + 1, size.coarse_height), size.height);
  if (threadIdx.x < kMostRows) ways[threadIdx.x] = way_between(top + threadIdx.x, row, size.coarse_height);
  __syncthreads();
  const int d = size.channels, groups = d / V, inputs = C > 0 ? C : size.in_channels;
  const int32_t thread = blockIdx.y * blockDim.x + threadIdx.x, column = thread / groups, o = thread % groups * V;
  if (column >= size.coarse_width) return;

  const double* cell = coarse + ((int64_t(b) * size.coarse_height + row) * size.coarse_width + column) * d + o;
  const int64_t right = column + 1 < size.coarse_width ? d : 0, below = row + 1 < size.coarse_height ? int64_t(size.coarse_width) * d : 0;
  double upper[V], upper_step[V], lower[V], lower_step[V], bias[V], weight[C > 0 ? C * V : 1];
#pragma unroll
  for (int v = 0; v < V; ++v) {
    upper[v] = cell[v];
    upper_step[v] = cell[right + v] - upper[v];
    lower[v] = cell[below + v];
    lower_step[v] = cell[below + right + v] - lower[v];
    bias[v] = fine.bias[o + v];
#pragma unroll
    for (int c = 0; c < (C > 0 ? C : 0); ++c) weight[c * V + v] = fine.weight[(o + v) * C + c];
  }
  const int64_t plane = int64_t(size.height) * size.width;
  const int32_t end = min(first_between(column + 1, size.coarse_width), size.width);
  for (int32_t x = first_between(column, size.coarse_width); x < end; ++x) {
    const double across = way_between(x, column, size.coarse_width);
    double start[V], step[V];
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const double at_upper = upper[v] + upper_step[v] * across;
      start[v] = at_upper + bias[v];
      step[v] = (lower[v] + lower_step[v] * across) - at_upper;
    }
    const float* pixel = image + int64_t(b) * inputs * plane + int64_t(top) * size.width + x;
    float* out = features + ((int64_t(b) * size.height + top) * size.width + x) * d + o;
    for (int32_t y = top; y < bottom; ++y, pixel += size.width, out += int64_t(size.width) * d) {
      double sum[V];
#pragma unroll
      for (int v = 0; v < V; ++v) sum[v] = start[v] + step[v] * ways[y - top];
#pragma unroll
      for (int c = 0; c < inputs; ++c) {
        const double value = pixel[c * plane];
#pragma unroll
        for (int v = 0; v < V; ++v) sum[v] += value * (C > 0 ? weight[c * V + v] : fine.weight[int64_t(o + v) * inputs + c]);
      }
      if constexpr (V == 4) {
        *reinterpret_cast<float4*>(out) = {static_cast<float>(silu(sum[0])), static_cast<float>(silu(sum[1])),
                                           static_cast<float>(silu(sum[2])), static_cast<float>(silu(sum[3]))};
      } else {
        *out = static_cast<float>(silu(sum[0]));
      }
    }
  }
}

}  // namespace

Tensor coarse_features_cuda(const Tensor& image, const Tensor& weight1, const Tensor& bias1, const Tensor& weight2, const Tensor& bias2) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const ProjectionSize size = projection_size(image, bias2.size(0));
  const Tensor coarse = empty_on(image, {size.batch, size.coarse_height, size.coarse_width, size.channels}, ScalarType::Double);
  const int64_t rounds = (int64_t(size.batch) * size.coarse_height * size.coarse_width + kCells - 1) / kCells;
  if (rounds == 0) return coarse;
  // Where there are many, a block takes four, and its weights are loaded once for them.
  const int64_t blocks = rounds < 4 * kMaxBlocks ? (rounds < kMaxBlocks ? rounds : kMaxBlocks) : rounds / 4;
  const bool usual = size.in_channels == 3 && size.channels == kOutputs;
  const auto kernel = usual ? coarse_cells<3> : coarse_cells_of_any;
  const dim3 grid(blocks_of_one(blocks), usual ? 1 : (size.channels + kOutputs - 1) / kOutputs);
  kernel<<<grid, kCoarseThreads, 0, current_stream(image)>>>(
      data<float>(image), size, linear_of(weight1, bias1), linear_of(weight2, bias2), mutable_data<double>(coarse));
  check(cudaGetLastError(), "launching coarse_features");
  return coarse;
}

Tensor pixel_features_cuda(const Tensor& image, const Tensor& coarse, const Tensor& weight, const Tensor& bias) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const ProjectionSize size = projection_size(image, bias.size(0));
  const Tensor features = empty_on(image, {size.batch, size.height, size.width, size.channels}, ScalarType::Float);
  const int64_t rows = int64_t(size.batch) * size.coarse_height;
  if (rows == 0) return features;
  const int at_once = size.channels % 4 ? 1 : 4;
  const int64_t threads = int64_t(size.coarse_width) * (size.channels / at_once), block = threads < kThreads ? (threads + 31) / 32 * 32 : kThreads;
  const bool usual = size.in_channels == 3;
  const auto kernel = at_once == 4 ? (usual ? features_of_pixels<3, 4> : features_of_pixels<0, 4>)
                                   : (usual ? features_of_pixels<3, 1> : features_of_pixels<0, 1>);
  kernel<<<dim3(blocks_of_one(rows), static_cast<unsigned>((threads + block - 1) / block)), static_cast<unsigned>(block), 0, current_stream(image)>>>(
      data<float>(image), data<double>(coarse), size, linear_of(weight, bias), mutable_data<float>(features));
  check(cudaGetLastError(), "launching pixel_features");
  return features;
}

Tensor project_cuda(const Tensor& image, std::vector<Tensor> layers, std::vector<double> eps) {
  return project(image, layers, eps, fold_norm_cuda, coarse_features_cuda, pixel_features_cuda);
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) {
  m.impl("coarse_features", TORCH_BOX(&dht::coarse_features_cuda));
  m.impl("pixel_features", TORCH_BOX(&dht::pixel_features_cuda));
  m.impl("project", TORCH_BOX(&dht::project_cuda));
}
