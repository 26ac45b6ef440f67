// CPU kernel of build_hierarchy: every image is one sequential pass over its own regions, images run in parallel.
// The definition is reference/hierarchy.py; the steps carry the same names.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

#include "../common/criterion.h"
#include "../common/edge_weight.h"
#include "../common/moments.h"
#include "regions.h"

namespace dht {
namespace {

struct Options {
  Kernel kernel;
  double compactness;
  Criterion criterion;
  double iota;
  int64_t min_regions;
};

// Regions of one level of one image. Picks and parents count within their level.
struct Level {
  std::vector<float> mean, variance;  // [n, d]
  std::vector<int64_t> size;
  std::vector<Box> box;
  std::vector<double> score, alpha;  // alpha: sum of the children's weights
  std::vector<int32_t> pick, parent;
  int64_t count() const { return static_cast<int64_t>(size.size()); }
};

struct Edge {
  int32_t first, second;
};

// Smallest index of the component, with path halving; roots point at themselves and are the smallest of their tree.
int32_t find_root(std::vector<int32_t>& root, int32_t node) {
  while (root[node] != node) {
    root[node] = root[root[node]];
    node = root[node];
  }
  return node;
}

void join(std::vector<int32_t>& root, int32_t a, int32_t b) {
  a = find_root(root, a);
  b = find_root(root, b);
  if (a < b) root[b] = a;
  if (b < a) root[a] = b;
}

// Replaces every entry by the consecutive number of its component; returns the number of components.
int32_t number_roots(std::vector<int32_t>& root) {
  int32_t count = 0;
  for (int32_t node = 0; node < static_cast<int32_t>(root.size()); ++node) {
    const int32_t above = root[node];
    // Entries before `node` are numbers already; a root is found before its members because it is the smallest.
    root[node] = above == node ? count++ : root[above];
  }
  return count;
}

class Image {
 public:
  Image(const float* features, const float* slope, float bias, int channels, int height, int width, const Options& options)
      : features_(features), slope_(slope), bias_(bias), d_(channels), height_(height), width_(width),
        num_pixels_(int64_t(height) * width), options_(options) {
    const float largest = largest_magnitude(features, d_ * num_pixels_);
    finite_ = std::isfinite(largest);
    units_ = units_of(feature_exponent(finite_ ? largest : 0.0f), size_bits(num_pixels_));
    active_ = finite_ && num_pixels_ > options.min_regions;
    if (active_) first_level();
  }

  bool active() const { return active_; }
  bool finite() const { return finite_; }

  // One more level over the regions of the last one. A level of an image that has stopped repeats the one before it.
  void next_level() {
    Level& child = levels.back();
    child.pick.resize(child.count());
    std::vector<double> weight(child.count(), 0.0);
    pick_edges(child, weight);
    child.parent = child.pick;
    components(child.parent);
    const int64_t count = number_roots(child.parent);
    Level level = sums_to_level(child, weight, count, false);
    const std::vector<double> below = std::move(lowest_);
    lowest_.assign(count, std::numeric_limits<double>::infinity());
    for (int64_t u = 0; u < child.count(); ++u) lowest_[child.parent[u]] = std::min(lowest_[child.parent[u]], below[u]);
    finish_level(std::move(level));
    lift_edges(levels[levels.size() - 2].parent);
  }

  // The last candidate: the whole image, with means weighted by size.
  void add_whole_image() {
    if (levels.empty()) {
      pixel_pick.resize(num_pixels_);
      for (int64_t u = 0; u < num_pixels_; ++u) pixel_pick[u] = static_cast<int32_t>(u);
      pixel_parent.assign(num_pixels_, 0);
      append_whole(pixels_to_level(std::vector<double>(num_pixels_, 1.0), 1));
      return;
    }
    Level& last = levels.back();
    last.pick.resize(last.count());
    for (int64_t u = 0; u < last.count(); ++u) last.pick[u] = static_cast<int32_t>(u);
    last.parent.assign(last.count(), 0);
    append_whole(sums_to_level(last, {}, 1, true));
  }

  // Mean of the node that region `r` selected.
  void copy_mean(int64_t r, float* out) const {
    const int32_t level = selected_level[r], node = selected_region[r];
    for (int c = 0; c < d_; ++c) out[c] = level == 0 ? features_[c * num_pixels_ + node] : levels[level - 1].mean[int64_t(node) * d_ + c];
  }

  // Selects the best ancestor of every pixel and numbers the connected components of equal choices.
  void label();

