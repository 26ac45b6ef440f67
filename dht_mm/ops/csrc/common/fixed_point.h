// Sums that do not depend on the order of their terms: every term is rounded once to a 64-bit integer, and integers are added.
#pragma once

#include "moments.h"

namespace dht {

// Factors from terms to integers and from sums of integers to sums of terms.
struct FixedPoint {
  double forward, back;
};

// For sums of at most `terms` terms of an absolute value up to `largest`. Where that is not finite, all sums are NaN.
DHT_HD FixedPoint fixed_point(float largest, int64_t terms) {
  if (!(largest <= 3.402823466e38f)) return {0.0, bits_to_double(int64_t(0x7FF8) << 48)};
  const int64_t bits = 61 - size_bits(terms) - feature_exponent(largest);
  return {power_of_two(bits), power_of_two(-bits)};
}

// Sum modulo 2^64. Terms that are not finite overflow, which does no harm: their sums become NaN in the end.
DHT_HD int64_t wrapping_sum(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }

}  // namespace dht
