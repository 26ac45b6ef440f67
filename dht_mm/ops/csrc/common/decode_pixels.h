// Logits of pixels from a table: which of its rows a pixel reads and with what weights, as in reference/decode_pixels.py.
#pragma once

#include <cassert>
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
  const int32_t* steps;  // [B, mixed, 2]
  const float* colours;  // [B, planes, lines, places], those of the pixel first
  const int64_t* rows;   // [lines] of the pixels that are decoded
  const int64_t* columns;  // [places]
  int32_t lines, places, channels, planes, features, centred, mixed, side, classes;
};

// Pixels of an image that are decoded.
DHT_HD int64_t area_of(const Decode& decode) { return int64_t(decode.lines) * decode.places; }

struct DecodePixel {
  int32_t image, y, x;
  const float* colour;  // its first plane; planes are `area_of` apart
};

DHT_HD DecodePixel pixel_at(const Decode& decode, int32_t image, int32_t line, int32_t place) {
  const auto y = static_cast<int32_t>(decode.rows[line]), x = static_cast<int32_t>(decode.columns[place]);
  assert(y >= 0 && y < decode.regions.height && x >= 0 && x < decode.regions.width);
  return {image, y, x, decode.colours + int64_t(image) * decode.planes * area_of(decode) + int64_t(line) * decode.places + place};
}

