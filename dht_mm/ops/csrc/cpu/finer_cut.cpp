// CPU kernel of finer_cut: images in parallel.
#include <numeric>
#include <optional>
#include <tuple>

#include "../common/finer_cut.h"
#include "regions.h"

namespace dht {
namespace {

// Labels of an image whose regions are nodes of a level: what is above each node of level 1, then above each pixel.
void label_pixels(const Hierarchy& hierarchy, const Source& source, int64_t image, int32_t* labels) {
  const int64_t num_pixels = hierarchy.regions.num_pixels;
  const int32_t* parent = hierarchy.parent + image * num_pixels;
  const int32_t first = parent[0];
  const int64_t end = image + 1 < hierarchy.regions.batch ? parent[num_pixels] : hierarchy.starts[2];
  std::vector<int32_t> label(end - first);
  std::iota(label.begin(), label.end(), first);
  for (int32_t& node : label) {
    for (int32_t level = 1; level < source.level; ++level) node = hierarchy.parent[node];
    node -= source.first;
  }
  for (int64_t u = 0; u < num_pixels; ++u) labels[u] = label[parent[u] - first];
}

// What the regions of the cut are written to.
struct Rows {
  int32_t* node;
  Box* box;
  int32_t* size;
  float* mean;
};

// Copies an image's regions into the rows from `row` on.
void copy_rows(const Hierarchy& hierarchy, const Source& source, const Rows& rows, int64_t row) {
  const bool selected = source.level == 0;
  const int64_t d = hierarchy.channels, at = selected ? source.first : source.first - hierarchy.pixels();
  if (selected)
    std::copy_n(hierarchy.node + at, source.count, rows.node + row);
  else
    std::iota(rows.node + row, rows.node + row + source.count, source.first);
  std::copy_n((selected ? hierarchy.box : hierarchy.node_box) + at, source.count, rows.box + row);
  std::copy_n((selected ? hierarchy.size : hierarchy.node_size) + at, source.count, rows.size + row);
  std::copy_n((selected ? hierarchy.mean : hierarchy.node_mean) + at * d, source.count * d, rows.mean + row * d);
}

// Zeros in the rows of no region, from `first` on.
void clear_rows(const Rows& rows, int64_t first, int64_t total, int64_t channels) {
  std::fill(rows.node + first, rows.node + total, 0);
  std::fill(rows.box + first, rows.box + total, Box{0, 0, 0, 0});
  std::fill(rows.size + first, rows.size + total, 0);
  std::fill(rows.mean + first * channels, rows.mean + total * channels, 0.0f);
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> finer_cut_cpu(
    const Tensor& labels, const Tensor& offsets, const Tensor& node, const Tensor& box, const Tensor& size, const Tensor& parent,
    const Tensor& node_size, const Tensor& node_box, const Tensor& mean, const Tensor& node_mean, const Tensor& starts, int64_t least,
    int64_t target, std::optional<int64_t> rows) {
  const Hierarchy hierarchy = hierarchy_of(labels, offsets, node, box, size, parent, node_size, node_box, mean, node_mean, starts);
  const int64_t batch = hierarchy.regions.batch, num_pixels = hierarchy.regions.num_pixels;
  std::vector<Source> sources;
  std::vector<int64_t> start{0};
  for (int64_t image = 0; image < batch; ++image) {
    sources.push_back(choose_source(hierarchy, least, target, image));
    start.push_back(start.back() + sources.back().count);
  }
  const bool fits = hierarchy.exists() && (!rows || start.back() <= *rows);
  if (!fits) std::fill(start.begin(), start.end(), 0);
  const Tensor cut_labels = empty_on(labels, {batch, labels.size(1), labels.size(2)}, ScalarType::Int);
  const Tensor cut_offsets = empty_on(labels, {batch + 1}, ScalarType::Int), num_regions = empty_on(labels, {batch}, ScalarType::Int);
  std::copy(start.begin(), start.end(), mutable_data<int32_t>(cut_offsets));
  for (int64_t image = 0; image < batch; ++image) mutable_data<int32_t>(num_regions)[image] = fits ? sources[image].count : -1;
  const int64_t total = rows.value_or(start.back());
  const auto [cut_node, cut_box, cut_size, cut_mean] = empty_rows(labels, total, hierarchy.channels);
  const Rows cut{mutable_data<int32_t>(cut_node), mutable_data<Box>(cut_box), mutable_data<int32_t>(cut_size), mutable_data<float>(cut_mean)};
  clear_rows(cut, start.back(), total, hierarchy.channels);
  for_each_image(hierarchy.regions, [&](int64_t image) {
    int32_t* label = mutable_data<int32_t>(cut_labels) + image * num_pixels;
    if (!fits)
      std::fill_n(label, num_pixels, 0);
    else if (sources[image].level == 0)
      std::copy_n(hierarchy.regions.labels + image * num_pixels, num_pixels, label);
    else
      label_pixels(hierarchy, sources[image], image, label);
    if (fits) copy_rows(hierarchy, sources[image], cut, start[image]);
  });
  return {cut_labels, num_regions, cut_offsets, cut_node, cut_box, cut_size, cut_mean};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("finer_cut", TORCH_BOX(&dht::finer_cut_cpu)); }