  std::vector<int32_t> pixel_pick, pixel_parent;
  std::vector<Level> levels;  // level 1 and up, the whole image last; level 0 are the pixels

  std::vector<int32_t> labels;           // [N]
  std::vector<int32_t> selected_level;   // [R], 0 for a pixel
  std::vector<int32_t> selected_region;  // [R], within its level
  std::vector<int64_t> region_size;
  std::vector<Box> region_box;

 private:
  // A node that somebody selected.
  struct Choice {
    int32_t level, region;
    double score;
    bool operator==(const Choice& other) const { return level == other.level && region == other.region; }
  };

  void first_level();
  void append_whole(Level whole) {
    whole.score.assign(1, score_of(whole, 0));
    whole.pick.assign(1, 0);
    whole.parent.assign(1, -1);
    levels.push_back(std::move(whole));
  }
  std::vector<Choice> select() const;
  void pick_pixels(std::vector<double>& weight);
  void measure_edge(const Level& level, const Edge& edge, double& distance, double& shape) const;
  void pick_edges(Level& level, std::vector<double>& weight);
  void components(std::vector<int32_t>& pick);
  void lift_edges(const std::vector<int32_t>& parent);
  void collect_edges();
  void finish_level(Level level);
  Level pixels_to_level(const std::vector<double>& weight, int64_t count);
  Level sums_to_level(const Level& child, const std::vector<double>& weight, int64_t count, bool by_size);
  double self_weight(const Level& level, int64_t u) const;
  double score_of(const Level& level, int64_t u) const {
    return information_score(options_.criterion, &level.variance[u * d_], d_, level.size[u], num_pixels_, options_.iota);
  }

  const float* features_;  // planes [d, H, W]
  const float* slope_;
  float bias_;
  int d_, height_, width_;
  int64_t num_pixels_;
  Options options_;
  Units units_;
  bool active_, finite_;
  std::vector<Edge> edges_;
  std::vector<double> lowest_;  // smallest best score of the pixels in each region of the last level
};

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
void row_weights(const float* features, int channels, int64_t plane, int64_t begin, int64_t step, int64_t count, const Options& options,
                 double* weight, int32_t* rank) {
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

void Image::pick_pixels(std::vector<double>& weight) {
  std::vector<double> down(num_pixels_), right(num_pixels_);
  std::vector<int32_t> down_rank(num_pixels_), right_rank(num_pixels_);
  torch::stable::parallel_for(0, height_, 32, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      const int64_t row = y * width_;
      if (y + 1 < height_) row_weights(features_, d_, num_pixels_, row, width_, width_, options_, &down[row], &down_rank[row]);
      row_weights(features_, d_, num_pixels_, row, 1, width_ - 1, options_, &right[row], &right_rank[row]);
    }
  });
  torch::stable::parallel_for(0, height_, 32, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin * width_; u < end * width_; ++u) {
      const int64_t x = u % width_;
      int32_t best = -1;
      // In the order of labels: of equal weights the last one stays.
      const auto offer = [&](int32_t rank, double w, int64_t v) {
        if (rank < best) return;
        best = rank;
        pixel_pick[u] = static_cast<int32_t>(v);
        weight[u] = w;
      };
      if (u >= width_) offer(down_rank[u - width_], down[u - width_], u - width_);
      if (x > 0) offer(right_rank[u - 1], right[u - 1], u - 1);
      if (x + 1 < width_) offer(right_rank[u], right[u], u + 1);
      if (u + width_ < num_pixels_) offer(down_rank[u], down[u], u + width_);
    }
  });
}

void Image::first_level() {
  pixel_pick.resize(num_pixels_);
  std::vector<double> weight(num_pixels_);
  pick_pixels(weight);
  pixel_parent = pixel_pick;
  components(pixel_parent);
  const int64_t count = number_roots(pixel_parent);
  lowest_.assign(count, -std::sqrt(static_cast<double>(num_pixels_)));
  finish_level(pixels_to_level(weight, count));
  collect_edges();
}