// The regions that a pixel mixes, its own first, and their weights, of sum 1.
struct DecodeMix {
  int64_t region[kMostMixed];
  float weight[kMostMixed];
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
DHT_HD void find_mixed(const Decode& decode, const DecodePixel& pixel, DecodeMix& mix) {
  const Regions& regions = decode.regions;
  const int32_t* labels = regions.labels + pixel.image * regions.num_pixels;
  for (int32_t t = 0; t < decode.mixed; ++t) {
    const int32_t* step = decode.steps + (int64_t(pixel.image) * decode.mixed + t) * 2;
    const int32_t down = clamp(pixel.y + step[0], 0, regions.height - 1), right = clamp(pixel.x + step[1], 0, regions.width - 1);
    mix.region[t] = regions.offsets[pixel.image] + labels[int64_t(down) * regions.width + right];
  }
}

// How far a pixel is from a region: in place, where the region's size is 1, and in colour. Both are squared.
struct Unlikeness {
  float distance, colour;
};

DHT_HD Unlikeness unlikeness(const Decode& decode, const DecodePixel& pixel, int64_t region) {
  const float* mean = decode.means + region * (2 + decode.channels);
  const float down = mean[0] - static_cast<float>(pixel.y), right = mean[1] - static_cast<float>(pixel.x);
  float colour = 0.0f;
  for (int32_t c = 0; c < decode.channels; ++c) {
    const float away = mean[2 + c] - pixel.colour[c * area_of(decode)];
    colour += away * away;
  }
  return {(down * down + right * right) / static_cast<float>(decode.size[region]), colour};
}

DHT_HD void find_weights(const Decode& decode, const DecodePixel& pixel, DecodeMix& mix) {
  float* weight = mix.weight;
  weight[0] = 1.0f;
  if (!decode.kernel) return;
  float largest = -INFINITY, sum = 0.0f;
  for (int32_t t = 0; t < decode.mixed; ++t) {
    const Unlikeness away = unlikeness(decode, pixel, mix.region[t]);
    const float bonus = mix.region[t] == mix.region[0] ? decode.kernel[2] : 0.0f;
    weight[t] = bonus - decode.kernel[0] * away.distance - decode.kernel[1] * away.colour;
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

// The four squares around a pixel in its own region's box, and their shares.
struct FourSquares {
  int64_t row[4];
  float share[4];
};

DHT_HD FourSquares four_squares(const Decode& decode, const DecodePixel& pixel, int64_t region) {
  const int32_t side = decode.side;
  const float down = place_in(decode, region, 0, pixel.y), right = place_in(decode, region, 1, pixel.x);
  const int32_t top = smaller(static_cast<int32_t>(down), side - 2), left = smaller(static_cast<int32_t>(right), side - 2);
  const float v = down - static_cast<float>(top), u = right - static_cast<float>(left);
  const int64_t corner = (region * side + top) * side + left;
  return {{corner, corner + 1, corner + side, corner + side + 1}, {(1.0f - v) * (1.0f - u), (1.0f - v) * u, v * (1.0f - u), v * u}};
}

// The square nearest to a pixel, in the box of another region.
DHT_HD int64_t nearest_square(const Decode& decode, const DecodePixel& pixel, int64_t region) {
  const int32_t side = decode.side;
  if (side == 1) return region;
  const auto row = static_cast<int32_t>(rintf(place_in(decode, region, 0, pixel.y)));
  const auto column = static_cast<int32_t>(rintf(place_in(decode, region, 1, pixel.x)));
  return (region * side + row) * side + column;
}

DHT_HD DecodeMix mix_of(const Decode& decode, const DecodePixel& pixel) {
  DecodeMix mix;
  find_mixed(decode, pixel, mix);
  find_weights(decode, pixel, mix);
  return mix;
}

// What a pixel reads of the table: four squares of its own region, one of each other, or their whole regions; then its features.
DHT_HD DecodeTaps taps_of(const Decode& decode, const DecodePixel& pixel, const DecodeMix& mix) {
  DecodeTaps taps;
  taps.count = 0;
  if (decode.side > 1) {
    const FourSquares own = four_squares(decode, pixel, mix.region[0]);
    for (int32_t k = 0; k < 4; ++k) taps.add(own.row[k], mix.weight[0] * own.share[k]);
  }
  for (int32_t t = decode.side > 1 ? 1 : 0; t < decode.mixed; ++t) taps.add(nearest_square(decode, pixel, mix.region[t]), mix.weight[t]);
  const int64_t first = decode.regions.total * decode.side * decode.side + mix.region[0] * decode.features;
  const float* mean = decode.means + mix.region[0] * (2 + decode.channels) + 2;
  for (int32_t f = 0, c = 0; f < decode.features; ++f, c = c + 1 < decode.channels ? c + 1 : 0)
    taps.add(first + f, pixel.colour[f * area_of(decode)] - (f < decode.centred ? mean[c] : 0.0f));
  return taps;
}

DHT_HD float dot(const float* a, const float* b, int32_t count) {
  float sum = 0.0f;
  for (int32_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// What the gradient of a pixel's logits says of the three factors of the kernel.
struct KernelGradient {
  float factor[3];
};

DHT_HD KernelGradient kernel_gradient(const Decode& decode, const DecodePixel& pixel, const DecodeMix& mix, const float* grad) {
  float along[kMostMixed], mean = 0.0f;  // how the loss changes with each weight
  for (int32_t t = 0; t < decode.mixed; ++t) {
    along[t] = 0.0f;
    if (t > 0 || decode.side == 1) {
      along[t] = dot(grad, decode.table + nearest_square(decode, pixel, mix.region[t]) * decode.classes, decode.classes);
    } else {
      const FourSquares own = four_squares(decode, pixel, mix.region[0]);
      for (int32_t k = 0; k < 4; ++k) along[0] += own.share[k] * dot(grad, decode.table + own.row[k] * decode.classes, decode.classes);
    }
    mean += mix.weight[t] * along[t];
  }
  KernelGradient gradient = {{0.0f, 0.0f, 0.0f}};
  for (int32_t t = 0; t < decode.mixed; ++t) {
    const float slope = mix.weight[t] * (along[t] - mean);
    const Unlikeness away = unlikeness(decode, pixel, mix.region[t]);
    gradient.factor[0] -= slope * away.distance;
    gradient.factor[1] -= slope * away.colour;
    gradient.factor[2] += mix.region[t] == mix.region[0] ? slope : 0.0f;
  }
  return gradient;
}

// The operator's arguments as the kernels read them.
inline Decode decode_of(const Tensor& table, const Tensor* kernel, const Tensor& labels, const Tensor& offsets, const Tensor& means,
                        const Tensor& size, const Tensor& boxes, const Tensor& steps, const Tensor& colours, const Tensor& rows,
                        const Tensor& columns, int64_t side, int64_t features, int64_t centred) {
  const auto channels = static_cast<int32_t>(means.size(1) - 2), mixed = static_cast<int32_t>(steps.size(1));
  require(mixed <= kMostMixed && features <= kMostFeatures, "at most ", kMostMixed, " regions are mixed and ", kMostFeatures,
          " features read, got ", mixed, " and ", features);
  require(table.size(0) <= INT32_MAX, "table must have less than 2^31 rows, got ", table.size(0));
  return {regions_of(labels, offsets, size.size(0)), data<float>(table), kernel ? data<float>(*kernel) : nullptr, data<float>(means),
          data<int32_t>(size), data<float>(boxes), data<int32_t>(steps), data<float>(colours), data<int64_t>(rows), data<int64_t>(columns),
          static_cast<int32_t>(rows.size(0)), static_cast<int32_t>(columns.size(0)), channels, static_cast<int32_t>(colours.size(1)),
          static_cast<int32_t>(features), static_cast<int32_t>(centred), mixed, static_cast<int32_t>(side),
          static_cast<int32_t>(table.size(1))};
}

}  // namespace dht
