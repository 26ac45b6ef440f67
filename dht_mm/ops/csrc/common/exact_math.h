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

DHT_HD uint32_t float_to_bits(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

// 2^exponent for exponents in [-1022, 1023].
DHT_HD double power_of_two(int64_t exponent) { return bits_to_double((exponent + 1023) << 52); }

constexpr double kLn2High = 0x1.62e42fee00000p-1;
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;

constexpr double kLargestExponent = 700.0;

DHT_HD double clamp_exponent(double x) {
#ifdef __CUDA_ARCH__
  // The same by integers, which leave the float64 units free. NaN stays.
  constexpr int32_t kHigh = 0x4085E000, kInfinity = 0x7FF00000;
  const int32_t high = __double2hiint(x), magnitude = high & 0x7FFFFFFF;
  return magnitude >= kHigh && magnitude <= kInfinity ? __hiloint2double((high & ~0x7FFFFFFF) | kHigh, 0) : x;
#else
  return x < -kLargestExponent ? -kLargestExponent : x > kLargestExponent ? kLargestExponent : x;
#endif
}

// x / ln 2 as the nearest integer, in the low bits of `shifted`, and the rest in [-1/2, 1/2]. `per_ln2` is 1 / ln 2 with a sign.
struct Binary {
  double shifted, rest;
};

DHT_HD Binary to_binary(double x, double per_ln2) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: a sum with it is rounded to an integer, ties to even
  const double scaled = clamp_exponent(x) * per_ln2;
  const double shifted = scaled + kRound;
  return {shifted, scaled - (shifted - kRound)};
}

// value * 2^(integer of `binary`), where both are normal.
DHT_HD double scale_by_power(double value, const Binary& binary) {
  return bits_to_double(static_cast<int64_t>(static_cast<uint64_t>(double_to_bits(value)) +
                                             (static_cast<uint64_t>(double_to_bits(binary.shifted)) << 52)));
}

constexpr double kPerLn2 = 1.4426950408889634;

// e^x for x clamped to [-700, 700]: a polynomial for the 16th root of 2^rest, squared four times. Relative error below 5e-11.
DHT_HD double exp(double x) {
  const Binary binary = to_binary(x, kPerLn2);
  double value = 0x1.3b2a3012ed2f2p-23;
  value = value * binary.rest + 0x1.c6b3f67473406p-17;
  value = value * binary.rest + 0x1.ebfbdffda4febp-11;
  value = value * binary.rest + 0x1.62e42fec3c855p-5;
  value = value * binary.rest + 1.0;
  for (int i = 0; i < 4; ++i) value = value * value;
  return scale_by_power(value, binary);
}

// 1 / x where both are normal.
DHT_HD double reciprocal(double x) {
#ifdef __CUDA_ARCH__
  // The compiler's own steps for 1 / x, without its branch for values that are not normal, which would keep neighbouring ones apart.
  double start;
  asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(start) : "d"(x));
  start = __hiloint2double(__double2hiint(start), __double2hiint(x) + 0x300402);
  const double rest = __fma_rn(-x, start, 1.0), near = __fma_rn(start, __fma_rn(rest, rest, rest), start);
  return __fma_rn(near, __fma_rn(-x, near, 1.0), near);
#else
  return 1.0 / x;
#endif
}

// 1 / (1 + e^-x), with 2^rest = (even + odd) / (even - odd), so that one division is enough. Relative error below 1e-10.
DHT_HD double sigmoid(double x) {
  const Binary binary = to_binary(x, -kPerLn2);
  const double square = binary.rest * binary.rest;
  const double odd = (square + 0x1.f44788cb401c1p+6) * binary.rest;
  const double even = square * 0x1.155815900137dp+4 + 0x1.68e0157b9d6f6p+8;
  const double below = even - odd;
  return below * reciprocal(below + scale_by_power(even + odd, binary));
}

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
