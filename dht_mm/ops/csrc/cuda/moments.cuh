// Statistics of parents from their children, in fixed point: additions in any order give the same bits.
#pragma once

#include "forest.cuh"
#include "pick.cuh"

namespace dht {

constexpr int64_t kInfinityBits = 0x7FF0000000000000;

// What a parent under construction is added up from.
struct Source {
  Forest forest;
  Shape shape;
  Rules rules;
  const float *slope, *bias;
};

// The children of one level: pixels or the nodes from `first_row` on.
template <bool Pixels>
struct Generation {
  const Source& source;
  int64_t first_row;
  __device__ __forceinline__ int64_t at(int32_t u, int c) const { return (Pixels ? u : first_row + u) * source.shape.channels + c; }
  __device__ __forceinline__ float mean(int32_t u, int c) const { return Pixels ? source.forest.features[at(u, c)] : source.forest.mean[at(u, c)]; }
  __device__ __forceinline__ float variance(int32_t u, int c) const { return Pixels ? 0.0f : source.forest.variance[at(u, c)]; }
  __device__ __forceinline__ double size(int32_t u) const { return Pixels ? 1.0 : static_cast<double>(source.forest.size[first_row + u]); }
};

// Fixed-point sums of one channel of a parent.
struct MomentSums {
  int64_t total, first, second;
  __device__ __forceinline__ MomentSums& operator+=(const MomentSums& other) {
    total += other.total;
    first += other.first;
    second += other.second;
    return *this;
  }
};

// Adds a child's moments. A factor that is a power of two can be applied to alpha as well as to the product. Terms below 2^51, nearly
// all, are rounded without a conversion.
__device__ __forceinline__ void add_moments(MomentSums& sums, double alpha, double f, double s, const Units& units) {
  const double total = alpha * units.alpha, first = alpha * units.first * f, second = alpha * units.second * (s + f * f);
  if (total < 0x1p51)
    sums += {round_small(total), round_small(first), round_small(second)};
  else
    sums += {round_to_int64(total), round_to_int64(first), round_to_int64(second)};
}

// Writes a parent's moments of one channel.
__device__ __forceinline__ void write_moments(const Source& source, int64_t row, int c, const MomentSums& sums, const Units& units) {
  const int64_t at = row * source.shape.channels + c;
  if (c == 0) source.forest.alpha[row] = static_cast<double>(sums.total) / units.alpha;
  source.forest.mean[at] = mean_of(sums.first, sums.total, units);
  source.forest.variance[at] = variance_of(sums.first, sums.second, sums.total, units);
}

// An only child hands on its own moments, whatever its weight.
template <bool Pixels>
__device__ __forceinline__ void hand_on_moments(const Generation<Pixels>& children, int32_t u, int64_t row, int c, const MomentSums& sums,
                                                const Units& units) {
  const int64_t at = row * children.source.shape.channels + c;
  if (c == 0) children.source.forest.alpha[row] = static_cast<double>(sums.total) / units.alpha;
  children.source.forest.mean[at] = children.mean(u, c);
  children.source.forest.variance[at] = children.variance(u, c);
}

// The parents that a warp closes together: up to eight for each group of eight lanes.
constexpr int32_t kGroupParents = 8, kWarpParents = 4 * kGroupParents;

struct Nursery {
  int64_t total[kWarpParents], first[kWarpParents][8], second[kWarpParents][8];  // sums of each parent and channel
  int32_t child_start[kWarpParents + 1];
  int32_t exponent[kWarpParents];  // of the parents' images, see feature_exponent

