// CPU kernels of region_pixels: regions in parallel forward, images in parallel backward.
// Both work on a small dense copy of the pixels that a region touches; the arithmetic is that of common/crop.h.
#include <optional>
#include <tuple>

#include "../common/crop.h"
#include "regions.h"
#include "simd.h"

namespace dht {
namespace {

// The pixels that an axis touches and, for each point, which two of them it lies between and the weight of the second.
struct Line {
  std::vector<int32_t> pixel, first, second;
  std::vector<double> weight;
};

void set_line(const Axis& axis, Line& line) {
  line.pixel.resize(num_touched(axis));
  const int32_t last = static_cast<int32_t>(line.pixel.size()) - 1;
  for (int32_t t = 0; t <= last; ++t) line.pixel[t] = smaller(reach_of(axis, t).pixel, axis.low + axis.extent);
  line.first.resize(axis.points);
  line.second.resize(axis.points);
  line.weight.resize(axis.points);
  for (int32_t i = 0; i < axis.points; ++i) {
    const int32_t before = axis.extent * i / axis.steps;
    line.first[i] = is_long(axis) ? 2 * i : before;
    line.second[i] = smaller(line.first[i] + 1, last);
    line.weight[i] = axis.extent * i - before * axis.steps;
  }
}

// Memory that one region after the other uses.
struct Scratch {
  Line y, x;
  std::vector<double> touched, across;
};

// One plane of touched pixels, [rows, columns], to samples.
DHT_SIMD void interpolate(const Region& region, const Line& y, const Line& x, const double* touched, float* samples) {
  const double unit = weight_unit(region);
  const int64_t columns = static_cast<int64_t>(x.pixel.size());
  const int32_t points = region.x.points;
  for (int32_t i = 0; i < points; ++i) {
    const double *above = touched + y.first[i] * columns, *below = touched + y.second[i] * columns;
    const double down = y.weight[i], up = region.y.steps - down;
    for (int32_t j = 0; j < points; ++j) {
      const double right = x.weight[j], left = region.x.steps - right;
      double sum = up * left * above[x.first[j]];
      sum += up * right * above[x.second[j]];
      sum += down * left * below[x.first[j]];
      sum += down * right * below[x.second[j]];
      samples[int64_t(i) * points + j] = static_cast<float>(sum / unit);
    }
  }
}

// Samples one region; `shift` is null or holds what is added to the pixels of every region.
void sample_region(const Crop& crop, const float* image, const float* shift, int64_t row, Scratch& scratch, float* samples, float* mask) {
  const Region region = region_of(crop, row);
  const int64_t plane = crop.regions.num_pixels, channels = crop.channels, points = int64_t(crop.points) * crop.points;
  const int32_t* labels = crop.regions.labels + region.image * plane;
  const float* shifts = shift ? shift + crop.regions.offsets[region.image] * channels : nullptr;
  set_line(region.y, scratch.y);
  set_line(region.x, scratch.x);
  scratch.touched.resize(scratch.y.pixel.size() * scratch.x.pixel.size());
  for (int64_t c = 0; c <= channels; ++c) {
    const float* map = image + (region.image * channels + c) * plane;
    double* touched = scratch.touched.data();
    for (const int32_t y : scratch.y.pixel) {
      for (const int32_t x : scratch.x.pixel) {
        const int64_t pixel = int64_t(y) * crop.regions.width + x;
        *touched++ = c == channels ? labels[pixel] == region.label
                     : shifts      ? static_cast<double>(map[pixel]) + shifts[labels[pixel] * channels + c]
                                   : map[pixel];
      }
    }
    interpolate(region, scratch.y, scratch.x, scratch.touched.data(), c == channels ? mask : samples + c * points);
  }
}

// The transpose of interpolate: gradients of one plane of samples to those of the touched pixels, times weight_unit.
DHT_SIMD void spread(const Region& region, const Line& y, const Line& x, const float* grad, double* across, double* touched) {
  const int64_t columns = static_cast<int64_t>(x.pixel.size()), pixels = static_cast<int64_t>(y.pixel.size()) * columns;
  const int32_t points = region.x.points;
  std::fill(touched, touched + pixels, 0.0);
  for (int32_t i = 0; i < points; ++i) {
    std::fill(across, across + columns, 0.0);
    for (int32_t j = 0; j < points; ++j) {
      const double value = grad[int64_t(i) * points + j], right = x.weight[j], left = region.x.steps - right;
      across[x.first[j]] += left * value;
      across[x.second[j]] += right * value;
    }
    double *above = touched + y.first[i] * columns, *below = touched + y.second[i] * columns;
    const double down = y.weight[i], up = region.y.steps - down;
    for (int64_t t = 0; t < columns; ++t) above[t] += up * across[t];
    for (int64_t t = 0; t < columns; ++t) below[t] += down * across[t];
  }
}

// Adds one region's gradients, [C, points, points], to those of the pixels that it touches or of their regions.
void spread_region(const Crop& crop, const float* grad, int64_t row, bool per_region, double forward, Scratch& scratch, int64_t* sums) {
  const Region region = region_of(crop, row);
  const double scale = forward / weight_unit(region);
  const int64_t first = crop.regions.num_pixels * region.image, channels = crop.channels, points = int64_t(crop.points) * crop.points;
  set_line(region.y, scratch.y);
  set_line(region.x, scratch.x);
  scratch.across.resize(scratch.x.pixel.size());
  scratch.touched.resize(scratch.y.pixel.size() * scratch.x.pixel.size());
  for (int64_t c = 0; c < channels; ++c) {
    spread(region, scratch.y, scratch.x, grad + c * points, scratch.across.data(), scratch.touched.data());
    const double* touched = scratch.touched.data();
    for (const int32_t y : scratch.y.pixel) {
      for (const int32_t x : scratch.x.pixel) {
        const int64_t pixel = first + int64_t(y) * crop.regions.width + x;
        const int64_t target = per_region ? crop.regions.offsets[region.image] + crop.regions.labels[pixel] : pixel;
        int64_t& sum = sums[target * channels + c];
        sum = wrapping_sum(sum, round_to_int64(*touched++ * scale));
      }
    }
  }
}

// Gradients of one image; `out` and `sums` start at its first pixel or region.
void write_gradients(const int64_t* sums, int64_t targets, int64_t channels, bool per_region, double back, float* out) {
  for (int64_t target = 0; target < targets; ++target)
    for (int64_t c = 0; c < channels; ++c)
      out[per_region ? target * channels + c : c * targets + target] =
          static_cast<float>(static_cast<double>(sums[target * channels + c]) * back);
}

}  // namespace

std::tuple<Tensor, Tensor> region_pixels_cpu(const Tensor& image, const Tensor& labels, const Tensor& offsets, const Tensor& bbox,
                                             const std::optional<Tensor>& shift, int64_t patch_size) {
  const Crop crop = crop_of(labels, offsets, bbox, image.size(1), patch_size);
  check_rows(crop.regions);
  const int64_t total = crop.regions.total, points = patch_size * patch_size;
  const Tensor samples = empty_on(image, {total, crop.channels, patch_size, patch_size}, ScalarType::Float);
  const Tensor mask = empty_on(image, {total, 1, patch_size, patch_size}, ScalarType::Float);
  clear_rows(crop.regions, samples);
  clear_rows(crop.regions, mask);
  torch::stable::parallel_for(0, total, 8, [&](int64_t begin, int64_t end) {
    Scratch scratch;
    for (int64_t row = begin; row < end && row < crop.regions.offsets[crop.regions.batch]; ++row)
      sample_region(crop, data<float>(image), shift ? data<float>(*shift) : nullptr, row, scratch,
                    mutable_data<float>(samples) + row * crop.channels * points, mutable_data<float>(mask) + row * points);
  });
  return {samples, mask};
}

Tensor region_pixels_backward_cpu(const Tensor& grad, const Tensor& labels, const Tensor& offsets, const Tensor& bbox, bool per_region) {
  const Crop crop = crop_of(labels, offsets, bbox, grad.size(1), grad.size(2));
  const Regions& regions = crop.regions;
  check_rows(regions);
  const int64_t channels = crop.channels, values = channels * grad.size(2) * grad.size(3);
  const Tensor gradient = per_region ? empty_on(grad, {regions.total, channels}, ScalarType::Float)
                                     : empty_on(grad, {regions.batch, channels, regions.height, regions.width}, ScalarType::Float);
  if (per_region) clear_rows(regions, gradient);
  std::vector<int64_t> sums((per_region ? regions.total : regions.batch * regions.num_pixels) * channels);
  for_each_image(regions, [&](int64_t image) {
    const int64_t begin = regions.offsets[image], count = num_regions(regions, image);
    const float* grads = data<float>(grad) + begin * values;
    const FixedPoint units = crop_units(crop, largest_magnitude(grads, count * values), image);
    Scratch scratch;
    for (int64_t row = 0; row < count; ++row)
      spread_region(crop, grads + row * values, begin + row, per_region, units.forward, scratch, sums.data());
    const int64_t first = (per_region ? begin : image * regions.num_pixels) * channels;
    write_gradients(sums.data() + first, per_region ? count : regions.num_pixels, channels, per_region, units.back,
                    mutable_data<float>(gradient) + first);
  });
  return gradient;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) {
  m.impl("region_pixels", TORCH_BOX(&dht::region_pixels_cpu));
  m.impl("region_pixels_backward", TORCH_BOX(&dht::region_pixels_backward_cpu));
}
