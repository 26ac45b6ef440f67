// Float64 functions of single IEEE operations in a fixed order: the same bits as reference/exact_math.py on every device.
// All code that includes this must be compiled without contraction (-ffp-contract=off, --fmad=false).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define DHT_HD __host__ __device__ __forceinline__
#else
#define DHT_HD inline __attribute__((always_inline))
#endif

namespace dht {

DHT_HD double bits_to_double(int64_t bits) {
#ifdef __CUDA_ARCH__
  return __longlong_as_double(bits);
#else
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

DHT_HD int64_t double_to_bits(double value) {
#ifdef __CUDA_ARCH__
  return __double_as_longlong(value);
#else
  int64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

// 2^exponent for exponents in [-1022, 1023].
DHT_HD double power_of_two(int64_t exponent) { return bits_to_double((exponent + 1023) << 52); }

constexpr double kLn2High = 0x1.62e42fee00000p-1;
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;

DHT_HD double exp(double x) {
  // Adding 1.5 * 2^52 rounds to the nearest even integer and leaves it in the low bits.
  constexpr double kRound = 6755399441055744.0;
  x = x < -708.0 ? -708.0 : x > 709.0 ? 709.0 : x;
  const double shifted = x * 1.4426950408889634 + kRound;
  const double power = shifted - kRound;
  const double rest = (x - power * kLn2High) - power * kLn2Low;
  double value = 1.0 / 39916800.0;
  value = value * rest + 1.0 / 3628800.0;
  value = value * rest + 1.0 / 362880.0;
  value = value * rest + 1.0 / 40320.0;
  value = value * rest + 1.0 / 5040.0;
  value = value * rest + 1.0 / 720.0;
  value = value * rest + 1.0 / 120.0;
  value = value * rest + 1.0 / 24.0;
  value = value * rest + 1.0 / 6.0;
  value = value * rest + 0.5;
  value = value * rest + 1.0;
  value = value * rest + 1.0;
  return value * bits_to_double((double_to_bits(shifted) + 1023) << 52);
}

DHT_HD double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// Natural logarithm of a positive, normal value.
DHT_HD double log(double x) {
  const int64_t bits = double_to_bits(x);
  double mantissa = bits_to_double((bits & ((int64_t(1) << 52) - 1)) | (int64_t(1023) << 52));
  int64_t exponent = (bits >> 52) - 1023;
  if (mantissa > 1.4142135623730951) {
    mantissa *= 0.5;
    exponent += 1;
  }
  const double power = static_cast<double>(exponent);
  const double ratio = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = ratio * ratio;
  double series = 1.0 / 19.0;
  for (int n = 17; n > 0; n -= 2) series = series * square + 1.0 / n;
  return power * kLn2High + (power * kLn2Low + 2.0 * ratio * series);
}

// Nearest integer, ties to even.
DHT_HD int64_t round_to_int64(double x) {
#ifdef __CUDA_ARCH__
  return __double2ll_rn(x);
#else
  return std::llrint(x);
#endif
}

}  // namespace dht
