// First and second moments as sums of integers: the rules of reference/moments.py.
#pragma once

#include "fixed_point.h"
#include "tensors.h"

namespace dht {

// Patches of stride x stride pixels, side by side.
struct PatchShape {
  int32_t channels, height, width, stride, taps, inputs;
  uint32_t columns, of_image, patches;
};

inline PatchShape patch_shape(const Tensor& image, int64_t stride) {
  const int32_t channels = static_cast<int32_t>(image.size(1)), height = static_cast<int32_t>(image.size(2));
  const int32_t width = static_cast<int32_t>(image.size(3)), side = static_cast<int32_t>(stride);
  const int64_t of_image = int64_t(height / side) * (width / side), patches = image.size(0) * of_image;
  require(patches <= INT32_MAX, "the batch is too large, it has ", patches, " patches");
  return {channels, height, width, side, side * side, channels * side * side, static_cast<uint32_t>(width / side),
          static_cast<uint32_t>(of_image), static_cast<uint32_t>(patches)};
}

// Where the first input of a patch lies in the image.
DHT_HD int64_t patch_start(const PatchShape& shape, uint32_t patch) {
  const uint32_t image = patch / shape.of_image, place = patch % shape.of_image;
  const int64_t row = int64_t(image) * shape.channels * shape.height + int64_t(place / shape.columns) * shape.stride;
  return row * shape.width + int64_t(place % shape.columns) * shape.stride;
}

// How far behind it input k lies.
DHT_HD int64_t input_offset(const PatchShape& shape, int32_t k) {
  const int32_t tap = k % shape.taps;
  return (int64_t(k / shape.taps) * shape.height + tap / shape.stride) * shape.width + tap % shape.stride;
}

// Smallest exponent e >= -64 with |v| < 2^e for the bits of the largest |v|.
DHT_HD int64_t exponent_of_bits(uint64_t largest) {
  const int64_t exponent = static_cast<int64_t>(largest >> 52) - 1022;
  return exponent < -64 ? -64 : exponent;
}

// Exponents of the units of first and second moments.
struct MomentBits {
  int64_t first, second;
};

// For sums of `terms` values with |v| < 2^exponent and of their products.
DHT_HD MomentBits moment_bits(int64_t exponent, int64_t terms) {
  const int64_t bits = 61 - size_bits(terms), kept = bits < 50 ? bits : 50;
  return {kept - exponent, kept - 2 * exponent};
}

// A sum with 1.5 * 2^52 holds the nearest integer of a term below 2^51 in its bits, beside those of the constant.
constexpr double kRounding = 6755399441055744.0;

DHT_HD int64_t rounded_bits(double term) { return double_to_bits(term + kRounding); }

DHT_HD double sum_of_bits(int64_t bits, int64_t terms, int64_t exponent) {
  const uint64_t constant = static_cast<uint64_t>(double_to_bits(kRounding)) * static_cast<uint64_t>(terms);
  return static_cast<double>(static_cast<int64_t>(static_cast<uint64_t>(bits) - constant)) * power_of_two(-exponent);
}

// The pairs (i, j), i <= j, of inputs, counted row by row; pair n of `inputs` first stands for the first moment of input n.
struct Pair {
  int32_t i, j;
};

DHT_HD int32_t moment_count(int32_t inputs) { return inputs + inputs * (inputs + 1) / 2; }

DHT_HD Pair pair_of(int32_t moment, int32_t inputs) {
  int32_t left = moment - inputs, i = 0;
  while (left >= inputs - i) left -= inputs - i++;
  return {i, i + left};
}

}  // namespace dht