  __device__ __forceinline__ MomentSums sums(int32_t parent, int32_t lane) const {
    return {total[parent], first[parent][lane], second[parent][lane]};
  }
  __device__ __forceinline__ void keep(int32_t parent, int32_t lane, const MomentSums& sums) {
    if (lane == 0) total[parent] = sums.total;
    first[parent][lane] = sums.first;
    second[parent][lane] = sums.second;
  }
};

// Adds up channel `c` of the parents [first, last) of a group. The lanes of a group fetch eight children at a time, side by side whatever
// parents they belong to, and pass them round, a channel each.
template <bool Pixels>
__device__ __forceinline__ void add_children(const Generation<Pixels>& children, const Family& family, Nursery& nursery, int32_t first,
                                             int32_t last, int c, int units_bits) {
  const int32_t lane = threadIdx.x % 8, end = nursery.child_start[last];
  const bool has_channel = c < children.source.shape.channels;
  int32_t parent = first, parent_end = nursery.child_start[first + (first < last)];
  Units units = units_of(nursery.exponent[first], units_bits);
  MomentSums sums{0, 0, 0};
  for (int32_t begin = nursery.child_start[first]; __any_sync(kAllLanes, begin < end); begin += 8) {
    const bool has_child = begin + lane < end;
    const int32_t fetched = has_child ? family.child[begin + lane] : 0;
    const double fetched_alpha = has_child ? family.weight[fetched] : 0.0;
    // All loads before the first use: waiting for memory is what takes the time here.
    float mean[8], variance[8];
#pragma unroll
    for (int32_t k = 0; k < 8; ++k) {
      const int32_t u = __shfl_sync(kAllLanes, fetched, k, 8);
      const bool needed = begin + k < end && has_channel;
      mean[k] = needed ? children.mean(u, c) : 0.0f;
      variance[k] = needed ? children.variance(u, c) : 0.0f;
    }
#pragma unroll
    for (int32_t k = 0; k < 8; ++k) {
      const double alpha = __shfl_sync(kAllLanes, fetched_alpha, k, 8);
      if (begin + k >= end) continue;
      while (begin + k >= parent_end) {
        nursery.keep(parent, lane, sums);
        sums = {0, 0, 0};
        parent += 1;
        parent_end = nursery.child_start[parent + 1];
        units = units_of(nursery.exponent[parent], units_bits);
      }
      add_moments(sums, alpha, static_cast<double>(mean[k]), static_cast<double>(variance[k]), units);
    }
  }
  if (first < last) nursery.keep(parent, lane, sums);
}

// Moments of up to `4 * group_parents` parents of a level, from `first_parent` on, by one warp.
template <int D, bool Pixels>
__device__ __forceinline__ void close_by_warp(const Generation<Pixels>& children, const Family& family, const Images& images, Nursery& nursery,
                                              const Range& level, int32_t first_parent, int32_t group_parents) {
  const Source& source = children.source;
  const int32_t lane = threadIdx.x % 32, group = lane / 8, num_pixels = source.shape.num_pixels;
  const int32_t count = min(4 * group_parents, level.count - first_parent), d = D > 0 ? D : source.shape.channels;
  const int64_t first_row = int64_t(level.start) - source.shape.pixels + first_parent;
  const int bits = size_bits(num_pixels);
  if (lane < count) {
    const int32_t image = source.shape.image_of(source.forest.first_pixel[first_row + lane]);
    nursery.child_start[lane] = family.child_start[first_parent + lane];
    nursery.exponent[lane] = static_cast<int32_t>(feature_exponent(__uint_as_float(images.largest[image])));
    if (lane == count - 1) nursery.child_start[count] = family.child_start[first_parent + count];
  }
  __syncwarp();
  const int32_t first = min(group * group_parents, count - 1), last = min((group + 1) * group_parents, count);
  for (int32_t c = lane % 8; c - lane % 8 < d; c += 8) {
    add_children(children, family, nursery, first, group * group_parents < count ? last : first, c, bits);
    __syncwarp();
    for (int32_t p = group; p < count; p += 4) {
      const int32_t begin = nursery.child_start[p], members = nursery.child_start[p + 1] - begin;
      if (members == 0 || c >= d) continue;
      const Units units = units_of(nursery.exponent[p], bits);
      if (members == 1)
        hand_on_moments(children, family.child[begin], first_row + p, c, nursery.sums(p, lane % 8), units);
      else
        write_moments(source, first_row + p, c, nursery.sums(p, lane % 8), units);
    }
    __syncwarp();
  }
}

__device__ __forceinline__ int64_t shuffle_down(int64_t value, int step) {
  return __shfl_down_sync(kAllLanes, static_cast<long long>(value), step);
}

// The children of one parent: where they are listed (null: they lie side by side).
struct Members {
  const int32_t* list;
  int32_t begin, end;
  __device__ __forceinline__ int32_t at(int32_t i) const { return list ? list[i] : i; }
};

// Moments of one parent by a whole block: 32 children side by side, eight threads a child. Without weights children count by size.
template <bool Pixels>
__device__ __forceinline__ void close_by_block(const Generation<Pixels>& children, const Members& members, const double* weight,
                                               const Units& units, int64_t row) {
  __shared__ MomentSums partial[kThreads / 32][8];
  const int32_t d = children.source.shape.channels, channel = threadIdx.x % 8;
  for (int32_t c = channel; c - channel < d; c += 8) {
    MomentSums sums{0, 0, 0};
    for (int32_t i = members.begin + static_cast<int32_t>(threadIdx.x) / 8; i < members.end && c < d; i += kThreads / 8) {
      const int32_t u = members.at(i);
      add_moments(sums, weight ? weight[u] : children.size(u), widen(children.mean(u, c)), widen(children.variance(u, c)), units);
    }
    for (int step = 16; step >= 8; step /= 2)
      sums += {shuffle_down(sums.total, step), shuffle_down(sums.first, step), shuffle_down(sums.second, step)};
    __syncthreads();
    if (threadIdx.x % 32 < 8) partial[threadIdx.x / 32][channel] = sums;
    __syncthreads();
    if (threadIdx.x >= 8 || c >= d) continue;
    for (int warp = 1; warp < kThreads / 32; ++warp) sums += partial[warp][channel];
    if (members.end - members.begin == 1)
      hand_on_moments(children, members.at(members.begin), row, c, sums, units);
    else
      write_moments(children.source, row, c, sums, units);
  }
  __syncthreads();
}

// Size, box and score bounds of a parent under construction.
struct Extent {
  int32_t size;
  Box box;
  double lowest, below;
};

__device__ __forceinline__ Extent no_extent() {
  return {0, {INT32_MAX, INT32_MAX, -1, -1}, __longlong_as_double(kInfinityBits), -__longlong_as_double(kInfinityBits)};
}

__device__ __forceinline__ Box pixel_box(int64_t pixel, const Shape& shape) {
  const auto [x, y] = shape.place(pixel);
  return {y, x, y, x};
}

template <bool Pixels>
__device__ __forceinline__ Extent extent_of(const Generation<Pixels>& children, int32_t u) {
  const Forest& forest = children.source.forest;
  const Shape& shape = children.source.shape;
  if (Pixels) return {1, pixel_box(u, shape), -sqrt(static_cast<double>(shape.num_pixels)), -__longlong_as_double(kInfinityBits)};
  const int64_t row = children.first_row + u;
  return {forest.size[row], forest.box[row], forest.lowest[row], fmax(forest.below[row], forest.score[row])};
}

__device__ __forceinline__ Extent unite(const Extent& a, const Extent& b) {
  return {a.size + b.size, unite(a.box, b.box), fmin(a.lowest, b.lowest), fmax(a.below, b.below)};
}

__device__ __forceinline__ double shuffle_down(double value, int step) { return __shfl_down_sync(kAllLanes, value, step); }

template <bool Pixels>
__device__ __forceinline__ Extent extent_by_block(const Generation<Pixels>& children, const Members& members) {
  __shared__ Extent partial[kThreads / 32];
  Extent extent = no_extent();
  for (int32_t i = members.begin + static_cast<int32_t>(threadIdx.x); i < members.end; i += kThreads)
    extent = unite(extent, extent_of(children, members.at(i)));
  extent.size = __reduce_add_sync(kAllLanes, extent.size);
  extent.box = {__reduce_min_sync(kAllLanes, extent.box.ymin), __reduce_min_sync(kAllLanes, extent.box.xmin),
                __reduce_max_sync(kAllLanes, extent.box.ymax), __reduce_max_sync(kAllLanes, extent.box.xmax)};
  for (int step = 16; step > 0; step /= 2) {
    extent.lowest = fmin(extent.lowest, shuffle_down(extent.lowest, step));
    extent.below = fmax(extent.below, shuffle_down(extent.below, step));
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = extent;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int warp = 1; warp < kThreads / 32; ++warp) extent = unite(extent, partial[warp]);
  return extent;
}

__device__ __forceinline__ double score_node(const Source& source, int64_t row) {
  const Shape& shape = source.shape;
  return information_score(source.rules.criterion, source.forest.variance + row * shape.channels, shape.channels, source.forest.size[row],
                           shape.num_pixels, source.rules.iota);
}

// What follows from a parent's moments and extent: its score, whether that improves on what its pixels had, and its self edge, the first
// offer of the level's picks.
__device__ __forceinline__ void finish_parent(const Source& source, const Images& images, int level, int32_t p, int64_t row,
                                              const Extent& extent, unsigned long long* best) {
  const Forest& forest = source.forest;
  const Shape& shape = source.shape;
  forest.size[row] = extent.size;
  forest.box[row] = extent.box;
  forest.below[row] = extent.below;
  const int32_t image = shape.image_of(forest.first_pixel[row]);
  const bool active = images.active[(level - 1) * shape.batch + image];
  const double score = active ? score_node(source, row) : -__longlong_as_double(kInfinityBits);
  forest.score[row] = score;
  forest.lowest[row] = fmax(score, extent.lowest);
  if (score >= extent.lowest) images.improved[level * shape.batch + image] = 1;
  const double weight = self_weight(forest, row, source.slope, source.bias, shape.channels, source.rules);
  best[p] = static_cast<unsigned long long>(edge_key(weight, p));
}

// Whether each image goes on after a level; the last block to get here decides for all.
__device__ __forceinline__ void update_active(const Shape& shape, const Images& images, Counters* counters, int level, int32_t min_regions) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(counters->blocks_done + level, 1) == static_cast<int32_t>(gridDim.x) - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  const volatile int32_t* improved = images.improved + level * shape.batch;
  for (int32_t image = threadIdx.x; image < shape.batch; image += kThreads) {
    const int32_t* start = images.start + level * (shape.batch + 1) + image;
    images.active[level * shape.batch + image] = images.active[(level - 1) * shape.batch + image] && improved[image] &&
                                                 start[1] - start[0] > min_regions;
  }
}

