// Statistics of parents from their children, in fixed point: additions in any order give the same bits.
#pragma once

#include "components.cuh"
#include "pick.cuh"

namespace dht {

__device__ __forceinline__ void add(int64_t* to, int64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

__device__ __forceinline__ void add_box(Box* to, const Box& box) {
  if (box.ymin < to->ymin) atomicMin(&to->ymin, box.ymin);
  if (box.xmin < to->xmin) atomicMin(&to->xmin, box.xmin);
  if (box.ymax > to->ymax) atomicMax(&to->ymax, box.ymax);
  if (box.xmax > to->xmax) atomicMax(&to->xmax, box.xmax);
}

constexpr int64_t kInfinityBits = 0x7FF0000000000000;

// Atomic minimum and maximum of doubles: for non-negative values the bits order as integers, for negative ones in reverse.
__device__ __forceinline__ void lower(double* to, double value) {
  if (value >= 0.0)
    atomicMin(reinterpret_cast<long long*>(to), __double_as_longlong(value));
  else
    atomicMax(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(__double_as_longlong(value)));
}

__device__ __forceinline__ void raise(double* to, double value) {
  if (value >= 0.0)
    atomicMax(reinterpret_cast<long long*>(to), __double_as_longlong(value));
  else
    atomicMin(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(__double_as_longlong(value)));
}

__global__ void open_parents(Forest forest, Shape shape, const Counters* counters, int level, Family family) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level + 1);
  for (int64_t p = grid_thread(); p < range.count; p += grid_size()) {
    const int64_t row = range.start - shape.pixels + p;
    forest.size[row] = 0;
    forest.box[row] = Box{INT32_MAX, INT32_MAX, -1, -1};
    forest.lowest[row] = level == 0 ? -sqrt(static_cast<double>(shape.num_pixels)) : __longlong_as_double(kInfinityBits);
    forest.below[row] = -__longlong_as_double(kInfinityBits);
    family.children[p] = 0;
    family.head[p] = kEnd;
  }
}

// Child `u` (counted within its level) joins the list of parent `p`, or is marked as spilled.
__device__ __forceinline__ void join_family(const Family& family, Counters* counters, int32_t u, int32_t p) {
  const int32_t order = atomicAdd(family.children + p, 1);
  if (order == kListed) family.slot[p] = atomicAdd(&counters->num_slots, 1);
  family.next[u] = order < kListed ? atomicExch(family.head + p, u) : kSpilled;
}

// Every child finds its parent.
__global__ void adopt(Forest forest, Counters* counters, int level, const int32_t* root, const int32_t* smallest, const int32_t* number,
                      Family family) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  for (int64_t i = grid_thread(); i < range.count; i += grid_size()) {
    const int32_t u = static_cast<int32_t>(i), p = number[smallest[root[u]]];
    forest.parent[range.start + u] = range.start + range.count + p;
    join_family(family, counters, u, p);
  }
}

// The last level adopts the whole images.
__global__ void adopt_for_images(Forest forest, Shape shape, Counters* counters, int level, Family family) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  const int32_t next = range.start + range.count;
  for (int64_t i = grid_thread(); i < range.count; i += grid_size()) {
    const int32_t u = static_cast<int32_t>(i), node = range.start + u;
    const int32_t image = (level == 0 ? u : forest.first_pixel[node - shape.pixels]) / shape.num_pixels;
    forest.parent[node] = next + image;
    forest.pick[node] = node;
    join_family(family, counters, u, image);
  }
}

enum class Weighting { kPixels, kRegions, kBySize };

// What a child contributes: its weight alpha and where its moments lie (no variance: a pixel).
struct Child {
  double alpha;
  const float *mean, *variance;
};

// Everything the sums need to look up a child.
struct Source {
  Forest forest;
  Shape shape;
  Rules rules;
  const float *slope, *bias;
  int32_t start;  // first node of the children's level
  bool pixels;    // the children are pixels
};

template <int D, Weighting W>
__device__ __forceinline__ Child child_of(const Source& source, int32_t u) {
  const int d = D > 0 ? D : source.shape.channels;
  const Forest& forest = source.forest;
  const int64_t row = source.start - source.shape.pixels + u;
  if (W == Weighting::kBySize) {
    if (source.pixels) return {1.0, forest.features + int64_t(u) * d, nullptr};
    return {static_cast<double>(forest.size[row]), forest.mean + row * d, forest.variance + row * d};
  }
  if (W == Weighting::kPixels) {
    const double weight = pixel_weight<D>(forest.features, u, forest.pick[u], d, source.rules);
    return {alpha_of(1, weight), forest.features + int64_t(u) * d, nullptr};
  }
  const int64_t pick = forest.pick[source.start + u] - source.shape.pixels;
  const double weight = pick == row ? self_weight(forest, row, source.slope, source.bias, d, source.rules)
                                    : node_weight<D>(forest, row, pick, d, source.rules);
  return {alpha_of(forest.size[row], weight), forest.mean + row * d, forest.variance + row * d};
}

