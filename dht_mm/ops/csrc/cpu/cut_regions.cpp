// CPU kernel of cut_regions: images in parallel, components in raster order.
#include <tuple>

#include "../common/edge_weight.h"
#include "../common/histogram.h"
#include "union_find.h"
#include "regions.h"

namespace dht {
namespace {

// The part of each pixel of an image; returns how many there are.
int32_t find_parts(const Regions& regions, int64_t image, int32_t grid_y, int32_t grid_x, int32_t* part) {
  const int32_t* label = regions.labels + image * regions.num_pixels;
  const int32_t width = regions.width;
  std::vector<char> begins(width);
  for (int32_t x = 0; x < width; ++x) begins[x] = begins_cell(x, grid_x, width);
  std::vector<int32_t> root(regions.num_pixels);
  for (int32_t y = 0, u = 0; y < regions.height; ++y) {
    const bool top = begins_cell(y, grid_y, regions.height);
    for (int32_t x = 0; x < width; ++x, ++u) {
      const bool left = !begins[x] && label[u - 1] == label[u], above = !top && label[u - width] == label[u];
      root[u] = left ? root[u - 1] : u;
      if (above) join(root, u, u - width);
    }
  }
  const int32_t count = number_roots(root);
  std::copy(root.begin(), root.end(), part);
  return count;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> cut_regions_cpu(const Tensor& labels, const Tensor& offsets, int64_t total_regions,
                                                                   int64_t grid_y, int64_t grid_x, int64_t rows) {
  const Regions regions = regions_of(labels, offsets, total_regions);
  check_rows(regions);
  const Tensor parts = empty_on(labels, {regions.batch, regions.height, regions.width}, ScalarType::Int);
  const Tensor starts = torch::stable::new_zeros(offsets, {regions.batch + int64_t(1)});
  const Tensor size = torch::stable::new_zeros(labels, {rows}), box = torch::stable::new_zeros(labels, {rows, 4});
  const Tensor parent = torch::stable::new_zeros(labels, {rows});
  int32_t* start = mutable_data<int32_t>(starts);
  for_each_image(regions, [&](int64_t image) {
    start[image + 1] = find_parts(regions, image, static_cast<int32_t>(grid_y), static_cast<int32_t>(grid_x),
                                  mutable_data<int32_t>(parts) + image * regions.num_pixels);
  });
  for (int64_t image = 0; image < regions.batch; ++image) start[image + 1] += start[image];
  require(start[regions.batch] <= rows, "labels must be of connected regions: they have ", start[regions.batch], " parts, more than ", rows);
  for_each_image(regions, [&](int64_t image) {
    const int32_t *label = regions.labels + image * regions.num_pixels, *part = data<int32_t>(parts) + image * regions.num_pixels;
    for (int32_t y = 0; y < regions.height; ++y)
      for (int32_t x = 0; x < regions.width; ++x, ++label, ++part) {
        const int64_t row = int64_t{start[image]} + *part;
        const Box pixel{y, x, y, x};
        Box& whole = mutable_data<Box>(box)[row];
        if (mutable_data<int32_t>(size)[row]++ == 0) {
          mutable_data<int32_t>(parent)[row] = regions.offsets[image] + *label;
          whole = pixel;
        }
        whole = unite(whole, pixel);
      }
  });
  return {parts, starts, size, box, parent};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("cut_regions", TORCH_BOX(&dht::cut_regions_cpu)); }
