// CUDA kernels of region_pixels: a block samples one region; backward, a warp hands one region's gradients to the pixels that it touches.
#include <optional>
#include <tuple>

#include "../common/crop.h"
#include "fixed_point.cuh"
#include "regions.cuh"

namespace dht {
namespace {

// The image that a row belongs to, found by a warp: each step narrows it down to a 32nd.
__device__ __forceinline__ int32_t image_of_warp(const Regions& regions, int64_t row) {
  int32_t low = 0, count = regions.batch;
  while (count > 1) {
    const int32_t step = (count - 1) / 32 + 1, ahead = (threadIdx.x % 32) * step;
    const int32_t passed = __popc(__ballot_sync(kAllLanes, ahead < count && regions.offsets[low + ahead] <= row)) - 1;
    low += passed * step;
    count = smaller(step, count - passed * step);
  }
  return low;
}

// x / y rounded once, for `per_y` = 1 / y: the error of a first quotient corrects it, to far less than the distance that a quotient by an
// integer y below 2^50 keeps from the middle of two float64 numbers.
__device__ __forceinline__ double quotient(double x, double y, double per_y) {
  const double near = x * per_y, exact = __fma_rn(__fma_rn(-y, near, x), per_y, near);
  return isfinite(near) ? exact : near;
}

// The four pixels around a point, within their image, and their weights.
struct Taps {
  int32_t pixel[4];
  double weight[4];
};

__device__ __forceinline__ Taps taps_at(const Region& region, int32_t width, const Between& y, const Between& x) {
  const int32_t above = (region.y.low + y.first) * width + region.x.low, below = (region.y.low + y.second) * width + region.x.low;
  const double down = widen(uint32_t(y.weight)), up = widen(uint32_t(region.y.steps - y.weight));
  const double right = widen(uint32_t(x.weight)), left = widen(uint32_t(region.x.steps - x.weight));
  return {{above + x.first, above + x.second, below + x.first, below + x.second}, {up * left, up * right, down * left, down * right}};
}

// `shift` is null or holds what is added to the pixels of every region, [R, C].
__global__ void sample_regions(Crop crop, Divider across, const float* image, const float* shift, float* samples, float* mask) {
  const int64_t row = blockIdx.x, plane = crop.regions.num_pixels;
  const int32_t points = crop.points * crop.points;
  if (row >= used_rows(crop.regions)) {
    const float nothing = used_rows(crop.regions) > 0 ? 0.0f : nanf("");  // where the regions did not fit, nobody shall train on zeros
    for (int32_t i = threadIdx.x; i < points; i += blockDim.x) mask[row * points + i] = 0.0f;
    for (int32_t i = threadIdx.x; i < points * crop.channels; i += blockDim.x) samples[row * crop.channels * points + i] = nothing;
    return;
  }
  const Region region = region_of(crop, row, image_of_warp(crop.regions, row));
  const int32_t* labels = crop.regions.labels + region.image * plane;
  const float *map = image + int64_t(region.image) * crop.channels * plane, *shifts = shift + (row - region.label) * crop.channels;
  const double unit = weight_unit(region), per_unit = 1.0 / unit;
  for (int32_t point = threadIdx.x; point < points; point += blockDim.x) {
    const int32_t i = across.quotient(point);
    const Taps taps = taps_at(region, crop.regions.width, between_of(region.y, i), between_of(region.x, point - i * crop.points));
    int32_t label[4];
    double own = 0.0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      label[k] = labels[taps.pixel[k]];
      assert(label[k] >= 0 && label[k] < num_regions(crop.regions, region.image));
      own += label[k] == region.label ? taps.weight[k] : 0.0;
    }
    mask[row * points + point] = static_cast<float>(quotient(own, unit, per_unit));
    for (int32_t c = 0; c < crop.channels; ++c) {
      double sum = 0.0;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const double value = map[c * plane + taps.pixel[k]];
        sum += taps.weight[k] * (shift ? value + shifts[int64_t(label[k]) * crop.channels + c] : value);
      }
      samples[(row * crop.channels + c) * points + point] = static_cast<float>(quotient(sum, unit, per_unit));
    }
  }
}

// A warp hands the gradients of one region on in tiles of touched columns. How many columns fit, and the shared memory of a warp: sums of
// all lines of points for these columns, and the reach of the touched rows.
struct Tile {
  int32_t columns, bytes, warps;
};

Tile tile_for(int64_t points) {
  constexpr int64_t kValues = 512, kBytes = 48 * 1024;
  const int64_t fit = kValues / points, columns = fit < 1 ? 1 : fit > 32 ? 32 : fit;
  const int64_t bytes = points * (columns * int64_t(sizeof(double)) + 2 * int64_t(sizeof(Reach)));
  STD_TORCH_CHECK(bytes <= kBytes, "patch_size must be at most 1536 for gradients on a GPU, got ", points);
  return {static_cast<int32_t>(columns), static_cast<int32_t>(bytes), 4 * bytes <= kBytes ? 4 : 1};
}

// A lane's column of a tile; narrow tiles have several lanes a column, which share its lines of points and its rows of pixels.
struct Lane {
  Reach x;
  int32_t column, columns, part, parts;
};

