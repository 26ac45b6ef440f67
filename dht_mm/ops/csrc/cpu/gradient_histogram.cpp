// CPU kernel of gradient_histogram: images in parallel.
#include "../common/histogram.h"

#include "regions.h"

namespace dht {
namespace {

DHT_SIMD void joint_bins(const float* along_y, const float* along_x, int64_t count, int32_t bins, int32_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = gradient_bin(along_y[i], bins) * bins + gradient_bin(along_x[i], bins);
}

}  // namespace

Tensor gradient_histogram_cpu(const Tensor& gradient, const Tensor& labels, const Tensor& offsets, int64_t total_regions, int64_t bins) {
  const Regions regions = regions_of(labels, offsets, total_regions);
  check_rows(regions);
  const Tensor counts = torch::stable::new_zeros(labels, {total_regions, bins * bins}, ScalarType::Int);
  const int64_t plane = regions.num_pixels;
  for_each_image(regions, [&](int64_t image) {
    int32_t* rows = mutable_data<int32_t>(counts) + regions.offsets[image] * bins * bins;
    const int32_t* label = regions.labels + image * plane;
    const float *along_y = data<float>(gradient) + 2 * image * plane, *along_x = along_y + plane;
    std::vector<int32_t> bin(regions.width);
    for (int64_t u = 0; u < plane; u += regions.width) {
      joint_bins(along_y + u, along_x + u, regions.width, static_cast<int32_t>(bins), bin.data());
      for (int64_t x = 0; x < regions.width; ++x) ++rows[label[u + x] * bins * bins + bin[x]];
    }
  });
  return counts;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("gradient_histogram", TORCH_BOX(&dht::gradient_histogram_cpu)); }
