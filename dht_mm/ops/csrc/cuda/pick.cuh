// Each region picks its best edge: pixels look at their four neighbours, regions take the maximum over a list of border edges.
#pragma once

#include "forest.cuh"

namespace dht {

// Features of one pixel in the registers of a thread.
template <int D>
struct PixelFeatures {
  double value[D];
  __device__ __forceinline__ double operator()(int c) const { return value[c]; }
};

template <int D>
__device__ __forceinline__ PixelFeatures<D> load_pixel(const float* features, int64_t pixel, bool exists, uint32_t& largest) {
  static_assert(D % 4 == 0);
  PixelFeatures<D> f;
#pragma unroll
  for (int c = 0; c < D; c += 4) {
    const float4 four = exists ? *reinterpret_cast<const float4*>(features + pixel * D + c) : float4{0.0f, 0.0f, 0.0f, 0.0f};
    const float each[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      largest = max(largest, __float_as_uint(each[k]) & 0x7FFFFFFFu);
      f.value[c + k] = static_cast<double>(each[k]);  // few enough for the slow conversion
    }
  }
  return f;
}

template <int D>
__device__ __forceinline__ PixelFeatures<D> next_lane(const PixelFeatures<D>& f) {
  PixelFeatures<D> other;
#pragma unroll
  for (int c = 0; c < D; ++c) other.value[c] = __shfl_down_sync(kAllLanes, f.value[c], 1);
  return other;
}

// An edge as both of its ends see it: a rank of -1 loses against any edge that exists.
struct Offer {
  int32_t rank;
  double weight;
};

template <class A, class B>
__device__ __forceinline__ Offer weigh_pixels(const A& a, const B& b, int channels, const Rules& rules, bool exists) {
  const double weight = blend(similarity(rules.kernel, a, b, channels), compactness_of(2, Box{0, 0, 0, 1}), rules.compactness);
  return {exists ? static_cast<int32_t>(quantize(weight)) : -1, weight};
}

// Best of the edges to the pixels above, left, right and below, in the order of labels: of equal weights the last one stays.
__device__ __forceinline__ void pick_pixel(const Forest& forest, const Family& family, int64_t u, int32_t width, const Offer (&offers)[4]) {
  const int32_t steps[4] = {-width, -1, 1, width};
  Offer best = offers[0];
  int32_t step = steps[0];
#pragma unroll
  for (int k = 1; k < 4; ++k) {
    if (offers[k].rank < best.rank) continue;
    best = offers[k];
    step = steps[k];
  }
  const int32_t picked = static_cast<int32_t>(u) + step;
  forest.pick[u] = picked;
  family.weight[u] = alpha_of(1, best.weight);
}

// Raises an image's largest |feature| to that of a warp whose lanes lie in it.
__device__ __forceinline__ void note_largest(const Images& images, Counters* counters, int64_t image, uint32_t largest) {
  largest = __reduce_max_sync(kAllLanes, largest);
  if (threadIdx.x % 32 != 0) return;
  if (largest >= 0x7F800000) counters->not_finite = 1;
  atomicMax(images.largest + image, largest);
}

// Columns of pixels that a warp goes down; its first and last lane only lend their features to their neighbours.
constexpr int32_t kStripColumns = 30;

// A warp goes down a strip of `rows` rows. A lane keeps the features of a pixel and the one below it in registers, gets those to the
// right from the next lane, and weighs each edge once.
template <int D>
__global__ void __launch_bounds__(kThreads, 3) pick_pixels(Forest forest, Shape shape, Rules rules, Family family, Images images, Counters* counters, int32_t rows) {
  const int32_t across = (shape.width - 1) / kStripColumns + 1, down = (shape.height - 1) / rows + 1;
  const int32_t lane = threadIdx.x % 32, w = shape.width;
  for (int64_t strip = grid_thread() / 32; strip < int64_t(shape.batch) * across * down; strip += grid_size() / 32) {
    const int64_t image = strip / across / down, start = image * shape.num_pixels;
    const int32_t x = static_cast<int32_t>(strip % across) * kStripColumns + lane - 1, top = static_cast<int32_t>(strip / across % down) * rows;
    const bool inside = x >= 0 && x < w, mine = inside && lane > 0 && lane <= kStripColumns;
    uint32_t largest = 0;
    PixelFeatures<D> here = load_pixel<D>(forest.features, start + int64_t(top - 1) * w + x, inside && top > 0, largest);
    Offer above{-1, 0.0};
    for (int32_t y = top - 1; y < min(top + rows, shape.height); ++y) {
      const int64_t u = start + int64_t(y) * w + x;
      const bool has_below = inside && y + 1 < shape.height;
      const PixelFeatures<D> next = load_pixel<D>(forest.features, u + w, has_below, largest);
      const Offer below = weigh_pixels(here, next, D, rules, has_below && y >= 0);
      if (y >= top) {
        const Offer right = weigh_pixels(here, next_lane(here), D, rules, inside && x + 1 < w);
        const Offer left{__shfl_up_sync(kAllLanes, right.rank, 1), __shfl_up_sync(kAllLanes, right.weight, 1)};
        if (mine) pick_pixel(forest, family, u, w, {above, left, right, below});
      }
      above = below;
      here = next;
    }
    note_largest(images, counters, image, largest);
  }
}

// The same for any number of channels: a thread looks at a pixel's four neighbours.
__global__ void pick_pixels_any(Forest forest, Shape shape, Rules rules, Family family, Images images, Counters* counters) {
  const int32_t w = shape.width, d = shape.channels;
  for (int64_t u = grid_thread(); u < shape.pixels; u += grid_size()) {
    const int64_t image = shape.image_of(u);
    const auto [x, y] = shape.place(u);
    const auto offer = [&, u](int32_t step, bool exists) {
      const Features here{forest.features + u * d, 1}, there{forest.features + (exists ? u + step : u) * d, 1};
      return weigh_pixels(here, there, d, rules, exists);
    };
    uint32_t largest = 0;
    for (int c = 0; c < d; ++c) largest = max(largest, __float_as_uint(forest.features[u * d + c]) & 0x7FFFFFFFu);
    if (largest >= 0x7F800000) counters->not_finite = 1;
    if (largest > images.largest[image]) atomicMax(images.largest + image, largest);
    pick_pixel(forest, family, u, w, {offer(-w, y > 0), offer(-1, x > 0), offer(1, x + 1 < w), offer(w, y + 1 < shape.height)});
  }
}

__device__ __forceinline__ double self_weight(const Forest& forest, int64_t node, const float* slope, const float* bias, int channels,
                                              const Rules& rules) {
  const float* s = forest.variance + node * channels;
  double activation = widen(slope[0]) * widen(s[0]);
  for (int c = 1; c < channels; ++c) activation += widen(slope[c]) * widen(s[c]);
  return blend(sigmoid(activation + widen(*bias)), compactness_of(forest.size[node], forest.box[node]), rules.compactness);
}

// Features of one region in the registers of a thread; they take half the room of a pixel's, which are used more often.
template <int D>
struct RegionFeatures {
  float4 four[D / 4];
  __device__ __forceinline__ explicit RegionFeatures(const float* row) {
#pragma unroll
    for (int k = 0; k < D / 4; ++k) four[k] = reinterpret_cast<const float4*>(row)[k];
  }
  __device__ __forceinline__ double operator()(int c) const {
    const float4& f = four[c / 4];
    return widen(c % 4 == 0 ? f.x : c % 4 == 1 ? f.y : c % 4 == 2 ? f.z : f.w);
  }
};

// Weight between nodes of level 1 and up, given by their rows (node - pixels).
template <int D>
__device__ __forceinline__ double node_weight(const Forest& forest, int64_t u, int64_t v, int channels, const Rules& rules) {
  const double shape = compactness_of(int64_t(forest.size[u]) + forest.size[v], unite(forest.box[u], forest.box[v]));
  const float *a = forest.mean + u * channels, *b = forest.mean + v * channels;
  if constexpr (D > 0)
    return blend(similarity(rules.kernel, RegionFeatures<D>(a), RegionFeatures<D>(b), D), shape, rules.compactness);
  else
    return blend(similarity(rules.kernel, Features{a, 1}, Features{b, 1}, channels), shape, rules.compactness);
}

// Starts a child's search for its component.
__device__ __forceinline__ void start_search(const Family& family, int64_t u, int32_t picked) {
  family.root[u] = picked;
  family.rank[u] = kUnranked;
  family.component[u] = {INT32_MAX, 0};
}

// The edges that won, from the keys that were offered to the regions of a level. In an image that has stopped every region keeps to itself.
template <int D>
__global__ void decode_picks(Forest forest, Shape shape, Rules rules, const Images images, const Counters* counters, int level,
                             const float* slope, const float* bias, const unsigned long long* best, Family family) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    const int64_t first = range.start - shape.pixels, row = first + u;
    const bool active = images.active[level * shape.batch + shape.image_of(forest.first_pixel[row])];
    const int32_t picked = static_cast<int32_t>(active ? best[u] & 0xFFFFFFFF : u);
    const double weight = picked == u ? self_weight(forest, row, slope, bias, shape.channels, rules)
                                      : node_weight<D>(forest, row, first + picked, shape.channels, rules);
    forest.pick[range.start + u] = range.start + picked;
    family.weight[u] = alpha_of(forest.size[row], weight);
    start_search(family, u, picked);
  }
}

}  // namespace dht
