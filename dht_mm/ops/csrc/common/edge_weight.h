// Weights of edges between regions: the formulas of reference/edge_weight.py.
#pragma once

#include "convert.h"

namespace dht {

enum class Kernel : int { kGaussian = 0, kCosine = 1, kTanimoto = 2 };

struct Box {
  int32_t ymin, xmin, ymax, xmax;
};

DHT_HD int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
DHT_HD int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }
DHT_HD int32_t clamp(int32_t x, int32_t low, int32_t high) { return larger(low, smaller(x, high)); }

DHT_HD Box unite(const Box& a, const Box& b) {
  return {smaller(a.ymin, b.ymin), smaller(a.xmin, b.xmin), larger(a.ymax, b.ymax), larger(a.xmax, b.xmax)};
}

// Sizes and extents stay below 2^32; the square of an extent is rounded as the integer's conversion would be.
DHT_HD double compactness_of(int64_t size, const Box& box) {
  const double extent = widen(2u + static_cast<uint32_t>(box.ymax - box.ymin) + static_cast<uint32_t>(box.xmax - box.xmin));
  return 4.0 * widen(static_cast<uint32_t>(size)) / (extent * extent);
}

DHT_HD double clip01(double x) { return x < 0.0 ? 0.0 : x > 1.0 ? 1.0 : x; }

// The features of a pixel or region in memory: element c lies at c * stride.
struct Features {
  const float* at;
  int64_t stride;
  DHT_HD double operator()(int c) const { return widen(at[c * stride]); }
};

// Squared distance of features; a(c) and b(c) are their elements.
template <class A, class B>
DHT_HD double squared_distance(const A& a, const B& b, int channels) {
  double distance = 0.0;
  for (int c = 0; c < channels; ++c) {
    const double difference = a(c) - b(c);
    distance += difference * difference;
  }
  return distance;
}

// Similarity of features; a(c) and b(c) are their elements.
template <class A, class B>
DHT_HD double similarity(Kernel kernel, const A& a, const B& b, int channels) {
  if (kernel == Kernel::kGaussian) return exp(-squared_distance(a, b, channels));
  double dot = 0.0, square_a = 0.0, square_b = 0.0;
  for (int c = 0; c < channels; ++c) {
    const double x = a(c), y = b(c);
    dot += x * y;
    square_a += x * x;
    square_b += y * y;
  }
  constexpr double kTiny = 1e-300;
  if (kernel == Kernel::kCosine) {
    const double norms = square_a * square_b;
    return clip01(dot / std::sqrt(norms < kTiny ? kTiny : norms));
  }
  const double both = square_a + square_b - dot;
  return clip01(dot / (both < kTiny ? kTiny : both));
}

DHT_HD double blend(double similarity, double shape, double compactness) {
  return (1.0 - compactness) * similarity + compactness * shape;
}

// The 16-bit integer at which weights are compared, computed in float32.
DHT_HD int64_t quantize(double weight) {
  float w = static_cast<float>(weight);
  w = w < 0.0f ? 0.0f : w > 1.0f ? 1.0f : w;
  return static_cast<int32_t>(w * 65535.0f);
}

// Orders edges of a region by weight, then by the neighbour's label.
DHT_HD int64_t edge_key(double weight, int64_t label) { return (quantize(weight) << 32) | label; }

}  // namespace dht
