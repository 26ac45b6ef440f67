// One level of the hierarchy of an image, and the statistics of its regions.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "../common/edge_weight.h"
#include "../common/moments.h"

namespace dht {

// Regions of one level of one image. Picks and parents count within their level.
struct Level {
  std::vector<float> mean, variance;  // [n, d]
  std::vector<int64_t> size;
  std::vector<Box> box;
  std::vector<double> score, alpha;  // alpha: sum of the children's weights
  std::vector<int32_t> pick, parent;
  int64_t count() const { return static_cast<int64_t>(size.size()); }
};

// An image to be merged: feature planes [d, height, width].
struct Pixels {
  const float* features;
  int d, height, width;
  int64_t count() const { return int64_t(height) * width; }
};

// Contains nothing.
constexpr Box kNoBox{std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::max(), -1, -1};

// Level 1: the `count` parents of pixels whose picked edges have these weights.
Level level_of_pixels(const Pixels& pixels, const std::vector<int32_t>& parent, const std::vector<double>& weight, int64_t count,
                      const Units& units);

// The level above: the `count` parents of a level's regions, whose moments count by `alpha`.
Level level_above(const Level& child, const std::vector<double>& alpha, int64_t count, int d, const Units& units);

}  // namespace dht
