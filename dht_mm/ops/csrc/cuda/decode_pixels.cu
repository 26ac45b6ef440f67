// CUDA kernels of decode_pixels: a thread finds what one pixel reads, and adds it up for a few classes at a time; backward, a block finds
// it for a tile of pixels, and its threads then go through the pixels, each for one class.
#include "../common/decode_pixels.h"

#include <optional>
#include <tuple>

#include "fixed_point.cuh"
#include "gradient_sums.cuh"
#include "regions.cuh"

namespace dht {
namespace {

constexpr int kClasses = 8;  // neighbouring pixels read the same rows, so that these loads are mostly one a warp
constexpr int kTile = 128;   // pixels, and threads of a block

__global__ void sum_taps(Decode decode, int64_t count, float* logits) {
  const int32_t classes = decode.classes;
  for (int64_t pixel = grid_thread(); pixel < count; pixel += grid_size()) {
    const int64_t line = pixel / decode.places, image = line / decode.lines;
    const DecodePixel at = pixel_at(decode, static_cast<int32_t>(image), static_cast<int32_t>(line - image * decode.lines),
                                    static_cast<int32_t>(pixel - line * decode.places));
    const DecodeTaps taps = taps_of(decode, at, mix_of(decode, at));
    for (int32_t first = 0; first < classes; first += kClasses) {
      float sum[kClasses] = {};
      for (int32_t tap = 0; tap < taps.count; ++tap) {
        const float *row = decode.table + int64_t(taps.row[tap]) * classes + first, weight = taps.weight[tap];
#pragma unroll
        for (int k = 0; k < kClasses; ++k) sum[k] += first + k < classes ? weight * row[k] : 0.0f;
      }
#pragma unroll
      for (int k = 0; k < kClasses; ++k)
        if (first + k < classes) logits[pixel * classes + first + k] = sum[k];
    }
  }
}

// Bounds of the terms of each image: of gradients, of colours and of their means.
struct Bounds {
  const float *grad, *colours, *means;
};

__device__ __forceinline__ FixedPoint units_of(const Decode& decode, const Bounds& bounds, int64_t image) {
  // A pixel's squares have weights of sum 1; a feature's is a colour, or its difference from a mean.
  const float feature = decode.features > 0 ? bounds.colours[image] + bounds.means[image] : 0.0f;
  return fixed_point(bounds.grad[image] * (feature > 1.0f || feature != feature ? feature : 1.0f), area_of(decode));
}

// The sum of three numbers over the block, in an order that is always the same.
__device__ __forceinline__ void sum_of_block(const KernelGradient& mine, float* sums) {
  __shared__ double shares[3][kTile];
  for (int factor = 0; factor < 3; ++factor) shares[factor][threadIdx.x] = static_cast<double>(mine.factor[factor]);
  for (int half = kTile / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half)
      for (int factor = 0; factor < 3; ++factor) shares[factor][threadIdx.x] += shares[factor][threadIdx.x + half];
  }
  if (threadIdx.x > 0) return;
  for (int factor = 0; factor < 3; ++factor) sums[factor] = static_cast<float>(shares[factor][0]);
}

// A block takes `tiles` an image. Neighbouring pixels mostly read the same rows: what a thread has summed up goes to memory where the row
// changes.
__global__ void __launch_bounds__(kTile)
    pass_back(Decode decode, int64_t tiles, const float* grad, Bounds bounds, int64_t* sums, float* to_kernel) {
  __shared__ int32_t row[kMostTaps][kTile];
  __shared__ float weight[kMostTaps][kTile];
  const int64_t image = blockIdx.x / tiles, first = (blockIdx.x - image * tiles) * kTile;
  const int32_t classes = decode.classes, count = static_cast<int32_t>(min(int64_t{kTile}, area_of(decode) - first));
  const int32_t taps = decode.mixed + (decode.side > 1 ? 3 : 0) + decode.features;
  grad += (image * area_of(decode) + first) * classes;
  KernelGradient to_factors = {{0.0f, 0.0f, 0.0f}};
  if (threadIdx.x < count) {
    const int64_t index = first + threadIdx.x, line = index / decode.places;
    const DecodePixel pixel = pixel_at(decode, static_cast<int32_t>(image), static_cast<int32_t>(line),
                                       static_cast<int32_t>(index - line * decode.places));
    const DecodeMix mix = mix_of(decode, pixel);
    const DecodeTaps found = taps_of(decode, pixel, mix);
    for (int32_t tap = 0; tap < taps; ++tap) {
      row[tap][threadIdx.x] = found.row[tap];
      weight[tap][threadIdx.x] = found.weight[tap];
    }
    if (decode.kernel) to_factors = kernel_gradient(decode, pixel, mix, grad + int64_t(threadIdx.x) * classes);
  }
  sum_of_block(to_factors, to_kernel + int64_t(blockIdx.x) * 3);
  __syncthreads();
  const double forward = units_of(decode, bounds, image).forward;
  const int32_t spans = classes < kTile ? kTile / classes : 1;
  for (int32_t i = threadIdx.x; i < classes * spans; i += kTile) {
    const int32_t k = i % classes, span = i / classes, begin = count * span / spans, end = count * (span + 1) / spans;
    if (begin == end) continue;
    for (int32_t tap = 0; tap < taps; ++tap) {
      int32_t at = row[tap][begin];
      int64_t sum = 0;
      for (int32_t p = begin; p < end; ++p) {
        if (row[tap][p] != at) {
          add_atomically(sums + int64_t(at) * classes + k, sum);
          at = row[tap][p];
          sum = 0;
        }
        const double term = static_cast<double>(weight[tap][p]) * static_cast<double>(grad[int64_t(p) * classes + k]);
        sum = wrapping_sum(sum, round_to_int64(term * forward));
      }
      add_atomically(sums + int64_t(at) * classes + k, sum);
    }
  }
}

__global__ void to_floats(Decode decode, Bounds bounds, const int64_t* sums, int64_t rows, float* to_table) {
  const int64_t squares = decode.regions.total * decode.side * decode.side;
  for (int64_t i = grid_thread(); i < rows * decode.classes; i += grid_size()) {
    const int64_t row = i / decode.classes;
    const int64_t region = row < squares ? row / (decode.side * decode.side) : (row - squares) / decode.features;
    const double back = units_of(decode, bounds, image_of(decode.regions, region)).back;
    to_table[i] = region < used_rows(decode.regions) ? static_cast<float>(static_cast<double>(sums[i]) * back) : 0.0f;
  }
}

}  // namespace

