// Fixed-point sums of the statistics of regions: the rules of reference/statistics.py.
#pragma once

#include "exact_math.h"

namespace dht {

constexpr double kSmallestRootWeight = 0x1p-20;

// Units in which an image's terms are rounded: alpha, alpha * f and alpha * (s + f^2).
struct Units {
  double alpha, first, second, first_back, second_back;
};

DHT_HD int size_bits(int64_t num_pixels) {
  int bits = 0;
  while ((int64_t(1) << bits) < num_pixels) ++bits;
  return bits;
}

// Smallest exponent e >= -64 with |f| < 2^e for the largest |f| of an image.
DHT_HD int64_t feature_exponent(float largest) {
  const double value = static_cast<double>(largest) < 0x1p-65 ? 0x1p-65 : static_cast<double>(largest);
  return (double_to_bits(value) >> 52) - 1023 + 1;
}

DHT_HD Units units_of(int64_t exponent, int bits) {
  return {power_of_two(61 - bits), power_of_two(61 - bits - exponent), power_of_two(61 - bits - 2 * exponent - 1), power_of_two(exponent),
          power_of_two(2 * exponent + 1)};
}

DHT_HD double alpha_of(int64_t size, double weight) {
  const double root = std::sqrt(weight);
  return static_cast<double>(size) * (root < kSmallestRootWeight ? kSmallestRootWeight : root);
}

DHT_HD int64_t first_moment(double alpha, float mean, const Units& units) {
  return round_to_int64(alpha * static_cast<double>(mean) * units.first);
}

DHT_HD int64_t second_moment(double alpha, float mean, float variance, const Units& units) {
  const double f = mean, s = variance;
  return round_to_int64(alpha * (s + f * f) * units.second);
}

DHT_HD float mean_of(int64_t first, int64_t total, const Units& units) {
  return static_cast<float>(static_cast<double>(first) / static_cast<double>(total) * units.first_back);
}

DHT_HD float variance_of(int64_t first, int64_t second, int64_t total, const Units& units) {
  const double mean = static_cast<double>(first) / static_cast<double>(total) * units.first_back;
  const double variance = static_cast<double>(second) / static_cast<double>(total) * units.second_back - mean * mean;
  constexpr double kLargest = 3.4028234663852886e38;
  return static_cast<float>(variance < 0.0 ? 0.0 : variance > kLargest ? kLargest : variance);
}

}  // namespace dht
