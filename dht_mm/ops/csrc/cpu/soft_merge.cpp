// CPU kernel of soft_merge: images in parallel. Keeps the smallest regions or a sample; the others join their most similar neighbour.
#include <numeric>
#include <optional>
#include <tuple>

#include "../common/draw.h"
#include "region_graph.h"

namespace dht {
namespace {

struct Kept {
  const int32_t* size;
  const Box* box;
  int64_t count, target;
  std::optional<int64_t> seed;
};

// Regions are kept by ascending key, ties to the smaller label.
std::vector<uint64_t> keys_of(const Kept& kept) {
  std::vector<uint64_t> keys(kept.size, kept.size + kept.count);
  if (!kept.seed) return keys;
  uint64_t whole = 0;
  for (int64_t u = 0; u < kept.count; ++u) whole += mix_region(kept.size[u], kept.box[u]);
  for (int64_t u = 0; u < kept.count; ++u) keys[u] = draw_key(whole, static_cast<uint64_t>(*kept.seed), u - kept.count, kept.size[u]);
  return keys;
}

std::vector<char> find_dropped(const Kept& kept) {
  std::vector<char> dropped(kept.count, 0);
  if (kept.count <= kept.target) return dropped;
  const std::vector<uint64_t> keys = keys_of(kept);
  std::vector<int32_t> order(kept.count);
  std::iota(order.begin(), order.end(), 0);
  std::nth_element(order.begin(), order.begin() + kept.target, order.end(),
                   [&](int32_t u, int32_t v) { return std::pair(keys[u], u) < std::pair(keys[v], v); });
  for (int64_t i = kept.target; i < kept.count; ++i) dropped[order[i]] = 1;
  return dropped;
}

// The neighbour of every region that it joins, or itself.
std::vector<int32_t> pick(const std::vector<char>& dropped, const EdgeList& edges, const float* color, int channels, Kernel kernel) {
  std::vector<int64_t> best(dropped.size());
  for (size_t u = 0; u < best.size(); ++u) best[u] = (int64_t(dropped[u] ? 0 : 65535) << 32) | static_cast<int64_t>(u);
  for (const Edge& edge : edges.edges()) {
    const int32_t u = edge.first, v = edge.second;
    const bool open = dropped[u] || dropped[v];
    const Features first{color + int64_t(u) * channels, 1}, second{color + int64_t(v) * channels, 1};
    const double weight = open ? similarity(kernel, first, second, channels) : 0.0;
    best[u] = std::max(best[u], edge_key(weight, v));
    best[v] = std::max(best[v], edge_key(weight, u));
  }
  return {best.begin(), best.end()};  // the low 32 bits
}

// Smallest label of every region's component. Picks lead to mutual or self picks; see reference/components.py.
std::vector<int32_t> components(const std::vector<int32_t>& pick) {
  const int32_t count = static_cast<int32_t>(pick.size());
  std::vector<int32_t> root(count), smallest(count, count);
  for (int32_t u = 0; u < count; ++u) root[u] = pick[pick[u]] == u && u < pick[u] ? u : pick[u];
  for (int32_t u = 0; u < count; ++u) {
    while (root[u] != root[root[u]]) root[u] = root[root[u]];
    smallest[root[u]] = std::min(smallest[root[u]], u);
  }
  for (int32_t& node : root) node = smallest[node];
  return root;
}

}  // namespace

std::tuple<Tensor, Tensor> soft_merge_cpu(const Tensor& labels, const Tensor& offsets, const Tensor& size, const Tensor& bbox,
                                          const Tensor& color, int64_t target, std::optional<int64_t> seed, int64_t kernel) {
  const Regions regions = regions_of(labels, offsets, size.size(0));
  check_rows(regions);
  const int64_t channels = color.size(1);
  const Tensor parent = empty_on(size, {regions.total}, ScalarType::Int);
  const Tensor merged = empty_on(size, {regions.batch + int64_t(1)}, ScalarType::Int);
  for_each_image(regions, [&](int64_t image) {
    const int64_t first = regions.offsets[image];
    const std::vector<char> dropped =
        find_dropped({data<int32_t>(size) + first, data<Box>(bbox) + first, num_regions(regions, image), target, seed});
    const std::vector<int32_t> picks = pick(dropped, region_edges(regions, image), data<float>(color) + first * channels,
                                            static_cast<int>(channels), static_cast<Kernel>(kernel));
    mutable_data<int32_t>(merged)[image + 1] = number_merged(components(picks), mutable_data<int32_t>(parent) + first);
  });
  pack_numbers(regions, mutable_data<int32_t>(merged), mutable_data<int32_t>(parent));
  return {parent, merged};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("soft_merge", TORCH_BOX(&dht::soft_merge_cpu)); }
