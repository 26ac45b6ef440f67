// CPU kernel of position_histogram: images in parallel.
#include "../common/histogram.h"

#include "regions.h"

namespace dht {

Tensor position_histogram_cpu(const Tensor& labels, const Tensor& offsets, int64_t total_regions, int64_t grid_y, int64_t grid_x) {
  const Regions regions = regions_of(labels, offsets, total_regions);
  check_rows(regions);
  const Tensor counts = torch::stable::new_zeros(labels, {total_regions, grid_y * grid_x}, ScalarType::Int);
  std::vector<int32_t> column(regions.width);
  for (int32_t x = 0; x < regions.width; ++x) column[x] = position_cell(x, static_cast<int32_t>(grid_x), regions.width);
  for_each_image(regions, [&](int64_t image) {
    int32_t* rows = mutable_data<int32_t>(counts) + regions.offsets[image] * grid_y * grid_x;
    const int32_t* label = regions.labels + image * regions.num_pixels;
    for (int32_t y = 0; y < regions.height; ++y, label += regions.width) {
      int32_t* line = rows + position_cell(y, static_cast<int32_t>(grid_y), regions.height) * grid_x;
      for (int32_t x = 0; x < regions.width; ++x) ++line[label[x] * grid_y * grid_x + column[x]];
    }
  });
  return counts;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("position_histogram", TORCH_BOX(&dht::position_histogram_cpu)); }