// Moments of the parents in `level`: a warp takes up to 32 parents, a block each of those with many children.
template <int D, bool Pixels>
__global__ void __launch_bounds__(kThreads, 4) close_level(Source source, Images images, const Counters* counters, int level, Family family) {
  __shared__ Nursery nurseries[kThreads / 32];
  if (__syncthreads_or(counters->overflow)) return;
  const Range range = level_range(counters, level);
  const Generation<Pixels> children{source, counters->level_start[level - 1] - source.shape.pixels};
  // Where parents are few it is the way through one warp that takes time, and not the work.
  const int32_t group_parents = range.count > 1 << 17 ? kGroupParents : 1;
  for (int64_t warp = grid_thread() / 32; warp * 4 * group_parents < range.count; warp += grid_size() / 32)
    close_by_warp<D>(children, family, images, nurseries[threadIdx.x / 32], range, static_cast<int32_t>(warp) * 4 * group_parents, group_parents);
  for (int32_t i = blockIdx.x; i < counters->num_long[level]; i += gridDim.x) {
    const LongParent parent = family.long_parents[i];
    const int64_t row = range.start - source.shape.pixels + parent.place;
    const Units units = image_units(images, source.shape.image_of(source.forest.first_pixel[row]), source.shape.num_pixels);
    close_by_block(children, Members{family.child, parent.begin, parent.end}, family.weight, units, row);
  }
}

