// The graph of neighbouring regions of one image on the CPU.
#pragma once

#include <utility>

#include "regions.h"

namespace dht {

constexpr uint32_t kUnknownCost = ~0u;

struct Edge {
  int32_t first, second;  // first < second
  int32_t length;         // pixel sides between the two
  uint32_t cost;          // of merging, where it is known
};

// Edges in the order in which they are met, each once, found by a hash table with open addressing.
class EdgeList {
 public:
  explicit EdgeList(size_t expected) {
    edges_.reserve(expected);
    resize(expected);
  }

  const std::vector<Edge>& edges() const { return edges_; }
  std::vector<Edge>& edges() { return edges_; }

  void clear() {
    edges_.clear();
    std::fill(slots_.begin(), slots_.end(), -1);
  }

  // Adds to the length of an edge; one that is there already loses its cost.
  void add(int32_t first, int32_t second, int32_t length, uint32_t cost = kUnknownCost) {
    if (first > second) std::swap(first, second);
    int32_t& slot = find(first, second);
    if (slot >= 0) {
      edges_[slot].length += length;
      edges_[slot].cost = kUnknownCost;
      return;
    }
    slot = static_cast<int32_t>(edges_.size());
    edges_.push_back({first, second, length, cost});
    if (2 * edges_.size() > slots_.size()) resize(2 * edges_.size());
  }

 private:
  int32_t& find(int32_t first, int32_t second) {
    const uint64_t key = (uint64_t(first) << 32) | uint32_t(second);
    for (size_t at = (key * 0x9E3779B97F4A7C15ull) >> shift_;; at = (at + 1) & (slots_.size() - 1)) {
      int32_t& slot = slots_[at];
      if (slot < 0 || (edges_[slot].first == first && edges_[slot].second == second)) return slot;
    }
  }

  void resize(size_t expected) {
    shift_ = 60;
    while ((size_t(1) << (64 - shift_)) < 2 * expected) --shift_;
    slots_.assign(size_t(1) << (64 - shift_), -1);
    for (size_t i = 0; i < edges_.size(); ++i) find(edges_[i].first, edges_[i].second) = static_cast<int32_t>(i);
  }

  std::vector<Edge> edges_;
  std::vector<int32_t> slots_;
  int shift_ = 60;
};

// Borders between the regions of an image; regions are connected, so there are fewer than three edges a region.
inline EdgeList region_edges(const Regions& regions, int64_t image) {
  const int32_t* label = regions.labels + image * regions.num_pixels;
  EdgeList edges(3 * static_cast<size_t>(num_regions(regions, image)));
  const int64_t width = regions.width;
  for (int64_t row = 0; row < regions.num_pixels; row += width) {
    for (int64_t u = row; u + 1 < row + width; ++u)
      if (label[u] != label[u + 1]) edges.add(label[u], label[u + 1], 1);
    if (row + width == regions.num_pixels) break;
    for (int64_t u = row; u < row + width;) {
      const int32_t above = label[u], below = label[u + width];
      const int64_t start = u;
      while (u < row + width && label[u] == above && label[u + width] == below) ++u;
      if (above != below) edges.add(above, below, static_cast<int32_t>(u - start));
    }
  }
  return edges;
}

// Numbers regions in the order of the smallest label of their component, which `root` leads to by ever smaller labels. Returns how many.
inline int32_t number_merged(const std::vector<int32_t>& root, int32_t* number) {
  int32_t count = 0;
  for (size_t u = 0; u < root.size(); ++u) number[u] = root[u] == static_cast<int32_t>(u) ? count++ : number[root[u]];
  return count;
}

// Turns numbers within images into rows of the merged partition; `offsets` holds the image's counts behind its first entry.
inline void pack_numbers(const Regions& regions, int32_t* offsets, int32_t* parent) {
  offsets[0] = 0;
  for (int64_t image = 0; image < regions.batch; ++image) {
    offsets[image + 1] += offsets[image];
    for (int64_t row = regions.offsets[image]; row < regions.offsets[image + 1]; ++row) parent[row] += offsets[image];
  }
}

}  // namespace dht