// First sums along x: lines of points [points, columns] of one channel.
__device__ __forceinline__ void sum_across(const Region& region, const Lane& lane, const float* grad, double* across) {
  const int32_t points = region.x.points;
  for (int32_t i = lane.part; i < points; i += 2 * lane.parts) {
    const int32_t second = smaller(i + lane.parts, points - 1);
    double sum = 0.0, next = 0.0;
    for (int32_t j = lane.x.first; j <= lane.x.last; ++j) {
      const double weight = reach_weight(region.x, lane.x, j);
      sum += weight * widen(grad[i * points + j]);
      next += weight * widen(grad[second * points + j]);
    }
    across[i * lane.columns + lane.column] = sum;
    if (i + lane.parts < points) across[second * lane.columns + lane.column] = next;
  }
}

// Where the gradients of a warp go.
struct Targets {
  int64_t* sums;  // of the image's first pixel or region and of a channel
  int32_t stride, count;
  bool per_region;

  __device__ __forceinline__ void add(int32_t target, int64_t sum) const {
    if (sum != 0) add_atomically(sums + int64_t(target) * stride, sum);
  }
};

// Then sums along y, each pixel's rounded: of a piece of rows, where neighbours often have one target. Returns the sum for the region.
__device__ __forceinline__ int64_t sum_down(const Region& region, const Lane& lane, const Reach* rows, const Targets& targets,
                                            const int32_t* labels, int32_t width, double forward, const double* across) {
  const int32_t touched = num_touched(region.y), piece = (touched - 1) / lane.parts + 1;
  int64_t own = 0, sum = 0;
  int32_t target = -1;
  for (int32_t row = lane.part * piece; row < smaller(touched, (lane.part + 1) * piece); ++row) {
    const Reach y = rows[row];
    if (y.first > y.last) continue;
    double total = 0.0;
    for (int32_t i = y.first; i <= y.last; ++i) total += reach_weight(region.y, y, i) * across[i * lane.columns + lane.column];
    const int32_t pixel = y.pixel * width + lane.x.pixel, found = targets.per_region ? labels[pixel] : pixel;
    assert(found >= 0 && found < targets.count);
    if (found != target) {
      targets.add(target, sum);
      target = found;
      sum = 0;
    }
    const int64_t term = round_to_int64(total * forward);
    const bool itself = targets.per_region && found == region.label;
    own = wrapping_sum(own, itself ? term : 0);
    sum = wrapping_sum(sum, itself ? 0 : term);
  }
  targets.add(target, sum);
  return own;
}

__device__ __forceinline__ int64_t sum_of_warp(int64_t sum) {
  for (int32_t offset = 16; offset > 0; offset /= 2) sum = wrapping_sum(sum, __shfl_xor_sync(kAllLanes, sum, offset));
  return sum;
}

// A warp hands one region's gradients to the pixels that it touches or to their regions, one tile of columns and channel after the other.
__global__ void __launch_bounds__(128, 8)
    spread_gradients(Crop crop, Tile tile, const float* grad, const float* largest, bool per_region, int64_t* sums) {
  extern __shared__ double memory[];
  const int64_t row = grid_thread() / 32, points = int64_t(crop.points) * crop.points;
  if (row >= used_rows(crop.regions)) return;
  const Region region = region_of(crop, row, image_of_warp(crop.regions, row));
  const int64_t first_pixel = region.image * crop.regions.num_pixels, first_target = per_region ? row - region.label : first_pixel;
  const auto count = static_cast<int32_t>(per_region ? num_regions(crop.regions, region.image) : crop.regions.num_pixels);
  const double forward = crop_units(crop, largest[region.image], region.image).forward / weight_unit(region);
  double* across = memory + threadIdx.x / 32 * (tile.bytes / 8);
  Reach* rows = reinterpret_cast<Reach*>(across + tile.columns * crop.points);
  const int32_t thread = threadIdx.x % 32, width = num_touched(region.x);
  for (int32_t i = thread; i < num_touched(region.y); i += 32) rows[i] = reach_of(region.y, i);
  for (int32_t left = 0; left < width; left += tile.columns) {
    const int32_t columns = smaller(tile.columns, width - left), parts = 32 / columns, column = thread % columns;
    const Lane lane{reach_of(region.x, left + column), column, columns, thread / columns, parts};
    const bool busy = thread < parts * columns && lane.x.first <= lane.x.last;
    for (int32_t c = 0; c < crop.channels; ++c) {
      const Targets targets{sums + first_target * crop.channels + c, crop.channels, count, per_region};
      __syncwarp();
      if (busy) sum_across(region, lane, grad + (row * crop.channels + c) * points, across);
      __syncwarp();
      int64_t own = 0;
      if (busy) own = sum_down(region, lane, rows, targets, crop.regions.labels + first_pixel, crop.regions.width, forward, across);
      own = sum_of_warp(own);
      if (thread == 0 && own != 0) add_atomically(sums + row * crop.channels + c, own);
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
      crop, Divider(crop.points), data<float>(image), shift ? data<float>(*shift) : nullptr, mutable_data<float>(samples), mutable_data<float>(mask));
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
  const Tile tile = tile_for(crop.points);
  const unsigned blocks = blocks_of_one((regions.total - 1) / tile.warps + 1);
  spread_gradients<<<blocks, tile.warps * 32, tile.warps * tile.bytes, stream>>>(
      crop, tile, data<float>(grad), data<float>(largest), per_region, mutable_data<int64_t>(sums));
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
