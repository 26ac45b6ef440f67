// Code lengths of regions and the cost of merging two: the rules of reference/code_length.py and reference/hard_merge.py.
#pragma once

#include "fixed_point.h"

namespace dht {

constexpr double kChannelNoise = 0.005, kBrightnessNoise = 0.01;
constexpr int kMaxChannels = 16;

// A round makes one of this many of the merges that it could make, rounded up.
constexpr int64_t kShareOfRound = 4;

// Sums of the channels and of their products in a region; the product of channels i and j <= i is moment `channels + entry(i, j)`.
DHT_HD constexpr int num_moments(int channels) { return channels * (channels + 3) / 2; }
DHT_HD constexpr int entry(int i, int j) { return i * (i + 1) / 2 + j; }

// Bits to which pixel values are rounded, so that sums of their products over an image fit in 63 bits.
DHT_HD int value_bits(int64_t num_pixels) {
  const int bits = (62 - size_bits(num_pixels)) / 2;
  return bits < 20 ? bits : 20;
}

// The exponent of the unit in which an image's pixel values are integers.
DHT_HD int64_t value_exponent(float largest, int64_t num_pixels) { return feature_exponent(largest) - value_bits(num_pixels); }

// The pivots of covariance + noise of a region of m pixels in Cholesky's elimination, in their order; `moment(k)` is its k-th moment. C is
// the number of channels where it is known at compile time, else 0.
template <int C, class Moment, class Take>
DHT_HD void find_pivots(const Moment& moment, int64_t size, double unit, int channels, const Take& take) {
  const int n = C > 0 ? C : channels;
  constexpr int kRoom = C > 0 ? C : kMaxChannels;
  const double pixels = static_cast<double>(size), square = unit * unit;
  double mean[kRoom], matrix[entry(kRoom, 0)];
  for (int i = 0; i < n; ++i) mean[i] = static_cast<double>(moment(i)) / pixels;
  for (int i = 0; i < n; ++i)
    for (int j = 0; j <= i; ++j)
      matrix[entry(i, j)] = (static_cast<double>(moment(n + entry(i, j))) / pixels - mean[i] * mean[j]) * square +
                            (kBrightnessNoise + (i == j ? kChannelNoise : 0.0));
  for (int k = 0; k < n; ++k) {
    const double diagonal = matrix[entry(k, k)], pivot = diagonal < kChannelNoise ? kChannelNoise : diagonal;
    take(k, pivot);
    for (int i = k + 1; i < n; ++i) {
      const double factor = matrix[entry(i, k)] / pivot;
      for (int j = k + 1; j <= i; ++j) matrix[entry(i, j)] -= factor * matrix[entry(j, k)];
    }
  }
}

// m log det(covariance + noise), the logarithms of the pivots added in their order.
template <int C, class Moment>
DHT_HD double code_length(const Moment& moment, int64_t size, double unit, int channels) {
  double logarithm = 0.0;
  find_pivots<C>(moment, size, unit, channels, [&](int, double pivot) { logarithm += log(pivot); });
  return static_cast<double>(size) * logarithm;
}

// Bits of the cost in float32, which order as costs do. `border` counts all pixel sides of a region that face others.
DHT_HD uint32_t merge_cost(double united, double first, double second, int32_t length, int32_t first_border, int32_t second_border) {
  const double gain = united - (first + second);
  const double share = static_cast<double>(length) / static_cast<double>(first_border < second_border ? first_border : second_border);
  return float_to_bits(static_cast<float>((gain > 0.0 ? gain : 0.0) / (0.5 + share)));
}

// Orders the edges of a region. Both ends see the same key, so the smallest of all is the best of both its ends.
DHT_HD uint64_t merge_key(uint32_t cost, int32_t first, int32_t second) {
  return (uint64_t(cost) << 32) | static_cast<uint32_t>(first ^ second);
}

// Merges of a round that could make `possible`, in an image with `excess` regions too many.
DHT_HD int64_t merges_of_round(int64_t possible, int64_t excess) {
  const int64_t most = possible < excess ? possible : excess;
  return (most + kShareOfRound - 1) / kShareOfRound;
}

}  // namespace dht
