// Logits of pixels from a table: which of its rows a pixel reads and with what weights, as in reference/decode_pixels.py.
#pragma once

#include <cmath>

#include "edge_weight.h"
#include "regions.h"

namespace dht {

constexpr int32_t kMostMixed = 9, kMostFeatures = 20, kMostTaps = 3 + kMostMixed + kMostFeatures;

struct Decode {
  Regions regions;
  const float* table;    // [R side^2 + R features, classes]
  const float* kernel;   // factors of distance and colour, bonus of the own region; null where nothing is mixed
  const float* means;    // [R, 2 + channels], centroid and mean colour
  const int32_t* size;   // [R]
  const float* boxes;    // [R, 4]
  const float* colours;  // [B, planes, H, W], those of the pixel first
  const int32_t* steps;  // [B, mixed, 2]
  int32_t channels, planes, features, centred, mixed, side, classes;
};

struct DecodeTaps {
  int32_t count;
  int32_t row[kMostTaps];
  float weight[kMostTaps];

  DHT_HD void add(int64_t to, float share) {
    row[count] = static_cast<int32_t>(to);
    weight[count++] = share;
  }
};

DHT_HD float larger(float a, float b) { return a > b ? a : b; }
DHT_HD float smaller(float a, float b) { return a < b ? a : b; }

// Regions of a pixel and of the points around it; beyond the border those at the border.
DHT_HD void find_mixed(const Decode& decode, int32_t image, int32_t y, int32_t x, int64_t* region) {
  const Regions& regions = decode.regions;
  const int32_t* labels = regions.labels + image * regions.num_pixels;
  for (int32_t t = 0; t < decode.mixed; ++t) {
    const int32_t* step = decode.steps + (int64_t(image) * decode.mixed + t) * 2;
    const int32_t down = clamp(y + step[0], 0, regions.height - 1), right = clamp(x + step[1], 0, regions.width - 1);
    const int64_t pixel = int64_t(down) * regions.width + right;
    region[t] = regions.offsets[image] + labels[pixel];
  }
}

// Their weights, of sum 1. `colour` is the pixel's first plane; planes are `stride` apart.
DHT_HD void find_weights(const Decode& decode, int32_t y, int32_t x, const float* colour, const int64_t* region, float* weight) {
  weight[0] = 1.0f;
  if (!decode.kernel) return;
  float largest = -INFINITY, sum = 0.0f;
  for (int32_t t = 0; t < decode.mixed; ++t) {
    const float* mean = decode.means + region[t] * (2 + decode.channels);
    const float down = mean[0] - static_cast<float>(y), right = mean[1] - static_cast<float>(x);
    float unlike = 0.0f;
    for (int32_t c = 0; c < decode.channels; ++c) {
      const float away = mean[2 + c] - colour[c * decode.regions.num_pixels];
      unlike += away * away;
    }
    const float distance = (down * down + right * right) / static_cast<float>(decode.size[region[t]]);
    weight[t] = (region[t] == region[0] ? decode.kernel[2] : 0.0f) - decode.kernel[0] * distance - decode.kernel[1] * unlike;
    largest = larger(largest, weight[t]);
  }
  for (int32_t t = 0; t < decode.mixed; ++t) sum += weight[t] = expf(weight[t] - largest);
  for (int32_t t = 0; t < decode.mixed; ++t) weight[t] /= sum;
}

// A pixel's place in a box along one axis, in squares from the middle of the first, within that of the last.
DHT_HD float place_in(const Decode& decode, int64_t region, int32_t axis, int32_t pixel) {
  const float *box = decode.boxes + region * 4, side = static_cast<float>(decode.side);
  const float inside = (static_cast<float>(pixel) + 0.5f - box[axis]) / larger(box[2 + axis] - box[axis], 1e-6f);
  return smaller(larger(inside * side - 0.5f, 0.0f), side - 1.0f);
}

// Four squares of the pixel's own region, one of each other, or their whole regions.
DHT_HD void add_squares(const Decode& decode, int32_t y, int32_t x, const int64_t* region, const float* weight, DecodeTaps& taps) {
  const int32_t side = decode.side, first = side > 1 ? 1 : 0;
  if (side > 1) {
    const float down = place_in(decode, region[0], 0, y), right = place_in(decode, region[0], 1, x);
    const int32_t top = smaller(static_cast<int32_t>(down), side - 2), left = smaller(static_cast<int32_t>(right), side - 2);
    const float v = down - static_cast<float>(top), u = right - static_cast<float>(left);
    const int64_t corner = (region[0] * side + top) * side + left;
    taps.add(corner, weight[0] * ((1.0f - v) * (1.0f - u)));
    taps.add(corner + 1, weight[0] * ((1.0f - v) * u));
    taps.add(corner + side, weight[0] * (v * (1.0f - u)));
    taps.add(corner + side + 1, weight[0] * (v * u));
  }
  for (int32_t t = first; t < decode.mixed; ++t) {
    const auto row = side > 1 ? static_cast<int32_t>(rintf(place_in(decode, region[t], 0, y))) : 0;
    const auto column = side > 1 ? static_cast<int32_t>(rintf(place_in(decode, region[t], 1, x))) : 0;
    taps.add((region[t] * side + row) * side + column, weight[t]);
  }
}

// What a pixel reads of the table.
DHT_HD DecodeTaps taps_of(const Decode& decode, int32_t image, int32_t y, int32_t x) {
  const Regions& regions = decode.regions;
  const float* colour = decode.colours + int64_t(image) * decode.planes * regions.num_pixels + int64_t(y) * regions.width + x;
  int64_t region[kMostMixed];
  float weight[kMostMixed];
  DecodeTaps taps;
  taps.count = 0;
  find_mixed(decode, image, y, x, region);
  find_weights(decode, y, x, colour, region, weight);
  add_squares(decode, y, x, region, weight, taps);
  const int64_t first = regions.total * decode.side * decode.side + region[0] * decode.features;
  const float* mean = decode.means + region[0] * (2 + decode.channels) + 2;
  for (int32_t f = 0, c = 0; f < decode.features; ++f, c = c + 1 < decode.channels ? c + 1 : 0)
    taps.add(first + f, colour[f * regions.num_pixels] - (f < decode.centred ? mean[c] : 0.0f));
  return taps;
}

inline Decode decode_of(const Tensor& table, const Tensor* kernel, const Tensor& labels, const Tensor& offsets, const Tensor& means,
                        const Tensor& size, const Tensor& boxes, const Tensor& colours, const Tensor& steps, int64_t side,
                        int64_t features, int64_t centred) {
  const auto channels = static_cast<int32_t>(means.size(1) - 2), mixed = static_cast<int32_t>(steps.size(1));
  require(mixed <= kMostMixed && features <= kMostFeatures, "at most ", kMostMixed, " regions are mixed and ", kMostFeatures,
          " features read, got ", mixed, " and ", features);
  require(table.size(0) <= INT32_MAX, "table must have less than 2^31 rows, got ", table.size(0));
  return {regions_of(labels, offsets, size.size(0)), data<float>(table), kernel ? data<float>(*kernel) : nullptr, data<float>(means),
          data<int32_t>(size), data<float>(boxes), data<float>(colours), data<int32_t>(steps), channels,
          static_cast<int32_t>(colours.size(1)), static_cast<int32_t>(features), static_cast<int32_t>(centred), mixed,
          static_cast<int32_t>(side), static_cast<int32_t>(table.size(1))};
}

}  // namespace dht
