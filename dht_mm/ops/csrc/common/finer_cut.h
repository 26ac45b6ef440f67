// From which level of a hierarchy an image's regions are taken: the rule of reference/finer_cut.py.
#pragma once

#include <array>

#include "edge_weight.h"
#include "regions.h"

namespace dht {

// A hierarchy with the regions that were selected from it.
struct Hierarchy {
  Regions regions;
  const int32_t *node, *size;  // [R]
  const Box* box;              // [R]
  const float* mean;           // [R, d]
  const int32_t* parent;       // [n]
  const int32_t* node_size;    // [n - pixels]
  const Box* node_box;         // [n - pixels]
  const float* node_mean;      // [n - pixels, d]
  const int64_t* starts;       // [num_starts] first node of each level; their end is repeated, and 0 where there is no hierarchy
  int32_t num_starts, channels;

  DHT_HD int64_t pixels() const { return regions.batch * regions.num_pixels; }
  DHT_HD bool exists() const { return starts[num_starts - 1] > 0; }
};

// Where an image's regions come from: nodes of a level from `first` on, or selected regions from row `first` on where `level` is 0.
struct Source {
  int32_t level, first, count;
};

// Levels never have more nodes than those below them, so the last one that has enough is the coarsest.
DHT_HD Source choose_source(const Hierarchy& hierarchy, int64_t least, int64_t target, int64_t image) {
  const Regions& regions = hierarchy.regions;
  const int64_t *starts = hierarchy.starts, end = starts[hierarchy.num_starts - 1];
  const bool is_last = image + 1 == regions.batch;
  Source source{0, regions.offsets[image], static_cast<int32_t>(num_regions(regions, image))};
  // An image's first pixel lies in its first node of every level. The last level is that of whole images.
  int64_t first = image * regions.num_pixels, next = first + regions.num_pixels;
  for (int32_t level = 1; starts[level + 1] < end; ++level) {
    first = hierarchy.parent[first];
    next = is_last ? starts[level + 1] : hierarchy.parent[next];
    const int64_t count = next - first;
    if (level == 1 ? count < source.count && count < target : count < least) break;
    source = {level, static_cast<int32_t>(first), static_cast<int32_t>(count)};
  }
  return source;
}

inline Hierarchy hierarchy_of(const Tensor& labels, const Tensor& offsets, const Tensor& node, const Tensor& box, const Tensor& size,
                              const Tensor& parent, const Tensor& node_size, const Tensor& node_box, const Tensor& mean,
                              const Tensor& node_mean, const Tensor& starts) {
  return {regions_of(labels, offsets, size.size(0)), data<int32_t>(node), data<int32_t>(size), data<Box>(box), data<float>(mean),
          data<int32_t>(parent), data<int32_t>(node_size), data<Box>(node_box), data<float>(node_mean), data<int64_t>(starts),
          static_cast<int32_t>(starts.size(0)), static_cast<int32_t>(mean.size(1))};
}

// Rows for the regions of the cut: nodes, boxes, sizes and means.
inline std::array<Tensor, 4> empty_rows(const Tensor& like, int64_t rows, int64_t channels) {
  return {empty_on(like, {rows}, ScalarType::Int), empty_on(like, {rows, 4}, ScalarType::Int), empty_on(like, {rows}, ScalarType::Int),
          empty_on(like, {rows, channels}, ScalarType::Float)};
}

}  // namespace dht
