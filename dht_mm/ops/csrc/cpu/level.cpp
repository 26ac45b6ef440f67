// Fixed-point sums of regions' moments: the rules of reference/statistics.py.
#include "level.h"

#include <algorithm>

#include "simd.h"

namespace dht {
namespace {

// Fixed-point sums of the children of one level.
struct Sums {
  Sums(int64_t count, int d) : alpha(count), first(count * d), second(count * d), children(count), only_child(count) {}
  std::vector<int64_t> alpha, first, second;
  std::vector<int32_t> children;
  std::vector<int64_t> only_child;
};

Level empty_level(int64_t count, int d) {
  Level level;
  level.mean.resize(count * d);
  level.variance.resize(count * d);
  level.alpha.resize(count);
  level.size.assign(count, 0);
  level.box.assign(count, kNoBox);
  return level;
}

DHT_SIMD void finish_moments(Level& level, const Sums& sums, int d, const Units& units) {
  for (int64_t p = 0; p < level.count(); ++p) {
    level.alpha[p] = static_cast<double>(sums.alpha[p]) / units.alpha;
    for (int c = 0; c < d; ++c) {
      const int64_t i = p * d + c;
      level.mean[i] = mean_of(sums.first[i], sums.alpha[p], units);
      level.variance[i] = variance_of(sums.first[i], sums.second[i], sums.alpha[p], units);
    }
  }
}

// Fixed-point terms of `n` pixels, [1 + 2 d, n]: alpha, alpha f, alpha f^2. `small`: no term reaches 2^51.
DHT_SIMD void pixel_terms(const double* weight, const float* features, int64_t plane, int d, int64_t n, const Units& units, bool small,
                          int64_t* terms) {
  double alpha[64];
  for (int64_t i = 0; i < n; ++i) alpha[i] = alpha_of(1, weight[i]);
  for (int64_t i = 0; i < n; ++i) terms[i] = round_to_int64(alpha[i] * units.alpha);
  for (int c = 0; c < d; ++c) {
    const float* f = features + c * plane;
    int64_t *first = terms + (1 + c) * n, *second = terms + (1 + d + c) * n;
    for (int64_t i = 0; small && i < n; ++i) first[i] = round_small(alpha[i] * static_cast<double>(f[i]) * units.first);
    for (int64_t i = 0; small && i < n; ++i) {
      const double value = f[i];
      second[i] = round_small(alpha[i] * (value * value) * units.second);
    }
    for (int64_t i = 0; !small && i < n; ++i) first[i] = first_moment(alpha[i], f[i], units);
    for (int64_t i = 0; !small && i < n; ++i) second[i] = second_moment(alpha[i], f[i], 0.0f, units);
  }
}

}  // namespace

Level level_of_pixels(const Pixels& pixels, const std::vector<int32_t>& parent, const std::vector<double>& weight, int64_t count,
                      const Units& units) {
  const int d = pixels.d;
  const int64_t num_pixels = pixels.count();
  Level level = empty_level(count, d);
  Sums sums(count, d);
  constexpr int64_t kBlock = 64;
  std::vector<int64_t> terms((1 + 2 * d) * kBlock);
  for (int64_t begin = 0; begin < num_pixels; begin += kBlock) {
    const int64_t n = std::min(kBlock, num_pixels - begin);
    pixel_terms(&weight[begin], pixels.features + begin, num_pixels, d, n, units, size_bits(num_pixels) >= 10, terms.data());
    for (int64_t i = 0; i < n; ++i) {
      const int64_t u = begin + i, p = parent[u];
      const int32_t y = static_cast<int32_t>(u / pixels.width), x = static_cast<int32_t>(u % pixels.width);
      sums.alpha[p] += terms[i];
      for (int c = 0; c < d; ++c) {
        sums.first[p * d + c] += terms[(1 + c) * n + i];
        sums.second[p * d + c] += terms[(1 + d + c) * n + i];
      }
      level.size[p] += 1;
      level.box[p] = unite(level.box[p], Box{y, x, y, x});
    }
  }
  finish_moments(level, sums, d, units);
  if (num_pixels == 1) {
    std::copy_n(pixels.features, d, level.mean.begin());
    std::fill(level.variance.begin(), level.variance.end(), 0.0f);
  }
  return level;
}

Level level_above(const Level& child, const std::vector<double>& alpha, int64_t count, int d, const Units& units) {
  Level level = empty_level(count, d);
  Sums sums(count, d);
  for (int64_t u = 0; u < child.count(); ++u) {
    const int64_t p = child.parent[u];
    sums.alpha[p] += round_to_int64(alpha[u] * units.alpha);
    for (int c = 0; c < d; ++c) {
      sums.first[p * d + c] += first_moment(alpha[u], child.mean[u * d + c], units);
      sums.second[p * d + c] += second_moment(alpha[u], child.mean[u * d + c], child.variance[u * d + c], units);
    }
    sums.children[p] += 1;
    sums.only_child[p] = u;
    level.size[p] += child.size[u];
    level.box[p] = unite(level.box[p], child.box[u]);
  }
  finish_moments(level, sums, d, units);
  for (int64_t p = 0; p < count; ++p) {
    if (sums.children[p] != 1) continue;
    std::copy_n(&child.mean[sums.only_child[p] * d], d, &level.mean[p * d]);
    std::copy_n(&child.variance[sums.only_child[p] * d], d, &level.variance[p * d]);
  }
  return level;
}

}  // namespace dht
