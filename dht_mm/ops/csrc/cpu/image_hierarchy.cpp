#include "image_hierarchy.h"

#include <numeric>

#include "regions.h"
#include "union_find.h"

namespace dht {
namespace {

// Finishes the weights of a row of edges: similarity from squared distances where the kernel is Gaussian, blend, and 16-bit rank.
DHT_SIMD void finish_weights(double* weight, const double* shape, int64_t count, bool gaussian, double compactness, int32_t* rank) {
  for (int64_t i = 0; i < count; ++i) {
    const double similarity = gaussian ? exp(-weight[i]) : weight[i];
    weight[i] = blend(similarity, shape[i], compactness);
    rank[i] = static_cast<int32_t>(quantize(weight[i]));
  }
}

DHT_SIMD void add_squares(const float* a, const float* b, int64_t count, double* sum) {
  for (int64_t i = 0; i < count; ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum[i] += difference * difference;
  }
}

// Weights and ranks of pixel pairs that lie `step` apart, for `count` pixels from `begin` on; features are planes.
void row_weights(const float* features, int channels, int64_t plane, int64_t begin, int64_t step, int64_t count,
                 const HierarchyOptions& options, double* weight, int32_t* rank) {
  const bool gaussian = options.kernel == Kernel::kGaussian;
  std::fill(weight, weight + count, 0.0);
  for (int c = 0; gaussian && c < channels; ++c) {
    const float* f = features + c * plane + begin;
    add_squares(f, f + step, count, weight);
  }
  for (int64_t i = 0; !gaussian && i < count; ++i)
    weight[i] = similarity(options.kernel, Features{features + begin + i, plane}, Features{features + begin + i + step, plane}, channels);
  const std::vector<double> shape(count, compactness_of(2, Box{0, 0, 0, 1}));
  finish_weights(weight, shape.data(), count, gaussian, options.compactness, rank);
}

// Turns picks into consecutive numbers of components, and returns how many there are.
int64_t number_components(std::vector<int32_t>& pick) {
  std::vector<int32_t> root(pick.size());
  std::iota(root.begin(), root.end(), 0);
  for (size_t u = 0; u < root.size(); ++u) join(root, static_cast<int32_t>(u), pick[u]);
  for (size_t u = 0; u < root.size(); ++u) pick[u] = find_root(root, static_cast<int32_t>(u));
  return number_roots(pick);
}

}  // namespace

ImageHierarchy::ImageHierarchy(const Pixels& pixels, const float* slope, float bias, const HierarchyOptions& options)
    : pixels_(pixels), num_pixels_(pixels.count()), slope_(slope), bias_(bias), options_(options) {
  const float largest = largest_magnitude(pixels.features, pixels.d * num_pixels_);
  finite_ = std::isfinite(largest);
  units_ = units_of(feature_exponent(finite_ ? largest : 0.0f), size_bits(num_pixels_));
  active_ = finite_ && num_pixels_ > options.min_regions;
  if (active_) first_level();
}

void ImageHierarchy::first_level() {
  pixel_pick.resize(num_pixels_);
  std::vector<double> weight(num_pixels_);
  pick_pixels(weight);
  pixel_parent = pixel_pick;
  const int64_t count = number_components(pixel_parent);
  lowest_.assign(count, -std::sqrt(static_cast<double>(num_pixels_)));
  finish_level(level_of_pixels(pixels_, pixel_parent, weight, count, units_));
  collect_edges();
}

void ImageHierarchy::next_level() {
  Level& child = levels.back();
  child.pick.resize(child.count());
  std::vector<double> weight(child.count(), 0.0);
  pick_edges(child, weight);
  child.parent = child.pick;
  const int64_t count = number_components(child.parent);
  for (int64_t u = 0; u < child.count(); ++u) weight[u] = alpha_of(child.size[u], weight[u]);
  Level level = level_above(child, weight, count, pixels_.d, units_);
  const std::vector<double> below = std::move(lowest_);
  lowest_.assign(count, std::numeric_limits<double>::infinity());
  for (int64_t u = 0; u < child.count(); ++u) lowest_[child.parent[u]] = std::min(lowest_[child.parent[u]], below[u]);
  finish_level(std::move(level));
  lift_edges(levels[levels.size() - 2].parent);
}

void ImageHierarchy::add_whole_image() {
  if (levels.empty()) {
    pixel_pick.resize(num_pixels_);
    std::iota(pixel_pick.begin(), pixel_pick.end(), 0);
    pixel_parent.assign(num_pixels_, 0);
    append_whole(level_of_pixels(pixels_, pixel_parent, std::vector<double>(num_pixels_, 1.0), 1, units_));
    return;
  }
  Level& last = levels.back();
  last.pick.resize(last.count());
  std::iota(last.pick.begin(), last.pick.end(), 0);
  last.parent.assign(last.count(), 0);
  append_whole(level_above(last, std::vector<double>(last.size.begin(), last.size.end()), 1, pixels_.d, units_));
}

void ImageHierarchy::append_whole(Level whole) {
  whole.score.assign(1, score_of(whole, 0));
  whole.pick.assign(1, 0);
  whole.parent.assign(1, -1);
  levels.push_back(std::move(whole));
}

double ImageHierarchy::score_of(const Level& level, int64_t u) const {
  return information_score(options_.criterion, &level.variance[u * pixels_.d], pixels_.d, level.size[u], num_pixels_, options_.iota);
}

void ImageHierarchy::finish_level(Level level) {
  bool improved = false;
  level.score.resize(level.count());
  for (int64_t u = 0; u < level.count(); ++u) {
    level.score[u] = active_ ? score_of(level, u) : -std::numeric_limits<double>::infinity();
    improved |= level.score[u] >= lowest_[u];
    lowest_[u] = std::max(lowest_[u], level.score[u]);
  }
  active_ = active_ && improved && level.count() > options_.min_regions;
  levels.push_back(std::move(level));
}

void ImageHierarchy::pick_pixels(std::vector<double>& weight) {
  std::vector<double> down(num_pixels_), right(num_pixels_);
  std::vector<int32_t> down_rank(num_pixels_), right_rank(num_pixels_);
  torch::stable::parallel_for(0, pixels_.height, 32, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      const int64_t row = y * pixels_.width;
      if (y + 1 < pixels_.height) row_weights(pixels_.features, pixels_.d, num_pixels_, row, pixels_.width, pixels_.width, options_, &down[row], &down_rank[row]);
      row_weights(pixels_.features, pixels_.d, num_pixels_, row, 1, pixels_.width - 1, options_, &right[row], &right_rank[row]);
    }
  });
  torch::stable::parallel_for(0, pixels_.height, 32, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin * pixels_.width; u < end * pixels_.width; ++u) {
      const int64_t x = u % pixels_.width;
      int32_t best = -1;
      // In the order of labels: of equal weights the last one stays.
      const auto offer = [&](int32_t rank, double w, int64_t v) {
        if (rank < best) return;
        best = rank;
        pixel_pick[u] = static_cast<int32_t>(v);
        weight[u] = w;
      };
      if (u >= pixels_.width) offer(down_rank[u - pixels_.width], down[u - pixels_.width], u - pixels_.width);
      if (x > 0) offer(right_rank[u - 1], right[u - 1], u - 1);
      if (x + 1 < pixels_.width) offer(right_rank[u], right[u], u + 1);
      if (u + pixels_.width < num_pixels_) offer(down_rank[u], down[u], u + pixels_.width);
    }
  });
}

