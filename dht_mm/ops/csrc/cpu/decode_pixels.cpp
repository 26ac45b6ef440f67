// CPU kernel of decode_pixels: rows of pixels in parallel.
#include "../common/decode_pixels.h"

#include <cstring>
#include <optional>

#include "regions.h"
#include "simd.h"

namespace dht {
namespace {

// Some classes, added up in registers of 16: a few at once, so that additions need not wait for each other.
template <int kBlock>
inline __attribute__((always_inline)) void sum_block(const DecodeTaps& taps, const float* table, int64_t classes, float* out) {
  constexpr int kLanes = kBlock < 16 ? kBlock : 16, kParts = kBlock / kLanes;
  typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));
  Lanes sum[kParts] = {}, values;
  for (int32_t tap = 0; tap < taps.count; ++tap) {
    const float* row = table + taps.row[tap] * classes;
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      std::memcpy(&values, row + part * kLanes, sizeof values);
      sum[part] += taps.weight[tap] * values;
    }
  }
  std::memcpy(out, sum, sizeof sum);
}

// The last block ends with the classes, wherever it begins: what two blocks share comes out the same.
template <int kBlock>
inline __attribute__((always_inline)) void sum_blocks(const DecodeTaps& taps, const float* table, int64_t classes, float* out) {
  for (int64_t k = 0; k < classes; k += kBlock) {
    const int64_t first = std::min(k, classes - kBlock);
    sum_block<kBlock>(taps, table + first, classes, out + first);
  }
}

DHT_SIMD void sum_taps(const DecodeTaps& taps, const float* table, int64_t classes, float* out) {
  if (classes >= 64) return sum_blocks<64>(taps, table, classes, out);
  if (classes >= 32) return sum_blocks<32>(taps, table, classes, out);
  if (classes >= 16) return sum_blocks<16>(taps, table, classes, out);
  if (classes >= 8) return sum_blocks<8>(taps, table, classes, out);
  sum_blocks<1>(taps, table, classes, out);
}

}  // namespace

Tensor decode_pixels_cpu(const Tensor& table, const std::optional<Tensor>& kernel, const Tensor& labels, const Tensor& offsets,
                         const Tensor& means, const Tensor& size, const Tensor& boxes, const Tensor& colours, const Tensor& steps,
                         int64_t side, int64_t features, int64_t centred, int64_t top, int64_t rows) {
  const Decode decode =
      decode_of(table, kernel ? &*kernel : nullptr, labels, offsets, means, size, boxes, colours, steps, side, features, centred);
  const Regions& regions = decode.regions;
  check_rows(regions);
  const int64_t classes = decode.classes;
  const Tensor logits = empty_on(table, {regions.batch, rows, regions.width, classes}, ScalarType::Float);
  torch::stable::parallel_for(0, regions.batch * rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const auto image = static_cast<int32_t>(line / rows), y = static_cast<int32_t>(top + line % rows);
      float* out = mutable_data<float>(logits) + line * regions.width * classes;
      for (int32_t x = 0; x < regions.width; ++x, out += classes) sum_taps(taps_of(decode, image, y, x), decode.table, classes, out);
    }
  });
  return logits;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("decode_pixels", TORCH_BOX(&dht::decode_pixels_cpu)); }
