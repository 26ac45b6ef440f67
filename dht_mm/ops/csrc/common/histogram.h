// Cells of a grid over the image and bins of derivatives: the rules of reference/{position,gradient}_histogram.py.
#pragma once

#include "exact_math.h"

namespace dht {

// Cell of the grid along an axis of `length` pixels.
DHT_HD int32_t position_cell(int32_t position, int32_t cells, int32_t length) {
  return static_cast<int32_t>(int64_t(position) * cells / length);
}

// Whether a position is the first of its cell; at least one pixel a cell.
DHT_HD bool begins_cell(int32_t position, int32_t cells, int32_t length) { return int64_t(position) * cells % length < cells; }

// Bin of a derivative; the first one for what is not a number.
DHT_HD int32_t gradient_bin(float derivative, int32_t bins) {
  constexpr float kLargest = static_cast<float>(1 - 1e-7);
  const float inside = derivative > kLargest ? kLargest : derivative > -kLargest ? derivative : -kLargest;
  const int32_t bin = static_cast<int32_t>((inside + 1.0f) * static_cast<float>(bins) / 2.0f);
  return bin < bins ? bin : bins - 1;
}

}  // namespace dht
