// CPU kernels of unite_regions and united_mean.
#include <tuple>

#include "../common/edge_weight.h"
#include "regions.h"

namespace dht {

static void check_parents(const Tensor& parent, int64_t first, int64_t last, int64_t total) {
  for (int64_t row = first; row < last; ++row) {
    const int64_t to = data<int32_t>(parent)[row];
    require(to >= 0 && to < total, "parent must be in [0, ", total, "), got ", to);
  }
}

std::tuple<Tensor, Tensor, Tensor> unite_regions_cpu(const Tensor& labels, const Tensor& offsets, const Tensor& size, const Tensor& bbox,
                                                     const Tensor& parent, const Tensor& merged_offsets, int64_t total) {
  const Regions regions = regions_of(labels, offsets, size.size(0));
  check_rows(regions);
  check_parents(parent, 0, regions.total, total);
  const Tensor merged = empty_on(labels, {regions.batch, regions.height, regions.width}, ScalarType::Int);
  const Tensor merged_size = torch::stable::new_zeros(size, {total}), merged_box = empty_on(bbox, {total, 4}, ScalarType::Int);
  const Box nowhere{INT32_MAX, INT32_MAX, -1, -1};
  std::fill_n(mutable_data<Box>(merged_box), total, nowhere);
  for (int64_t row = 0; row < regions.total; ++row) {
    const int64_t to = data<int32_t>(parent)[row];
    int32_t& sum = mutable_data<int32_t>(merged_size)[to];
    sum = static_cast<int32_t>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(data<int32_t>(size)[row]));  // any numbers may come
    mutable_data<Box>(merged_box)[to] = unite(mutable_data<Box>(merged_box)[to], data<Box>(bbox)[row]);
  }
  for_each_image(regions, [&](int64_t image) {
    const int32_t* label = regions.labels + image * regions.num_pixels;
    const int32_t* number = data<int32_t>(parent) + regions.offsets[image];
    const int32_t start = data<int32_t>(merged_offsets)[image];
    int32_t* out = mutable_data<int32_t>(merged) + image * regions.num_pixels;
    for (int64_t u = 0; u < regions.num_pixels; ++u) out[u] = number[label[u]] - start;
  });
  return {merged, merged_size, merged_box};
}

Tensor united_mean_cpu(const Tensor& mean, const Tensor& offsets, const Tensor& size, const Tensor& parent, const Tensor& united_size,
                       int64_t num_pixels) {
  const int64_t channels = mean.size(1);
  const int32_t *start = data<int32_t>(offsets), *to = data<int32_t>(parent), *own = data<int32_t>(size);
  const float* value = data<float>(mean);
  const Tensor united = torch::stable::new_zeros(mean, {united_size.size(0), channels});
  std::vector<int64_t> sums(united_size.size(0) * channels);
  for (int64_t image = 0; image + 1 < offsets.size(0); ++image) {
    const int64_t first = start[image], last = start[image + 1];
    require(0 <= first && first <= last && last <= mean.size(0), "offsets must rise from 0 to the number of regions ", mean.size(0),
            ", got ", first, " and ", last);
    check_parents(parent, first, last, united_size.size(0));
    const FixedPoint units = fixed_point(largest_magnitude(value + first * channels, (last - first) * channels), num_pixels);
    for (int64_t i = first * channels; i < last * channels; ++i) {
      int64_t& sum = sums[to[i / channels] * channels + i % channels];
      sum = wrapping_sum(sum, round_to_int64(static_cast<double>(own[i / channels]) * static_cast<double>(value[i]) * units.forward));
    }
    for (int64_t i = first * channels; i < last * channels; ++i) {
      const int64_t row = to[i / channels], at = row * channels + i % channels;
      const int32_t whole = data<int32_t>(united_size)[row];
      const double sum = static_cast<double>(sums[at]) * units.back;
      mutable_data<float>(united)[at] = own[i / channels] == whole ? value[i] : static_cast<float>(sum / whole);
    }
  }
  return united;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) {
  m.impl("unite_regions", TORCH_BOX(&dht::unite_regions_cpu));
  m.impl("united_mean", TORCH_BOX(&dht::united_mean_cpu));
}
