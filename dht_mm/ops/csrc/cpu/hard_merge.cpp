// CPU kernel of hard_merge: images in parallel, each in rounds of mutually cheapest merges.
#include <numeric>
#include <tuple>

#include "../common/code_length.h"
#include "region_graph.h"

namespace dht {
namespace {

// Pixel values as integers. Adding 1.5 * 2^23 rounds to the nearest even integer.
DHT_SIMD void round_values(const float* values, int64_t count, float scale, int32_t* rounded) {
  for (int64_t i = 0; i < count; ++i) rounded[i] = static_cast<int32_t>((values[i] * scale + 12582912.0f) - 12582912.0f);
}

DHT_SIMD void take_logarithms(double* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = log(values[i]);
}

template <int C>
class Merging {
 public:
  Merging(const float* pixels, int channels, const Regions& regions, int64_t image, const int32_t* size)
      : channels_(C > 0 ? C : channels), count_(num_regions(regions, image)), size_(size, size + count_), root_(count_), border_(count_),
        length_(count_), best_(count_), moments_(count_ * moments()), edges_(region_edges(regions, image)), next_(0) {
    for (int64_t u = 0; u < count_; ++u) root_[u] = static_cast<int32_t>(u);
    add_moments(pixels, regions.labels + image * regions.num_pixels, regions.num_pixels);
    for (const Edge& edge : edges_.edges()) {
      border_[edge.first] += edge.length;
      border_[edge.second] += edge.length;
    }
    for (int64_t u = 0; u < count_; ++u) length_[u] = code_length<C>([&](int k) { return row(u)[k]; }, size_[u], unit_, channels_);
  }

  // Merges until `target` regions are left.
  const std::vector<int32_t>& run(int64_t target) {
    for (int64_t excess = count_ - target; excess > 0 && !edges_.edges().empty();) {
      weigh();
      const std::vector<uint64_t> chosen = choose(excess);
      for (uint64_t key : chosen) merge(static_cast<int32_t>(key));
      excess -= static_cast<int64_t>(chosen.size());
      relabel();
    }
    return root_;
  }

 private:
  static constexpr int64_t kBlock = 64;

  int moments() const { return num_moments(C > 0 ? C : channels_); }
  int64_t* row(int64_t u) { return moments_.data() + u * moments(); }
  int32_t other(int32_t u) const { return u ^ static_cast<int32_t>(best_[u]); }

  void add_moments(const float* pixels, const int32_t* label, int64_t num_pixels) {
    const int n = C > 0 ? C : channels_;
    const int64_t exponent = value_exponent(largest_magnitude(pixels, n * num_pixels), num_pixels);
    unit_ = power_of_two(exponent);
    std::vector<int32_t> values(n * num_pixels);
    round_values(pixels, n * num_pixels, static_cast<float>(power_of_two(-exponent)), values.data());
    for (int64_t u = 0; u < num_pixels; ++u) {
      int64_t* sums = row(label[u]);
      for (int i = 0; i < n; ++i) {
        const int64_t value = values[i * num_pixels + u];
        sums[i] += value;
        for (int j = 0; j <= i; ++j) sums[n + entry(i, j)] += value * values[j * num_pixels + u];
      }
    }
  }

  // Costs of edges that changed, in blocks, whose logarithms are vector code.
  void weigh_changed() {
    Edge* changed[kBlock];
    int64_t count = 0;
    for (Edge& edge : edges_.edges()) {
      if (edge.cost != kUnknownCost) continue;
      changed[count++] = &edge;
      if (count == kBlock) {
        weigh_block(changed, count);
        count = 0;
      }
    }
    weigh_block(changed, count);
  }

  void weigh_block(Edge* const* edges, int64_t count) {
    const int n = C > 0 ? C : channels_;
    double logarithm[C > 0 ? C : kMaxChannels][kBlock];
    for (int64_t i = 0; i < count; ++i) {
      const int32_t u = edges[i]->first, v = edges[i]->second;
      const int64_t *a = row(u), *b = row(v);
      find_pivots<C>([&](int k) { return a[k] + b[k]; }, int64_t(size_[u]) + size_[v], unit_, channels_,
                     [&](int k, double pivot) { logarithm[k][i] = pivot; });
    }
    for (int k = 0; k < n; ++k) take_logarithms(logarithm[k], count);
    for (int64_t i = 0; i < count; ++i) {
      Edge& edge = *edges[i];
      const int32_t u = edge.first, v = edge.second;
      double sum = 0.0;
      for (int k = 0; k < n; ++k) sum += logarithm[k][i];
      const double united = static_cast<double>(int64_t(size_[u]) + size_[v]) * sum;
      edge.cost = merge_cost(united, length_[u], length_[v], edge.length, border_[u], border_[v]);
    }
  }