void Image::finish_level(Level level) {
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

// Turns picks into the smallest index of each component.
void Image::components(std::vector<int32_t>& pick) {
  std::vector<int32_t> root(pick.size());
  for (size_t u = 0; u < root.size(); ++u) root[u] = static_cast<int32_t>(u);
  for (size_t u = 0; u < root.size(); ++u) join(root, static_cast<int32_t>(u), pick[u]);
  for (size_t u = 0; u < root.size(); ++u) pick[u] = find_root(root, static_cast<int32_t>(u));
}

// Borders between the regions of level 1; a pixel edge that continues the border of its predecessor says nothing new.
void Image::collect_edges() {
  if (!active_) return;
  const std::vector<int32_t>& p = pixel_parent;
  for (int y = 0; y < height_; ++y) {
    for (int x = 0; x < width_; ++x) {
      const int64_t u = int64_t(y) * width_ + x;
      if (x + 1 < width_ && p[u] != p[u + 1] && !(y > 0 && p[u - width_] == p[u] && p[u - width_ + 1] == p[u + 1]))
        edges_.push_back({p[u], p[u + 1]});
      if (y + 1 < height_ && p[u] != p[u + width_] && !(x > 0 && p[u - 1] == p[u] && p[u + width_ - 1] == p[u + width_]))
        edges_.push_back({p[u], p[u + width_]});
    }
  }
}

void Image::lift_edges(const std::vector<int32_t>& parent) {
  if (!active_) edges_.clear();
  size_t kept = 0;
  for (const Edge& edge : edges_) {
    const Edge lifted{parent[edge.first], parent[edge.second]};
    const bool repeats = kept > 0 && edges_[kept - 1].first == lifted.first && edges_[kept - 1].second == lifted.second;
    if (lifted.first != lifted.second && !repeats) edges_[kept++] = lifted;
  }
  edges_.resize(kept);
}

double Image::self_weight(const Level& level, int64_t u) const {
  const float* s = &level.variance[u * d_];
  double activation = static_cast<double>(slope_[0]) * static_cast<double>(s[0]);
  for (int c = 1; c < d_; ++c) activation += static_cast<double>(slope_[c]) * static_cast<double>(s[c]);
  return blend(sigmoid(activation + static_cast<double>(bias_)), compactness_of(level.size[u], level.box[u]), options_.compactness);
}

// Squared distance (Gaussian) or similarity of an edge's ends, and the compactness of their union.
void Image::measure_edge(const Level& level, const Edge& edge, double& distance, double& shape) const {
  const int64_t u = edge.first, v = edge.second;
  const Features a{&level.mean[u * d_], 1}, b{&level.mean[v * d_], 1};
  distance = options_.kernel == Kernel::kGaussian ? squared_distance(a, b, d_) : similarity(options_.kernel, a, b, d_);
  shape = compactness_of(level.size[u] + level.size[v], unite(level.box[u], level.box[v]));
}

void Image::pick_edges(Level& level, std::vector<double>& weight) {
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

// Fixed-point sums of the children of one level.
struct Sums {
  Sums(int64_t count, int d) : alpha(count), first(count * d), second(count * d), children(count), only_child(count) {}
  std::vector<int64_t> alpha, first, second;
  std::vector<int32_t> children;
  std::vector<int64_t> only_child;
};

Level level_of(int64_t count, int d) {
  Level level;
  level.mean.resize(count * d);
  level.variance.resize(count * d);
  level.alpha.resize(count);
  level.size.assign(count, 0);
  constexpr int32_t kFar = std::numeric_limits<int32_t>::max();
  level.box.assign(count, Box{kFar, kFar, -1, -1});
  return level;
}

DHT_SIMD void finish_moments(Level& level, const Sums& sums, int d, const Units& units) {
  for (int64_t p = 0; p < level.count(); ++p) {
    level.alpha[p] = static_cast<double>(sums.alpha[p]) / units.alpha;
    for (int c = 0; c < d; ++c) {
      const int64_t i = p * d + c;
      level.mean[i] = mean_of(sums.first[i], sums.alpha[p], units);
      level.variance[i] = variance_of(sums.first[i], sums.second[i], sums.alpha[p], units);
    }
  }
}

// Fixed-point terms of `n` pixels, [1 + 2 d, n]: alpha, alpha f, alpha f^2. `small`: no term reaches 2^51.
DHT_SIMD void pixel_terms(const double* weight, const float* features, int64_t plane, int d, int64_t n, const Units& units, bool small,
                          int64_t* terms) {
  double alpha[64];
  for (int64_t i = 0; i < n; ++i) alpha[i] = alpha_of(1, weight[i]);
  for (int64_t i = 0; i < n; ++i) terms[i] = round_to_int64(alpha[i] * units.alpha);
  for (int c = 0; c < d; ++c) {
    const float* f = features + c * plane;
    int64_t *first = terms + (1 + c) * n, *second = terms + (1 + d + c) * n;
    for (int64_t i = 0; small && i < n; ++i) first[i] = round_small(alpha[i] * static_cast<double>(f[i]) * units.first);
    for (int64_t i = 0; small && i < n; ++i) {
      const double value = f[i];
      second[i] = round_small(alpha[i] * (value * value) * units.second);
    }
    for (int64_t i = 0; !small && i < n; ++i) first[i] = first_moment(alpha[i], f[i], units);
    for (int64_t i = 0; !small && i < n; ++i) second[i] = second_moment(alpha[i], f[i], 0.0f, units);
  }
}

Level Image::pixels_to_level(const std::vector<double>& weight, int64_t count) {
  Level level = level_of(count, d_);
  Sums sums(count, d_);
  constexpr int64_t kBlock = 64;
  std::vector<int64_t> terms((1 + 2 * d_) * kBlock);
  for (int64_t begin = 0; begin < num_pixels_; begin += kBlock) {
    const int64_t n = std::min(kBlock, num_pixels_ - begin);
    pixel_terms(&weight[begin], features_ + begin, num_pixels_, d_, n, units_, size_bits(num_pixels_) >= 10, terms.data());
    for (int64_t i = 0; i < n; ++i) {
      const int64_t u = begin + i, p = pixel_parent[u];
      const int32_t y = static_cast<int32_t>(u / width_), x = static_cast<int32_t>(u % width_);
      sums.alpha[p] += terms[i];
      for (int c = 0; c < d_; ++c) {
        sums.first[p * d_ + c] += terms[(1 + c) * n + i];
        sums.second[p * d_ + c] += terms[(1 + d_ + c) * n + i];
      }
      level.size[p] += 1;
      level.box[p] = unite(level.box[p], Box{y, x, y, x});
    }
  }
  finish_moments(level, sums, d_, units_);
  if (num_pixels_ == 1) {
    std::copy_n(features_, d_, level.mean.begin());
    std::fill(level.variance.begin(), level.variance.end(), 0.0f);
  }
  return level;
}

Level Image::sums_to_level(const Level& child, const std::vector<double>& weight, int64_t count, bool by_size) {
  Level level = level_of(count, d_);
  Sums sums(count, d_);
  for (int64_t u = 0; u < child.count(); ++u) {
    const int64_t p = child.parent[u];
    const double alpha = by_size ? static_cast<double>(child.size[u]) : alpha_of(child.size[u], weight[u]);
    sums.alpha[p] += round_to_int64(alpha * units_.alpha);
    for (int c = 0; c < d_; ++c) {
      sums.first[p * d_ + c] += first_moment(alpha, child.mean[u * d_ + c], units_);
      sums.second[p * d_ + c] += second_moment(alpha, child.mean[u * d_ + c], child.variance[u * d_ + c], units_);
    }
    sums.children[p] += 1;
    sums.only_child[p] = u;
    level.size[p] += child.size[u];
    level.box[p] = unite(level.box[p], child.box[u]);
  }
  finish_moments(level, sums, d_, units_);
  for (int64_t p = 0; p < count; ++p) {
    if (sums.children[p] != 1) continue;
    std::copy_n(&child.mean[sums.only_child[p] * d_], d_, &level.mean[p * d_]);
    std::copy_n(&child.variance[sums.only_child[p] * d_], d_, &level.variance[p * d_]);
  }
  return level;
}

// Walks down from the whole image: a child wins only with a larger score than its best ancestor. Returns the pixels' choices.
std::vector<Image::Choice> Image::select() const {
  std::vector<Choice> above{{static_cast<int32_t>(levels.size()), 0, levels.back().score[0]}};
  for (int32_t k = static_cast<int32_t>(levels.size()) - 1; k >= 1; --k) {
    const Level& level = levels[k - 1];
    std::vector<Choice> here(level.count());
    for (int32_t u = 0; u < level.count(); ++u) {
      const Choice& inherited = above[level.parent[u]];
      here[u] = inherited.score >= level.score[u] ? inherited : Choice{k, u, level.score[u]};
    }
    above = std::move(here);
  }
  const double own = -std::sqrt(static_cast<double>(num_pixels_));
  std::vector<Choice> pixels(num_pixels_);
  for (int32_t u = 0; u < num_pixels_; ++u) {
    const Choice& inherited = above[pixel_parent[u]];
    pixels[u] = inherited.score >= own ? inherited : Choice{0, u, own};
  }
  return pixels;
}

void Image::label() {
  const std::vector<Choice> choice = select();
  labels.resize(num_pixels_);
  // A region of level 1 selects as one, so its pixels start out joined; a pixel that selects itself stays alone.
  std::vector<int32_t> first_pixel(levels[0].count(), -1);
  for (int32_t u = 0; u < num_pixels_; ++u) {
    int32_t& first = first_pixel[pixel_parent[u]];
    if (first < 0) first = u;
    labels[u] = choice[u].level == 0 || levels.size() == 1 ? u : first;
  }
  for (int y = 0; y < height_; ++y) {
    for (int x = 0; x < width_; ++x) {
      const int32_t u = y * width_ + x;
      if (x + 1 < width_ && labels[u] != labels[u + 1] && choice[u] == choice[u + 1]) join(labels, u, u + 1);
      if (y + 1 < height_ && labels[u] != labels[u + width_] && choice[u] == choice[u + width_]) join(labels, u, u + width_);
    }
  }
  for (int32_t u = 0; u < num_pixels_; ++u) labels[u] = find_root(labels, u);
  const int32_t count = number_roots(labels);
  region_size.assign(count, 0);
  constexpr int32_t kFar = std::numeric_limits<int32_t>::max();
  region_box.assign(count, Box{kFar, kFar, -1, -1});
  selected_level.resize(count);
  selected_region.resize(count);
  for (int32_t u = 0; u < num_pixels_; ++u) {
    const int32_t r = labels[u], y = u / width_, x = u % width_;
    region_size[r] += 1;
    region_box[r] = unite(region_box[r], Box{y, x, y, x});
    selected_level[r] = choice[u].level;
    selected_region[r] = choice[u].region;
  }
}

int64_t num_levels(int64_t num_pixels) {
  int64_t levels = 0;
  while ((int64_t(1) << (2 * levels)) < num_pixels) ++levels;
  return levels;
}

using Images = std::vector<Image>;

template <class F>
void for_each_image(Images& images, const F& step) {
  torch::stable::parallel_for(0, static_cast<int64_t>(images.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) step(images[i]);
  });
}

// Start of every image's nodes in every level of the forest: [levels][images], and the number of all nodes.
struct Numbering {
  std::vector<std::vector<int64_t>> start;
  int64_t total = 0;
};

Numbering number_nodes(const Images& images, int64_t num_pixels) {
  Numbering numbering;
  for (size_t level = 0; level <= images[0].levels.size(); ++level) {
    numbering.start.emplace_back();
    for (const Image& image : images) {
      numbering.start.back().push_back(numbering.total);
      numbering.total += level == 0 ? num_pixels : image.levels[level - 1].count();
    }
  }
  return numbering;
}

void shift_into(const std::vector<int32_t>& values, int64_t shift, int32_t* out) {
  for (size_t i = 0; i < values.size(); ++i) out[i] = static_cast<int32_t>(values[i] < 0 ? -1 : values[i] + shift);
}

using Result = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

Result pack(const Images& images, const Tensor& features, int64_t d, int64_t height, int64_t width) {
  const int64_t batch = static_cast<int64_t>(images.size()), num_pixels = height * width, pixels = batch * num_pixels;
  const Numbering numbering = number_nodes(images, num_pixels);
  STD_TORCH_CHECK(numbering.total <= std::numeric_limits<int32_t>::max(), "the batch has too many pixels for 32-bit region numbers");
  int64_t total_regions = 0;
  for (const Image& image : images) total_regions += static_cast<int64_t>(image.region_size.size());
  const int64_t merged = numbering.total - pixels;

  const Tensor labels = empty_on(features, {batch, height, width}, ScalarType::Int);
  const Tensor num_regions = empty_on(features, {batch}, ScalarType::Int), offsets = empty_on(features, {batch + 1}, ScalarType::Int);
  const Tensor node = empty_on(features, {total_regions}, ScalarType::Int);
  const Tensor bbox = empty_on(features, {total_regions, 4}, ScalarType::Int), size = empty_on(features, {total_regions}, ScalarType::Int);
  const Tensor region_mean = empty_on(features, {total_regions, d}, ScalarType::Float);
  const Tensor parent = empty_on(features, {numbering.total}, ScalarType::Int), pick = empty_on(features, {numbering.total}, ScalarType::Int);
  const Tensor mean = empty_on(features, {merged, d}, ScalarType::Float), variance = empty_on(features, {merged, d}, ScalarType::Float);
  const Tensor node_size = empty_on(features, {merged}, ScalarType::Int), node_box = empty_on(features, {merged, 4}, ScalarType::Int);
  const Tensor score = empty_on(features, {merged}, ScalarType::Double);
  const Tensor alpha = empty_on(features, {merged}, ScalarType::Double);
  const Tensor starts = empty_on(features, {static_cast<int64_t>(numbering.start.size()) + 1}, ScalarType::Long);

  for (size_t k = 0; k < numbering.start.size(); ++k) mutable_data<int64_t>(starts)[k] = numbering.start[k][0];
  mutable_data<int64_t>(starts)[numbering.start.size()] = numbering.total;
  int64_t row = 0;
  mutable_data<int32_t>(offsets)[0] = 0;
  for (int64_t i = 0; i < batch; ++i) {
    const Image& image = images[i];
    std::copy(image.labels.begin(), image.labels.end(), mutable_data<int32_t>(labels) + i * num_pixels);
    const int64_t count = static_cast<int64_t>(image.region_size.size());
    mutable_data<int32_t>(num_regions)[i] = static_cast<int32_t>(count);
    for (int64_t r = 0; r < count; ++r) {
      mutable_data<int32_t>(node)[row + r] = static_cast<int32_t>(numbering.start[image.selected_level[r]][i] + image.selected_region[r]);
      mutable_data<int32_t>(size)[row + r] = static_cast<int32_t>(image.region_size[r]);
      mutable_data<Box>(bbox)[row + r] = image.region_box[r];
      image.copy_mean(r, mutable_data<float>(region_mean) + (row + r) * d);
    }
    row += count;
    mutable_data<int32_t>(offsets)[i + 1] = static_cast<int32_t>(row);
    shift_into(image.pixel_pick, numbering.start[0][i], mutable_data<int32_t>(pick) + i * num_pixels);
    shift_into(image.pixel_parent, numbering.start[1][i], mutable_data<int32_t>(parent) + i * num_pixels);
    for (size_t k = 0; k < image.levels.size(); ++k) {
      const Level& level = image.levels[k];
      const int64_t start = numbering.start[k + 1][i], at = start - pixels;
      shift_into(level.pick, start, mutable_data<int32_t>(pick) + start);
      shift_into(level.parent, k + 2 < numbering.start.size() ? numbering.start[k + 2][i] : 0, mutable_data<int32_t>(parent) + start);
      std::copy(level.mean.begin(), level.mean.end(), mutable_data<float>(mean) + at * d);
      std::copy(level.variance.begin(), level.variance.end(), mutable_data<float>(variance) + at * d);
      std::copy(level.size.begin(), level.size.end(), mutable_data<int32_t>(node_size) + at);
      std::copy(level.box.begin(), level.box.end(), mutable_data<Box>(node_box) + at);
      std::copy(level.score.begin(), level.score.end(), mutable_data<double>(score) + at);
      std::copy(level.alpha.begin(), level.alpha.end(), mutable_data<double>(alpha) + at);
    }
  }
  return {labels, num_regions, offsets, node, bbox, size, region_mean, parent, pick, mean, variance, node_size, node_box, score, alpha, starts};
}

}  // namespace