// Size, box and score bounds of a parent under construction.
struct Extent {
  int32_t size;
  Box box;
  double lowest, below;
};

template <Weighting W>
__device__ __forceinline__ Extent extent_of(const Source& source, int32_t u) {
  if (W == Weighting::kPixels) return {1, pixel_box(u, source.shape), 0.0, 0.0};
  const Forest& forest = source.forest;
  const int64_t row = source.start - source.shape.pixels + u;
  return {forest.size[row], forest.box[row], forest.lowest[row], fmax(forest.below[row], forest.score[row])};
}

template <Weighting W>
__device__ __forceinline__ void spill_extent(const Source& source, int32_t u, int64_t row) {
  const Extent extent = extent_of<W>(source, u);
  atomicAdd(source.forest.size + row, extent.size);
  add_box(source.forest.box + row, extent.box);
  if (W == Weighting::kPixels) return;
  lower(source.forest.lowest + row, extent.lowest);
  raise(source.forest.below + row, extent.below);
}

// Unites the extents of the listed children with what the spilled ones left.
template <Weighting W>
__device__ __forceinline__ void close_extent(const Source& source, const Family& family, int32_t p, int64_t row) {
  const Forest& forest = source.forest;
  Extent total{forest.size[row], forest.box[row], forest.lowest[row], forest.below[row]};
  for (int32_t u = family.head[p], next; u != kEnd; u = next) {
    next = family.next[u];
    const Extent extent = extent_of<W>(source, u);
    total.size += extent.size;
    total.box = unite(total.box, extent.box);
    if (W == Weighting::kPixels) continue;
    total.lowest = fmin(total.lowest, extent.lowest);
    total.below = fmax(total.below, extent.below);
  }
  forest.size[row] = total.size;
  forest.box[row] = total.box;
  forest.lowest[row] = total.lowest;
  forest.below[row] = total.below;
}

// Adds the children that did not fit into their parents' lists.
template <int D, Weighting W>
__global__ void add_spilled(Source source, const Images images, const Counters* counters, int level, Family family) {
  if (counters->overflow || counters->num_slots == 0) return;
  const Range range = level_range(counters, level);
  const int d = D > 0 ? D : source.shape.channels;
  source.start = range.start;
  for (int64_t i = grid_thread(); i < range.count; i += grid_size()) {
    const int32_t u = static_cast<int32_t>(i);
    if (family.next[u] != kSpilled) continue;
    const int32_t p = source.forest.parent[range.start + u] - (range.start + range.count);
    if (W != Weighting::kBySize) spill_extent<W>(source, u, range.start + range.count - source.shape.pixels + p);
    const Child child = child_of<D, W>(source, u);
    const int32_t pixel = source.pixels ? u : source.forest.first_pixel[range.start - source.shape.pixels + u];
    const Units units = image_units(images, pixel / source.shape.num_pixels, source.shape.num_pixels);
    int64_t* sums = family.sums + int64_t(family.slot[p]) * (1 + 2 * d);
    add(sums, round_to_int64(child.alpha * units.alpha));
    for (int c = 0; c < d; ++c) {
      add(sums + 1 + c, first_moment(child.alpha, child.mean[c], units));
      add(sums + 1 + d + c, second_moment(child.alpha, child.mean[c], child.variance == nullptr ? 0.0f : child.variance[c], units));
    }
  }
}

// Adds up channels [begin, begin + N) of a parent's children and writes its moments. An only child hands on its own.
template <int D, Weighting W, int N>
__device__ __forceinline__ void close_channels(const Source& source, const Family& family, const Units& units, int32_t p, int64_t row,
                                               int begin) {
  const int d = D > 0 ? D : source.shape.channels;
  const int32_t children = family.children[p];
  const int64_t* spilled = children > kListed ? family.sums + int64_t(family.slot[p]) * (1 + 2 * d) : nullptr;
  int64_t total = spilled ? spilled[0] : 0, first[N], second[N];
#pragma unroll
  for (int c = 0; c < N; ++c) {
    first[c] = spilled ? spilled[1 + begin + c] : 0;
    second[c] = spilled ? spilled[1 + d + begin + c] : 0;
  }
  const float *only_mean = nullptr, *only_variance = nullptr;
  for (int32_t u = family.head[p], next; u != kEnd; u = next) {
    next = family.next[u];
    const Child child = child_of<D, W>(source, u);
    only_mean = child.mean;
    only_variance = child.variance;
    total += round_to_int64(child.alpha * units.alpha);
#pragma unroll
    for (int c = 0; c < N; ++c) {
      const float mean = child.mean[begin + c], variance = child.variance == nullptr ? 0.0f : child.variance[begin + c];
      first[c] += first_moment(child.alpha, mean, units);
      second[c] += second_moment(child.alpha, mean, variance, units);
    }
  }
  const bool alone = children == 1;
  source.forest.alpha[row] = static_cast<double>(total) / units.alpha;
#pragma unroll
  for (int c = 0; c < N; ++c) {
    const float variance = alone && only_variance != nullptr ? only_variance[begin + c] : 0.0f;
    source.forest.mean[row * d + begin + c] = alone ? only_mean[begin + c] : mean_of(first[c], total, units);
    source.forest.variance[row * d + begin + c] = alone ? variance : variance_of(first[c], second[c], total, units);
  }
}

