// CPU kernels of decode_pixels: rows of pixels in parallel; backward, images.
#include "../common/decode_pixels.h"

#include <cstring>
#include <optional>
#include <tuple>

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

// All that one image's gradients say, pixel after pixel; rows of the table are its own alone. The sums of the kernel's factors go to `sums`.
DHT_SIMD void pass_back(const Decode& decode, int32_t image, const float* grad, float* to_table, double* sums) {
  for (int64_t index = 0; index < area_of(decode); ++index, grad += decode.classes) {
    const auto line = static_cast<int32_t>(index / decode.places), place = static_cast<int32_t>(index % decode.places);
    const DecodePixel pixel = pixel_at(decode, image, line, place);
    const DecodeMix mix = mix_of(decode, pixel);
    const DecodeTaps taps = taps_of(decode, pixel, mix);
    for (int32_t tap = 0; tap < taps.count; ++tap) {
      float* row = to_table + int64_t(taps.row[tap]) * decode.classes;
      for (int32_t k = 0; k < decode.classes; ++k) row[k] += taps.weight[tap] * grad[k];
    }
    if (!decode.kernel) continue;
    const KernelGradient gradient = kernel_gradient(decode, pixel, mix, grad);
    for (int factor = 0; factor < 3; ++factor) sums[factor] += static_cast<double>(gradient.factor[factor]);
  }
}

}  // namespace

Tensor decode_pixels_cpu(const Tensor& table, const std::optional<Tensor>& kernel, const Tensor& labels, const Tensor& offsets,
                         const Tensor& means, const Tensor& size, const Tensor& boxes, const Tensor& steps, const Tensor& colours,
                         const Tensor& rows, const Tensor& columns, int64_t side, int64_t features, int64_t centred) {
  const Decode decode = decode_of(table, kernel ? &*kernel : nullptr, labels, offsets, means, size, boxes, steps, colours, rows, columns,
                                  side, features, centred);
  check_rows(decode.regions);
  const int64_t classes = decode.classes, lines = decode.lines, places = decode.places;
  const Tensor logits = empty_on(table, {decode.regions.batch, lines, places, classes}, ScalarType::Float);
  torch::stable::parallel_for(0, decode.regions.batch * lines, 1, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      float* out = mutable_data<float>(logits) + line * places * classes;
      for (int32_t place = 0; place < places; ++place, out += classes) {
        const DecodePixel pixel = pixel_at(decode, static_cast<int32_t>(line / lines), static_cast<int32_t>(line % lines), place);
        sum_taps(taps_of(decode, pixel, mix_of(decode, pixel)), decode.table, classes, out);
      }
    }
  });
  return logits;
}

std::tuple<Tensor, Tensor> decode_pixels_backward_cpu(const Tensor& grad, const Tensor& table, const std::optional<Tensor>& kernel,
                                                      const Tensor& labels, const Tensor& offsets, const Tensor& means, const Tensor& size,
                                                      const Tensor& boxes, const Tensor& steps, const Tensor& colours, const Tensor& rows,
                                                      const Tensor& columns, int64_t side, int64_t features, int64_t centred) {
  const Decode decode = decode_of(table, kernel ? &*kernel : nullptr, labels, offsets, means, size, boxes, steps, colours, rows, columns,
                                  side, features, centred);
  check_rows(decode.regions);
  const Tensor to_table = empty_on(table, {table.size(0), table.size(1)}, ScalarType::Float);
  const Tensor to_kernel = empty_on(table, {3}, ScalarType::Float);
  std::fill_n(mutable_data<float>(to_table), to_table.numel(), 0.0f);
  std::vector<double> sums(3 * decode.regions.batch, 0.0);
  for_each_image(decode.regions, [&](int64_t image) {
    pass_back(decode, static_cast<int32_t>(image), data<float>(grad) + image * area_of(decode) * decode.classes,
              mutable_data<float>(to_table), sums.data() + 3 * image);
  });
  for (int factor = 0; factor < 3; ++factor) {
    double sum = 0.0;
    for (int32_t image = 0; image < decode.regions.batch; ++image) sum += sums[3 * image + factor];
    mutable_data<float>(to_kernel)[factor] = static_cast<float>(sum);
  }
  return {to_table, to_kernel};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) {
  m.impl("decode_pixels", TORCH_BOX(&dht::decode_pixels_cpu));
  m.impl("decode_pixels_backward", TORCH_BOX(&dht::decode_pixels_backward_cpu));
}
