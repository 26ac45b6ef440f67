// CPU kernel of channel_moments: a channel of an image at a time.
#include "../common/integer_moments.h"

#include <algorithm>
#include <vector>

#include "simd.h"

namespace dht {
namespace {

constexpr uint64_t kMagnitude = ~uint64_t(0) >> 1;

// Bits of the largest absolute value: magnitudes order as their bits do.
DHT_SIMD uint64_t largest_bits(const double* values, int64_t count) {
  uint64_t largest = 0;
  for (int64_t n = 0; n < count; ++n) largest = std::max(largest, static_cast<uint64_t>(double_to_bits(values[n])) & kMagnitude);
  return largest;
}

DHT_SIMD void add_plane(const double* values, double first, double second, int64_t count, uint64_t* sums) {
  uint64_t sum = 0, squares = 0;
  for (int64_t n = 0; n < count; ++n) {
    sum += static_cast<uint64_t>(rounded_bits(values[n] * first));
    squares += static_cast<uint64_t>(rounded_bits(values[n] * values[n] * second));
  }
  sums[0] += sum;
  sums[1] += squares;
}

}  // namespace

std::tuple<Tensor, Tensor> channel_moments_cpu(const Tensor& values) {
  const int64_t batch = values.size(0), channels = values.size(1), plane = values.size(2) * values.size(3), terms = batch * plane;
  const int64_t exponent = exponent_of_bits(largest_bits(data<double>(values), values.numel()));
  const MomentBits bits = moment_bits(exponent, terms);
  const Tensor first = empty_on(values, {channels}, ScalarType::Double), second = empty_on(values, {channels}, ScalarType::Double);
  torch::stable::parallel_for(0, channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      uint64_t sums[2] = {};
      for (int64_t b = 0; b < batch; ++b)
        add_plane(data<double>(values) + (b * channels + c) * plane, power_of_two(bits.first), power_of_two(bits.second), plane, sums);
      mutable_data<double>(first)[c] = sum_of_bits(static_cast<int64_t>(sums[0]), terms, bits.first);
      mutable_data<double>(second)[c] = sum_of_bits(static_cast<int64_t>(sums[1]), terms, bits.second);
    }
  });
  return {first, second};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("channel_moments", TORCH_BOX(&dht::channel_moments_cpu)); }
