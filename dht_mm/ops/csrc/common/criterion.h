// Information criterion of regions: the formulas of reference/criterion.py.
#pragma once

#include "exact_math.h"

namespace dht {

enum class Criterion : int { kAic = 0, kAicc = 1, kBic = 2, kCic = 3 };

DHT_HD double penalty(Criterion criterion, double k, double size) {
  switch (criterion) {
    case Criterion::kAic:
      return 2.0 * k;
    case Criterion::kAicc:
      return 2.0 * k + 2.0 * (k * k + k) / (size - k - 1.0);
    case Criterion::kBic:
      return k * log(size);
    default:
      return k * (log(size) + 1.0);
  }
}

// Negative information criterion of a region of `size` pixels in an image of `num_pixels`; larger is better.
DHT_HD double information_score(Criterion criterion, const float* variance, int channels, int64_t size, int64_t num_pixels, double iota) {
  constexpr double kTwoPi = 6.283185307179586, kLargest = 1e300;
  double determinant = static_cast<double>(variance[0]) * kTwoPi;
  for (int c = 1; c < channels; ++c) {
    determinant = determinant * (static_cast<double>(variance[c]) * kTwoPi);
    determinant = determinant > kLargest ? kLargest : determinant;
  }
  double evidence = determinant + iota;
  evidence = evidence < 1e-300 ? 1e-300 : evidence > kLargest ? kLargest : evidence;
  const double likelihood = static_cast<double>(size) / static_cast<double>(num_pixels) * log(evidence);
  const double shifted = static_cast<double>(size) + 1e-8;
  const double k = 1.0 / (2.0 * shifted - 2.0 * std::sqrt(shifted));
  return -(likelihood + penalty(criterion, k, shifted));
}

}  // namespace dht
