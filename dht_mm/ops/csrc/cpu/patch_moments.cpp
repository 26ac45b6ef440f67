// CPU kernel of patch_moments: integers of short runs of patches, added up in any order.
#include "../common/integer_moments.h"

#include <algorithm>
#include <vector>

#include "regions.h"
#include "simd.h"

namespace dht {
namespace {

constexpr int64_t kPatches = 256;  // patches that are gathered at once

DHT_SIMD int64_t sum_of(const double* a, double unit, int64_t count) {
  uint64_t sum = 0;
  for (int64_t n = 0; n < count; ++n) sum += static_cast<uint64_t>(rounded_bits(a[n] * unit));
  return static_cast<int64_t>(sum);
}

DHT_SIMD int64_t sum_of_products(const double* a, const double* b, double unit, int64_t count) {
  uint64_t sum = 0;
  for (int64_t n = 0; n < count; ++n) sum += static_cast<uint64_t>(rounded_bits(a[n] * b[n] * unit));
  return static_cast<int64_t>(sum);
}

void add_patches(const float* image, const PatchShape& shape, int64_t begin, int64_t end, const MomentBits& bits, int64_t* sums) {
  std::vector<double> values(shape.inputs * kPatches);
  std::vector<int64_t> offsets(shape.inputs);
  for (int32_t k = 0; k < shape.inputs; ++k) offsets[k] = input_offset(shape, k);
  const double first = power_of_two(bits.first), second = power_of_two(bits.second);
  for (; begin < end; begin += kPatches) {
    const int64_t count = std::min(kPatches, end - begin);
    for (int64_t n = 0; n < count; ++n) {
      const float* patch = image + patch_start(shape, static_cast<uint32_t>(begin + n));
      for (int32_t k = 0; k < shape.inputs; ++k) values[k * kPatches + n] = patch[offsets[k]];
    }
    for (int32_t k = 0; k < shape.inputs; ++k) sums[k] = wrapping_sum(sums[k], sum_of(&values[k * kPatches], first, count));
    int64_t* sum = sums + shape.inputs;
    for (int32_t i = 0; i < shape.inputs; ++i)
      for (int32_t j = i; j < shape.inputs; ++j, ++sum)
        *sum = wrapping_sum(*sum, sum_of_products(&values[i * kPatches], &values[j * kPatches], second, count));
  }
}

}  // namespace

std::tuple<Tensor, Tensor> patch_moments_cpu(const Tensor& image, int64_t stride) {
  const PatchShape shape = patch_shape(image, stride);
  const int64_t parts = 16, patches = shape.patches, step = (patches + parts - 1) / parts, moments = moment_count(shape.inputs);
  const MomentBits bits = moment_bits(feature_exponent(largest_magnitude(data<float>(image), image.numel())), patches);
  std::vector<int64_t> sums(parts * moments, 0);
  torch::stable::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part)
      add_patches(data<float>(image), shape, part * step, std::min(patches, (part + 1) * step), bits, &sums[part * moments]);
  });
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t n = 0; n < moments; ++n) sums[n] = wrapping_sum(sums[n], sums[part * moments + n]);
  const Tensor first = empty_on(image, {shape.inputs}, ScalarType::Double);
  const Tensor second = empty_on(image, {shape.inputs, shape.inputs}, ScalarType::Double);
  for (int32_t k = 0; k < shape.inputs; ++k) mutable_data<double>(first)[k] = sum_of_bits(sums[k], shape.patches, bits.first);
  for (int64_t n = shape.inputs; n < moments; ++n) {
    const Pair pair = pair_of(static_cast<int32_t>(n), shape.inputs);
    const double sum = sum_of_bits(sums[n], shape.patches, bits.second);
    mutable_data<double>(second)[pair.i * shape.inputs + pair.j] = mutable_data<double>(second)[pair.j * shape.inputs + pair.i] = sum;
  }
  return {first, second};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("patch_moments", TORCH_BOX(&dht::patch_moments_cpu)); }
