// CUDA kernels of region_pixels: a block samples one region; backward, a block hands one region's gradients to the pixels that it touches.
#include <optional>
#include <tuple>

#include "../common/crop.h"
#include "fixed_point.cuh"
#include "regions.cuh"

namespace dht {
namespace {

// `shift` is null or holds what is added to the pixels of every region, [R, C].
__global__ void sample_regions(Crop crop, const float* image, const float* shift, float* samples, float* mask) {
  const int64_t row = blockIdx.x, plane = crop.regions.num_pixels;
  const int32_t points = crop.points * crop.points;
  const Region region = region_of(crop, row);
  const int32_t* labels = crop.regions.labels + region.image * plane;
  const float* map = image + int64_t(region.image) * crop.channels * plane;
  const double unit = weight_unit(region);
  for (int32_t point = threadIdx.x; point < points; point += blockDim.x) {
    const Taps taps = taps_at(region, crop.regions.width, point / crop.points, point % crop.points);
    int64_t owner[4];
    double own = 0.0;
    for (int k = 0; k < 4; ++k) {
      owner[k] = row_of(crop.regions, region.image, labels[taps.pixel[k]]);
      own += owner[k] == row ? taps.weight[k] : 0.0;
    }
    mask[row * points + point] = static_cast<float>(own / unit);
    for (int32_t c = 0; c < crop.channels; ++c) {
      double sum = 0.0;
      for (int k = 0; k < 4; ++k) {
        const double value = map[c * plane + taps.pixel[k]];
        sum += taps.weight[k] * (shift ? value + shift[owner[k] * crop.channels + c] : value);
      }
      samples[(row * crop.channels + c) * points + point] = static_cast<float>(sum / unit);
    }
  }
}

// Pixels that a region touches, kRun of them in a column: where their gradients go (-1: nowhere) and which points reach them.
struct TouchedColumn {
  int64_t target[kRun];
  Reach y[kRun], x;
};

__device__ __forceinline__ TouchedColumn touched_column(const Crop& crop, const Region& region, int32_t index, bool per_region) {
  const int32_t across = num_touched(region.x), rows = num_touched(region.y), begin = index / across * kRun;
  TouchedColumn column;
  column.x = reach_of(region.x, index % across);
  const int64_t image = int64_t(region.image) * crop.regions.num_pixels;
#pragma unroll
  for (int k = 0; k < kRun; ++k) {
    column.y[k] = begin + k < rows ? reach_of(region.y, begin + k) : Reach{0, 0, -1};
    const bool touched = column.y[k].first <= column.y[k].last && column.x.first <= column.x.last;
    const int64_t pixel = image + int64_t(column.y[k].pixel) * crop.regions.width + column.x.pixel;
    column.target[k] = !touched ? -1 : per_region ? row_of(crop.regions, region.image, crop.regions.labels[pixel]) : pixel;
  }
  return column;
}

__global__ void spread_gradients(Crop crop, const float* grad, const float* largest, bool per_region, int64_t* sums) {
  const int64_t row = blockIdx.x, points = int64_t(crop.points) * crop.points;
  const Region region = region_of(crop, row);
  const double forward = crop_units(crop, largest[region.image], region.image).forward / weight_unit(region);
  const int32_t columns = num_touched(region.x) * ((num_touched(region.y) - 1) / kRun + 1);
  for (int32_t i = threadIdx.x; i < columns; i += blockDim.x) {
    const TouchedColumn column = touched_column(crop, region, i, per_region);
    for (int32_t c = 0; c < crop.channels; ++c) {
      const float* channel = grad + (row * crop.channels + c) * points;
      int64_t sum = 0;
#pragma unroll
      for (int k = 0; k < kRun; ++k) {
        if (column.target[k] >= 0) sum += round_to_int64(gathered_gradient(region, column.y[k], column.x, channel) * forward);
        if (column.target[k] < 0 || (k + 1 < kRun && column.target[k + 1] == column.target[k])) continue;
        add_atomically(sums + column.target[k] * crop.channels + c, sum);
        sum = 0;
      }
    }
  }
}

// Sums, channels last, to gradients: of regions [R, C], of pixels [B, C, N].
__global__ void write_gradients(Crop crop, const float* largest, const int64_t* sums, bool per_region, int64_t count, float* gradient) {
  const int64_t plane = crop.regions.num_pixels;
  for (int64_t i = grid_thread(); i < count; i += grid_size()) {
    const int64_t map = i / plane, image = per_region ? image_of(crop.regions, i / crop.channels) : map / crop.channels;
    const int64_t from = per_region ? i : (image * plane + i % plane) * crop.channels + map % crop.channels;
    gradient[i] = static_cast<float>(static_cast<double>(sums[from]) * crop_units(crop, largest[image], image).back);
  }
}

}  // namespace

std::tuple<Tensor, Tensor> region_pixels_cuda(const Tensor& image, const Tensor& labels, const Tensor& offsets, const Tensor& bbox,
                                              const std::optional<Tensor>& shift, int64_t patch_size) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const Crop crop = crop_of(labels, offsets, bbox, image.size(1), patch_size);
  const int64_t total = crop.regions.total, warps = (patch_size * patch_size + 31) / 32;
  const Tensor samples = empty_on(image, {total, crop.channels, patch_size, patch_size}, ScalarType::Float);
  const Tensor mask = empty_on(image, {total, 1, patch_size, patch_size}, ScalarType::Float);
  if (total == 0) return {samples, mask};
  const int threads = warps < kThreads / 32 ? static_cast<int>(warps) * 32 : kThreads;
  sample_regions<<<blocks_of_one(total), threads, 0, current_stream(image)>>>(
      crop, data<float>(image), shift ? data<float>(*shift) : nullptr, mutable_data<float>(samples), mutable_data<float>(mask));
  check(cudaGetLastError(), "launching a kernel");
  return {samples, mask};
}