// Borders between the regions of level 1; a pixel edge that continues the border of its predecessor says nothing new.
void ImageHierarchy::collect_edges() {
  if (!active_) return;
  const std::vector<int32_t>& p = pixel_parent;
  for (int y = 0; y < pixels_.height; ++y) {
    for (int x = 0; x < pixels_.width; ++x) {
      const int64_t u = int64_t(y) * pixels_.width + x;
      if (x + 1 < pixels_.width && p[u] != p[u + 1] && !(y > 0 && p[u - pixels_.width] == p[u] && p[u - pixels_.width + 1] == p[u + 1]))
        edges_.push_back({p[u], p[u + 1]});
      if (y + 1 < pixels_.height && p[u] != p[u + pixels_.width] && !(x > 0 && p[u - 1] == p[u] && p[u + pixels_.width - 1] == p[u + pixels_.width]))
        edges_.push_back({p[u], p[u + pixels_.width]});
    }
  }
}

void ImageHierarchy::lift_edges(const std::vector<int32_t>& parent) {
  if (!active_) edges_.clear();
  size_t kept = 0;
  for (const Neighbours& edge : edges_) {
    const Neighbours lifted{parent[edge.first], parent[edge.second]};
    const bool repeats = kept > 0 && edges_[kept - 1].first == lifted.first && edges_[kept - 1].second == lifted.second;
    if (lifted.first != lifted.second && !repeats) edges_[kept++] = lifted;
  }
  edges_.resize(kept);
}

double ImageHierarchy::self_weight(const Level& level, int64_t u) const {
  const float* s = &level.variance[u * pixels_.d];
  double activation = static_cast<double>(slope_[0]) * static_cast<double>(s[0]);
  for (int c = 1; c < pixels_.d; ++c) activation += static_cast<double>(slope_[c]) * static_cast<double>(s[c]);
  return blend(sigmoid(activation + static_cast<double>(bias_)), compactness_of(level.size[u], level.box[u]), options_.compactness);
}

// Squared distance (Gaussian) or similarity of an edge's ends, and the compactness of their union.
void ImageHierarchy::measure_edge(const Level& level, const Neighbours& edge, double& distance, double& shape) const {
  const int64_t u = edge.first, v = edge.second;
  const Features a{&level.mean[u * pixels_.d], 1}, b{&level.mean[v * pixels_.d], 1};
  distance = options_.kernel == Kernel::kGaussian ? squared_distance(a, b, pixels_.d) : similarity(options_.kernel, a, b, pixels_.d);
  shape = compactness_of(level.size[u] + level.size[v], unite(level.box[u], level.box[v]));
}

void ImageHierarchy::pick_edges(Level& level, std::vector<double>& weight) {
  std::vector<int64_t> best(level.count());
  for (int64_t u = 0; u < level.count(); ++u) {
    weight[u] = self_weight(level, u);
    best[u] = edge_key(weight[u], u);
  }
  constexpr size_t kBlock = 256;
  double w[kBlock], shape[kBlock];
  int32_t rank[kBlock];
  for (size_t begin = 0; begin < edges_.size(); begin += kBlock) {
    const size_t count = std::min(kBlock, edges_.size() - begin);
    for (size_t i = 0; i < count; ++i) measure_edge(level, edges_[begin + i], w[i], shape[i]);
    finish_weights(w, shape, count, options_.kernel == Kernel::kGaussian, options_.compactness, rank);
    for (size_t i = 0; i < count; ++i) {
      const int32_t u = edges_[begin + i].first, v = edges_[begin + i].second;
      const int64_t to_second = int64_t(rank[i]) << 32 | v, to_first = int64_t(rank[i]) << 32 | u;
      if (to_second > best[u]) best[u] = to_second, weight[u] = w[i];
      if (to_first > best[v]) best[v] = to_first, weight[v] = w[i];
    }
  }
  for (int64_t u = 0; u < level.count(); ++u) level.pick[u] = static_cast<int32_t>(best[u] & 0xFFFFFFFF);
}

}  // namespace dht