Result build_hierarchy_cpu(const Tensor& features, const Tensor& slope, const Tensor& bias, int64_t kernel, double compactness,
                           int64_t criterion, double iota, int64_t min_regions) {
  const int64_t batch = features.size(0), d = features.size(1), height = features.size(2), width = features.size(3);
  const Options options{static_cast<Kernel>(kernel), compactness, static_cast<Criterion>(criterion), iota, min_regions};
  std::vector<std::optional<Image>> built(batch);
  torch::stable::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      built[i].emplace(data<float>(features) + i * d * height * width, data<float>(slope), *data<float>(bias), static_cast<int>(d),
                       static_cast<int>(height), static_cast<int>(width), options);
  });
  Images images;
  for (auto& image : built) images.push_back(std::move(*image));
  STD_TORCH_CHECK(std::all_of(images.begin(), images.end(), [](const Image& image) { return image.finite(); }),
                  "features must be finite: the images or the weights hold NaN or infinite values");
  for (int64_t level = 2; level <= num_levels(height * width); ++level) {
    if (std::none_of(images.begin(), images.end(), [](const Image& image) { return image.active(); })) break;
    for_each_image(images, [](Image& image) { image.next_level(); });
  }
  for_each_image(images, [](Image& image) {
    image.add_whole_image();
    image.label();
  });
  return pack(images, features, d, height, width);
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("build_hierarchy", TORCH_BOX(&dht::build_hierarchy_cpu)); }
