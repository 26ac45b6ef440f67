// Exact conversions to float64. On GPUs the plain ones run at a quarter of the speed of float64 arithmetic.
#pragma once

#include "exact_math.h"

namespace dht {

// A finite float. The exponent field is moved, not rebiased, which leaves a factor of 2^-896; subnormal floats become subnormal doubles.
DHT_HD double widen(float x) {
#ifdef __CUDA_ARCH__
  const uint32_t bits = float_to_bits(x);
  return __hiloint2double(static_cast<int>((bits & 0x80000000u) | ((bits & 0x7FFFFFFFu) >> 3)), static_cast<int>(bits << 29)) * 0x1p896;
#else
  return x;
#endif
}

// An unsigned integer, written into the low bits of 2^52.
DHT_HD double widen(uint32_t x) {
#ifdef __CUDA_ARCH__
  return __hiloint2double(0x43300000, static_cast<int>(x)) - 0x1p52;
#else
  return x;
#endif
}

// Nearest integer, ties to even, of |x| < 2^51.
DHT_HD int64_t round_small(double x) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  return double_to_bits(x + kRound) - 0x4338000000000000;
}

}  // namespace dht