// Extents, scores and self edges of the parents in `level`.
template <bool Pixels>
__global__ void __launch_bounds__(kThreads, 6)
    finish_level(Source source, Images images, Counters* counters, int level, Family family, unsigned long long* best) {
  if (__syncthreads_or(counters->overflow)) return;
  const Range range = level_range(counters, level);
  const int64_t first_row = range.start - source.shape.pixels;
  const Generation<Pixels> children{source, counters->level_start[level - 1] - source.shape.pixels};
  for (int64_t p = grid_thread(); p < range.count; p += grid_size()) {
    const int32_t begin = family.child_start[p], end = family.child_start[p + 1];
    Extent extent = no_extent();
#pragma unroll 4
    for (int32_t i = begin; i < end; ++i) extent = unite(extent, extent_of(children, family.child[i]));
    if (begin < end) finish_parent(source, images, level, static_cast<int32_t>(p), first_row + p, extent, best);
  }
  for (int32_t i = blockIdx.x; i < counters->num_long[level]; i += gridDim.x) {
    const LongParent parent = family.long_parents[i];
    const Extent extent = extent_by_block(children, Members{family.child, parent.begin, parent.end});
    if (threadIdx.x == 0) finish_parent(source, images, level, parent.place, first_row + parent.place, extent, best);
    __syncthreads();
  }
  update_active(source.shape, images, counters, level, source.rules.min_regions);
}

// The last level's nodes get the whole images as parents.
__global__ void adopt_for_images(Forest forest, Shape shape, Counters* counters, int level) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  const int32_t next = range.start + range.count;
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    const int32_t node = range.start + static_cast<int32_t>(u);
    forest.parent[node] = next + shape.image_of(level == 0 ? u : forest.first_pixel[node - shape.pixels]);
    forest.pick[node] = node;
  }
  if (grid_thread() == 0) counters->level_start[level + 2] = next + shape.batch;
}

// The whole images: the last candidate, with means weighted by size; a block an image.
template <bool Pixels>
__global__ void close_images(Source source, Images images, const Counters* counters, int level) {
  if (counters->overflow) return;
  const Shape& shape = source.shape;
  const Forest& forest = source.forest;
  const int32_t first = counters->level_start[level + 1];
  for (int32_t image = blockIdx.x; image < shape.batch; image += gridDim.x) {
    const int64_t row = int64_t(first) + image - shape.pixels;
    const int32_t* start = images.start + level * (shape.batch + 1) + image;
    close_by_block(Generation<Pixels>{source, counters->level_start[level] - shape.pixels}, Members{nullptr, start[0], start[1]}, nullptr,
                   image_units(images, image, shape.num_pixels), row);
    if (threadIdx.x != 0) continue;
    forest.size[row] = shape.num_pixels;
    forest.box[row] = Box{0, 0, shape.height - 1, shape.width - 1};
    forest.first_pixel[row] = image * shape.num_pixels;
    forest.pick[first + image] = first + image;
    forest.parent[first + image] = -1;
    forest.below[row] = __longlong_as_double(kInfinityBits);  // too few regions are left below to look for agreement
    forest.score[row] = score_node(source, row);
  }
}

}  // namespace dht
