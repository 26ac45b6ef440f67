// The draw of the soft budget: the rules of reference/soft_merge.py.
#pragma once

#include "edge_weight.h"

namespace dht {

// A bijective scrambling of 64 bits.
DHT_HD uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xFF51AFD7ED558CCDull;
  x = (x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53ull;
  return x ^ (x >> 33);
}

// Numbers may be negative in principle: they are widened with their sign.
DHT_HD uint64_t wide(int64_t x) { return static_cast<uint64_t>(x); }

DHT_HD uint64_t mix_region(int32_t size, const Box& box) {
  return mix(wide(size) + mix(wide(box.ymin) + mix(wide(box.xmin) + mix(wide(box.ymax) + mix(wide(box.xmax))))));
}

// Regions with small keys are kept: an exponential variable times sqrt(size), as bits, which order as the values do. `whole` is the sum
// of mix_region over the image, `from_end` the label minus the number of regions.
DHT_HD uint64_t draw_key(uint64_t whole, uint64_t seed, int64_t from_end, int32_t size) {
  const uint64_t bits = mix(mix(whole + seed) + wide(from_end));
  const double uniform = (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
  return static_cast<uint64_t>(double_to_bits(-log(uniform) * std::sqrt(static_cast<double>(size))));
}

}  // namespace dht