  // Costs of edges that changed, and the best edge of every region.
  void weigh() {
    weigh_changed();
    std::fill(best_.begin(), best_.end(), ~uint64_t(0));
    for (const Edge& edge : edges_.edges()) {
      const int32_t u = edge.first, v = edge.second;
      const uint64_t key = merge_key(edge.cost, u, v);
      best_[u] = std::min(best_[u], key);
      best_[v] = std::min(best_[v], key);
    }
  }

  // The cheapest mutual pairs of this round: cost, then the smaller label.
  std::vector<uint64_t> choose(int64_t excess) const {
    std::vector<uint64_t> pairs;
    for (int32_t u = 0; u < count_; ++u)
      if (root_[u] == u && best_[u] != ~uint64_t(0) && u < other(u) && best_[other(u)] == best_[u])
        pairs.push_back((best_[u] >> 32 << 32) | static_cast<uint32_t>(u));
    const int64_t take = merges_of_round(static_cast<int64_t>(pairs.size()), excess);
    std::nth_element(pairs.begin(), pairs.begin() + take - 1, pairs.end());
    pairs.resize(take);
    return pairs;
  }

  void merge(int32_t u) {
    const int32_t v = other(u);
    for (int k = 0; k < moments(); ++k) row(u)[k] += row(v)[k];
    size_[u] += size_[v];
    border_[u] += border_[v];
    length_[u] = code_length<C>([&](int k) { return row(u)[k]; }, size_[u], unit_, channels_);
    root_[v] = u;
    best_[u] = best_[v] = 0;  // marks regions that changed; pairs share no region
  }

  // Moves the edges of merged regions to their unions.
  void relabel() {
    next_.clear();
    for (const Edge& edge : edges_.edges()) {
      const int32_t u = root_[edge.first], v = root_[edge.second];
      const bool changed = best_[edge.first] == 0 || best_[edge.second] == 0;
      if (u == v)
        border_[u] -= 2 * edge.length;
      else
        next_.add(u, v, edge.length, changed ? kUnknownCost : edge.cost);
    }
    std::swap(edges_, next_);
  }

  const int channels_;
  const int64_t count_;
  std::vector<int32_t> size_, root_, border_;
  std::vector<double> length_;
  std::vector<uint64_t> best_;
  std::vector<int64_t> moments_;
  EdgeList edges_, next_;
  double unit_ = 1.0;
};

template <int C>
int32_t merge_image(const Tensor& image, const Regions& regions, int64_t index, const Tensor& size, int64_t target, int32_t* number) {
  const int64_t channels = image.size(1), count = num_regions(regions, index);
  if (count <= target) {
    std::iota(number, number + count, 0);
    return static_cast<int32_t>(count);
  }
  Merging<C> merging(data<float>(image) + index * channels * regions.num_pixels, static_cast<int>(channels), regions, index,
                     data<int32_t>(size) + regions.offsets[index]);
  return number_merged(merging.run(target), number);
}

}  // namespace

std::tuple<Tensor, Tensor> hard_merge_cpu(const Tensor& image, const Tensor& labels, const Tensor& offsets, const Tensor& size,
                                          int64_t target) {
  const Regions regions = regions_of(labels, offsets, size.size(0));
  check_rows(regions);
  const Tensor parent = empty_on(size, {regions.total}, ScalarType::Int);
  const Tensor merged = empty_on(size, {regions.batch + int64_t(1)}, ScalarType::Int);
  for_each_image(regions, [&](int64_t index) {
    const auto merge = image.size(1) == 3 ? merge_image<3> : image.size(1) == 5 ? merge_image<5> : merge_image<0>;  // 5: with places
    mutable_data<int32_t>(merged)[index + 1] =
        merge(image, regions, index, size, target, mutable_data<int32_t>(parent) + regions.offsets[index]);
  });
  pack_numbers(regions, mutable_data<int32_t>(merged), mutable_data<int32_t>(parent));
  return {parent, merged};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("hard_merge", TORCH_BOX(&dht::hard_merge_cpu)); }