Tensor region_pixels_backward_cuda(const Tensor& grad, const Tensor& labels, const Tensor& offsets, const Tensor& bbox, bool per_region) {
  const torch::stable::accelerator::DeviceGuard guard(grad.get_device_index());
  const Crop crop = crop_of(labels, offsets, bbox, grad.size(1), grad.size(2));
  const Regions& regions = crop.regions;
  const int64_t count = (per_region ? regions.total : regions.batch * regions.num_pixels) * crop.channels;
  const Tensor gradient = per_region ? empty_on(grad, {regions.total, crop.channels}, ScalarType::Float)
                                     : empty_on(grad, {regions.batch, crop.channels, regions.height, regions.width}, ScalarType::Float);
  if (regions.total == 0 || count == 0) return torch::stable::new_zeros(gradient, gradient.sizes());
  const Tensor sums = torch::stable::new_zeros(grad, {count}, ScalarType::Long);
  const int64_t values = crop.channels * grad.size(2) * grad.size(3);
  const Tensor largest = largest_magnitudes(grad, data<int32_t>(offsets), regions.batch, (regions.total - 1) / regions.batch + 1, values);
  const cudaStream_t stream = current_stream(grad);
  constexpr int kSpreadThreads = 64;  // a usual region touches some hundred pixels
  spread_gradients<<<blocks_of_one(regions.total), kSpreadThreads, 0, stream>>>(crop, data<float>(grad), data<float>(largest), per_region,
                                                                                      mutable_data<int64_t>(sums));
  write_gradients<<<blocks_for(count), kThreads, 0, stream>>>(crop, data<float>(largest), data<int64_t>(sums), per_region, count,
                                                            mutable_data<float>(gradient));
  check(cudaGetLastError(), "launching a kernel");
  return gradient;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) {
  m.impl("region_pixels", TORCH_BOX(&dht::region_pixels_cuda));
  m.impl("region_pixels_backward", TORCH_BOX(&dht::region_pixels_backward_cuda));
}