Tensor decode_pixels_cuda(const Tensor& table, const std::optional<Tensor>& kernel, const Tensor& labels, const Tensor& offsets,
                          const Tensor& means, const Tensor& size, const Tensor& boxes, const Tensor& steps, const Tensor& colours,
                          const Tensor& rows, const Tensor& columns, int64_t side, int64_t features, int64_t centred) {
  const torch::stable::accelerator::DeviceGuard guard(table.get_device_index());
  const Decode decode = decode_of(table, kernel ? &*kernel : nullptr, labels, offsets, means, size, boxes, steps, colours, rows, columns,
                                  side, features, centred);
  const int64_t count = decode.regions.batch * area_of(decode);
  const Tensor logits = empty_on(table, {decode.regions.batch, decode.lines, decode.places, decode.classes}, ScalarType::Float);
  if (logits.numel() == 0) return logits;
  sum_taps<<<one_wave(sum_taps, count), kThreads, 0, current_stream(table)>>>(decode, count, mutable_data<float>(logits));
  check(cudaGetLastError(), "launching a kernel");
  return logits;
}

std::tuple<Tensor, Tensor> decode_pixels_backward_cuda(const Tensor& grad, const Tensor& table, const std::optional<Tensor>& kernel,
                                                       const Tensor& labels, const Tensor& offsets, const Tensor& means, const Tensor& size,
                                                       const Tensor& boxes, const Tensor& steps, const Tensor& colours, const Tensor& rows,
                                                       const Tensor& columns, int64_t side, int64_t features, int64_t centred) {
  const torch::stable::accelerator::DeviceGuard guard(table.get_device_index());
  const Decode decode = decode_of(table, kernel ? &*kernel : nullptr, labels, offsets, means, size, boxes, steps, colours, rows, columns,
                                  side, features, centred);
  const int64_t batch = decode.regions.batch, area = area_of(decode), tiles = (area + kTile - 1) / kTile;
  if (grad.numel() == 0 || table.numel() == 0)
    return {zeros_on(table, {table.size(0), table.size(1)}, ScalarType::Float), zeros_on(table, {1, 3}, ScalarType::Double)};
  const Tensor to_table = empty_on(table, {table.size(0), table.size(1)}, ScalarType::Float);
  const Tensor sums = zeros_on(table, {table.size(0), table.size(1)}, ScalarType::Long);
  const Tensor parts = empty_on(table, {batch * tiles, 3, 1}, ScalarType::Float);
  const Tensor largest_grad = largest_magnitudes(grad, nullptr, batch, area, decode.classes);
  const Tensor largest_colour = largest_magnitudes(colours, nullptr, batch, decode.planes, area);
  const Tensor largest_mean = largest_magnitudes(means, data<int32_t>(offsets), batch, decode.regions.total, means.size(1));
  const Bounds bounds{data<float>(largest_grad), data<float>(largest_colour), data<float>(largest_mean)};
  const cudaStream_t stream = current_stream(table);
  pass_back<<<blocks_of_one(batch * tiles), kTile, 0, stream>>>(decode, tiles, data<float>(grad), bounds, mutable_data<int64_t>(sums),
                                                               mutable_data<float>(parts));
  to_floats<<<blocks_for(table.numel()), kThreads, 0, stream>>>(decode, bounds, data<int64_t>(sums), table.size(0),
                                                                mutable_data<float>(to_table));
  check(cudaGetLastError(), "launching a kernel");
  return {to_table, sum_of_parts(parts, batch * tiles, 1, 3)};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) {
  m.impl("decode_pixels", TORCH_BOX(&dht::decode_pixels_cuda));
  m.impl("decode_pixels_backward", TORCH_BOX(&dht::decode_pixels_backward_cuda));
}