template <int D, Weighting W>
__device__ __forceinline__ void close_parent(const Source& source, const Family& family, const Units& units, int32_t p, int64_t row) {
  if constexpr (D > 0) {
    close_channels<D, W, D>(source, family, units, p, row, 0);
  } else {
    for (int c = 0; c < source.shape.channels; ++c) close_channels<D, W, 1>(source, family, units, p, row, c);
  }
}

__device__ __forceinline__ double score_node(const Forest& forest, const Shape& shape, const Rules& rules, int64_t row) {
  return information_score(rules.criterion, forest.variance + row * shape.channels, shape.channels, forest.size[row], shape.num_pixels,
                           rules.iota);
}

// Statistics and scores of `level`, and whether they improve on what their pixels had.
template <int D, Weighting W>
__global__ void close_level(Source source, Images images, const Counters* counters, int level, Family family) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  const Shape& shape = source.shape;
  const Forest& forest = source.forest;
  source.start = counters->level_start[level - 1];
  for (int64_t p = grid_thread(); p < range.count; p += grid_size()) {
    const int64_t row = range.start - shape.pixels + p;
    const int32_t image = forest.first_pixel[row] / shape.num_pixels;
    close_parent<D, W>(source, family, image_units(images, image, shape.num_pixels), static_cast<int32_t>(p), row);
    close_extent<W>(source, family, static_cast<int32_t>(p), row);
    const bool active = images.active[(level - 1) * shape.batch + image];
    const double score = active ? score_node(forest, shape, source.rules, row) : -__longlong_as_double(kInfinityBits);
    forest.score[row] = score;
    if (score < forest.lowest[row]) continue;
    forest.lowest[row] = score;
    images.improved[level * shape.batch + image] = 1;
  }
}

__global__ void update_active(Shape shape, Images images, const Counters* counters, int level, int32_t min_regions) {
  if (counters->overflow) return;
  for (int64_t image = grid_thread(); image < shape.batch; image += grid_size()) {
    const int32_t* start = images.start + level * (shape.batch + 1) + image;
    images.active[level * shape.batch + image] = images.active[(level - 1) * shape.batch + image] &&
                                                 images.improved[level * shape.batch + image] && start[1] - start[0] > min_regions;
  }
}

// The whole images, children of `level`: one node an image after all others.
__global__ void open_images(Shape shape, Counters* counters, int level, Family family) {
  if (counters->overflow) return;
  for (int64_t image = grid_thread(); image < shape.batch; image += grid_size()) {
    family.children[image] = 0;
    family.head[image] = kEnd;
  }
  if (grid_thread() == 0) counters->level_start[level + 2] = counters->level_start[level + 1] + shape.batch;
}

template <int D>
__global__ void close_images(Source source, Images images, const Counters* counters, int level, Family family) {
  if (counters->overflow) return;
  const int32_t start = counters->level_start[level + 1];
  const Shape& shape = source.shape;
  const Forest& forest = source.forest;
  source.start = counters->level_start[level];
  for (int64_t image = grid_thread(); image < shape.batch; image += grid_size()) {
    const int64_t row = start - shape.pixels + image;
    const int32_t i = static_cast<int32_t>(image);
    close_parent<D, Weighting::kBySize>(source, family, image_units(images, i, shape.num_pixels), i, row);
    forest.size[row] = shape.num_pixels;
    forest.box[row] = Box{0, 0, shape.height - 1, shape.width - 1};
    forest.first_pixel[row] = i * shape.num_pixels;
    forest.pick[start + image] = start + i;
    forest.parent[start + image] = -1;
    forest.below[row] = __longlong_as_double(kInfinityBits);  // too few regions are left below to look for agreement
    forest.score[row] = score_node(forest, shape, source.rules, row);
  }
}

}  // namespace dht
