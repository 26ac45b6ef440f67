// CPU kernel of region_mean: planes of channels in parallel, each added up in raster order.
#include "regions.h"

namespace dht {
namespace {

// Adds the values of a plane to the sums of their labels, run by run.
DHT_SIMD void add_runs(const float* values, const int32_t* label, int64_t count, double forward, int64_t* sums) {
  for (int64_t u = 0; u < count;) {
    const int32_t run = label[u];
    int64_t sum = 0;
    for (; u < count && label[u] == run; ++u) sum = wrapping_sum(sum, round_to_int64(static_cast<double>(values[u]) * forward));
    sums[run] = wrapping_sum(sums[run], sum);
  }
}

}  // namespace

Tensor region_mean_cpu(const Tensor& features, const Tensor& labels, const Tensor& offsets, const Tensor& size) {
  const Regions regions = regions_of(labels, offsets, size.size(0));
  check_rows(regions);
  const int64_t channels = features.size(1), plane = regions.num_pixels;
  const Tensor mean = torch::stable::new_zeros(features, {regions.total, channels});
  std::vector<float> largest(regions.batch);
  for_each_image(regions, [&](int64_t image) {
    largest[image] = largest_magnitude(data<float>(features) + image * channels * plane, channels * plane);
  });
  torch::stable::parallel_for(0, regions.batch * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t map = begin; map < end; ++map) {
      const int64_t image = map / channels, first = regions.offsets[image];
      const FixedPoint units = fixed_point(largest[image], plane);
      const int32_t* label = regions.labels + image * plane;
      std::vector<int64_t> sums(num_regions(regions, image));
      add_runs(data<float>(features) + map * plane, label, plane, units.forward, sums.data());
      for (size_t row = 0; row < sums.size(); ++row)
        mutable_data<float>(mean)[(first + row) * channels + map % channels] =
            static_cast<float>(static_cast<double>(sums[row]) * units.back / data<int32_t>(size)[first + row]);
    }
  });
  return mean;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("region_mean", TORCH_BOX(&dht::region_mean_cpu)); }
