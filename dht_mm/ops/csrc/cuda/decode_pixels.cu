// CUDA kernel of decode_pixels: a thread finds what one pixel reads, and adds it up for a few classes at a time.
#include "../common/decode_pixels.h"

#include <optional>

#include "regions.cuh"

namespace dht {
namespace {

constexpr int kClasses = 8;  // neighbouring pixels read the same rows, so that these loads are mostly one a warp

__global__ void sum_taps(Decode decode, int32_t top, int32_t rows, int64_t count, float* logits) {
  const int32_t width = decode.regions.width, classes = decode.classes;
  for (int64_t pixel = grid_thread(); pixel < count; pixel += grid_size()) {
    const int64_t line = pixel / width;
    const DecodeTaps taps = taps_of(decode, static_cast<int32_t>(line / rows), top + static_cast<int32_t>(line % rows),
                                    static_cast<int32_t>(pixel - line * width));
    for (int32_t first = 0; first < classes; first += kClasses) {
      float sum[kClasses] = {};
      for (int32_t tap = 0; tap < taps.count; ++tap) {
        const float *row = decode.table + int64_t(taps.row[tap]) * classes + first, weight = taps.weight[tap];
#pragma unroll
        for (int k = 0; k < kClasses; ++k) sum[k] += first + k < classes ? weight * row[k] : 0.0f;
      }
#pragma unroll
      for (int k = 0; k < kClasses; ++k)
        if (first + k < classes) logits[pixel * classes + first + k] = sum[k];
    }
  }
}

}  // namespace

Tensor decode_pixels_cuda(const Tensor& table, const std::optional<Tensor>& kernel, const Tensor& labels, const Tensor& offsets,
                          const Tensor& means, const Tensor& size, const Tensor& boxes, const Tensor& colours, const Tensor& steps,
                          int64_t side, int64_t features, int64_t centred, int64_t top, int64_t rows) {
  const torch::stable::accelerator::DeviceGuard guard(table.get_device_index());
  const Decode decode =
      decode_of(table, kernel ? &*kernel : nullptr, labels, offsets, means, size, boxes, colours, steps, side, features, centred);
  const int64_t count = decode.regions.batch * rows * decode.regions.width;
  const Tensor logits = empty_on(table, {decode.regions.batch, rows, decode.regions.width, decode.classes}, ScalarType::Float);
  if (logits.numel() == 0) return logits;
  sum_taps<<<one_wave(sum_taps, count), kThreads, 0, current_stream(table)>>>(decode, static_cast<int32_t>(top),
                                                                              static_cast<int32_t>(rows), count, mutable_data<float>(logits));
  check(cudaGetLastError(), "launching a kernel");
  return logits;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("decode_pixels", TORCH_BOX(&dht::decode_pixels_cuda)); }
