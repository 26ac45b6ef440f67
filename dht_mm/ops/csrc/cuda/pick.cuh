// Each region picks its best edge: pixels look at their four neighbours, regions take the maximum over a list of border edges.
#pragma once

#include "launch.cuh"

namespace dht {

__device__ __forceinline__ Box pixel_box(int64_t pixel, const Shape& shape) {
  const int32_t within = static_cast<int32_t>(pixel % shape.num_pixels), y = within / shape.width, x = within % shape.width;
  return {y, x, y, x};
}

// Largest |feature| of each image, by bits: for non-negative floats the order of bits is the order of values.
__global__ void largest_feature(Forest forest, Shape shape, Images images, Counters* counters) {
  const int64_t values = int64_t(shape.num_pixels) * shape.channels;
  const int32_t image = blockIdx.y;
  const float* f = forest.features + image * values;
  uint32_t largest = 0;
  for (int64_t i = grid_thread(); i < values; i += grid_size()) largest = max(largest, __float_as_uint(fabsf(f[i])));
  largest = __reduce_max_sync(0xFFFFFFFF, largest);
  if (threadIdx.x % 32 != 0) return;
  if (largest >= 0x7F800000) counters->not_finite = 1;
  atomicMax(images.largest + image, largest);
}

template <int D>
__device__ __forceinline__ double pixel_weight(const float* features, int64_t u, int64_t v, int channels, const Rules& rules) {
  const double shape = compactness_of(2, Box{0, 0, 0, 1});
  return blend(similarity(rules.kernel, features + u * channels, features + v * channels, D > 0 ? D : channels, 1), shape, rules.compactness);
}

// Block of pixels whose edges are weighed once and read by both ends.
constexpr int kTileWidth = 32, kTileHeight = kThreads / kTileWidth;

// Quantised weights of the edges to the right and down of a tile, with one more column to the left and one more row above.
struct TileEdges {
  int32_t right[kTileHeight][kTileWidth + 1], down[kTileHeight + 1][kTileWidth];
};

template <int D>
__device__ __forceinline__ void weigh_tile(const Forest& forest, const Shape& shape, const Rules& rules, int64_t image_start, int32_t left,
                                           int32_t top, TileEdges& edges) {
  const auto weigh = [&](int32_t y, int32_t x, int32_t step, bool exists) {
    const int64_t u = image_start + int64_t(y) * shape.width + x;
    return exists ? static_cast<int32_t>(quantize(pixel_weight<D>(forest.features, u, u + step, shape.channels, rules))) : -1;
  };
  for (int i = threadIdx.x; i < kTileHeight * (kTileWidth + 1); i += kThreads) {
    const int32_t y = top + i / (kTileWidth + 1), x = left - 1 + i % (kTileWidth + 1);
    edges.right[i / (kTileWidth + 1)][i % (kTileWidth + 1)] = weigh(y, x, 1, y < shape.height && x >= 0 && x + 1 < shape.width);
  }
  for (int i = threadIdx.x; i < (kTileHeight + 1) * kTileWidth; i += kThreads) {
    const int32_t y = top - 1 + i / kTileWidth, x = left + i % kTileWidth;
    edges.down[i / kTileWidth][i % kTileWidth] = weigh(y, x, shape.width, y >= 0 && y + 1 < shape.height && x < shape.width);
  }
}

template <int D>
__global__ void pick_pixels(Forest forest, Shape shape, Rules rules) {
  __shared__ TileEdges edges;
  const int32_t columns = (shape.width + kTileWidth - 1) / kTileWidth, rows = (shape.height + kTileHeight - 1) / kTileHeight;
  const int64_t tiles = int64_t(shape.batch) * columns * rows;
  const int32_t tx = threadIdx.x % kTileWidth, ty = threadIdx.x / kTileWidth, w = shape.width;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int32_t left = static_cast<int32_t>(tile % columns) * kTileWidth, top = static_cast<int32_t>(tile / columns % rows) * kTileHeight;
    const int64_t image_start = tile / columns / rows * shape.num_pixels;
    __syncthreads();
    weigh_tile<D>(forest, shape, rules, image_start, left, top, edges);
    __syncthreads();
    if (left + tx >= w || top + ty >= shape.height) continue;
    const int64_t u = image_start + int64_t(top + ty) * w + left + tx;
    // Absent edges weigh -1 and lose against any other; ties go to the larger label, so later candidates win them.
    int32_t best = edges.down[ty][tx], step = -w;
    const auto offer = [&](int32_t weight, int32_t to) {
      if (weight < best) return;
      best = weight;
      step = to;
    };
    offer(edges.right[ty][tx], -1);
    offer(edges.right[ty][tx + 1], 1);
    offer(edges.down[ty + 1][tx], w);
    forest.pick[u] = static_cast<int32_t>(u + step);
  }
}

__device__ __forceinline__ double self_weight(const Forest& forest, int64_t node, const float* slope, const float* bias, int channels,
                                              const Rules& rules) {
  const float* s = forest.variance + node * channels;
  double activation = static_cast<double>(slope[0]) * static_cast<double>(s[0]);
  for (int c = 1; c < channels; ++c) activation += static_cast<double>(slope[c]) * static_cast<double>(s[c]);
  return blend(sigmoid(activation + static_cast<double>(*bias)), compactness_of(forest.size[node], forest.box[node]), rules.compactness);
}

// Weight between nodes of level 1 and up, given by their rows (node - pixels).
template <int D>
__device__ __forceinline__ double node_weight(const Forest& forest, int64_t u, int64_t v, int channels, const Rules& rules) {
  const double shape = compactness_of(int64_t(forest.size[u]) + forest.size[v], unite(forest.box[u], forest.box[v]));
  return blend(similarity(rules.kernel, forest.mean + u * channels, forest.mean + v * channels, D > 0 ? D : channels, 1), shape, rules.compactness);
}

// Every region starts with its self edge.
__global__ void offer_self(Forest forest, Shape shape, Rules rules, const Counters* counters, int level, const float* slope,
                           const float* bias, unsigned long long* best) {
  if (counters->overflow) return;
  const int32_t start = counters->level_start[level], count = counters->level_start[level + 1] - start;
  for (int64_t u = grid_thread(); u < count; u += grid_size()) {
    const double w = self_weight(forest, start - shape.pixels + u, slope, bias, shape.channels, rules);
    best[u] = static_cast<unsigned long long>(edge_key(w, u));
  }
}

// Edges hold regions within the level.
template <int D>
__global__ void offer_edges(Forest forest, Shape shape, Rules rules, const Counters* counters, int level, const int2* edges,
                            unsigned long long* best) {
  if (counters->overflow) return;
  const int64_t row = counters->level_start[level] - shape.pixels;
  for (int64_t i = grid_thread(); i < counters->num_edges[level]; i += grid_size()) {
    const int2 edge = edges[i];
    const int64_t rank = quantize(node_weight<D>(forest, row + edge.x, row + edge.y, shape.channels, rules)) << 32;
    const unsigned long long to_second = rank | edge.y, to_first = rank | edge.x;
    if (best[edge.x] < to_second) atomicMax(best + edge.x, to_second);
    if (best[edge.y] < to_first) atomicMax(best + edge.y, to_first);
  }
}

__global__ void decode_picks(Forest forest, const Counters* counters, int level, const unsigned long long* best) {
  if (counters->overflow) return;
  const int32_t start = counters->level_start[level], count = counters->level_start[level + 1] - start;
  for (int64_t u = grid_thread(); u < count; u += grid_size())
    forest.pick[start + u] = start + static_cast<int32_t>(best[u] & 0xFFFFFFFF);
}

// Appends the edges of a block, up to two a thread; the order of the list is free, because taking a maximum does not depend on it.
__device__ __forceinline__ void append_edges(bool has_first, int2 first, bool has_second, int2 second, int2* edges, int32_t* count,
                                             int32_t capacity, int32_t* overflow) {
  __shared__ int32_t warp_start[kThreads / 32 + 1];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const unsigned firsts = __ballot_sync(0xFFFFFFFF, has_first), seconds = __ballot_sync(0xFFFFFFFF, has_second);
  __syncthreads();
  if (lane == 0) warp_start[warp + 1] = __popc(firsts) + __popc(seconds);
  __syncthreads();
  if (threadIdx.x == 0) {
    int32_t total = 0;
    for (int i = 1; i <= kThreads / 32; ++i) total += warp_start[i];
    warp_start[0] = total > 0 ? atomicAdd(count, total) : 0;
    for (int i = 1; i < kThreads / 32; ++i) warp_start[i] += warp_start[i - 1];
  }
  __syncthreads();
  const unsigned before = (1u << lane) - 1;
  const int32_t at = warp_start[warp] + __popc(firsts & before), then = warp_start[warp] + __popc(firsts) + __popc(seconds & before);
  if ((has_first && at >= capacity) || (has_second && then >= capacity)) *overflow = 1;
  if (has_first && at < capacity) edges[at] = first;
  if (has_second && then < capacity) edges[then] = second;
}

// Whether the border between `u` and its neighbour at `step` continues the one between their predecessors at `-back`.
__device__ __forceinline__ bool continues_border(const int32_t* parent, int64_t u, int32_t step, int32_t back) {
  return parent[u - back] == parent[u] && parent[u - back + step] == parent[u + step];
}

// Borders between the regions of level 1; a pixel edge that continues the border of its predecessor says nothing new.
__global__ void collect_edges(Forest forest, Shape shape, const Images images, Counters* counters, int2* edges, int32_t capacity) {
  if (__syncthreads_or(counters->overflow)) return;
  const int32_t* p = forest.parent;
  const int32_t first = counters->level_start[1], w = shape.width;
  for (int64_t begin = int64_t(blockIdx.x) * kThreads; begin < shape.pixels; begin += grid_size()) {
    const int64_t u = begin + threadIdx.x;
    bool right = false, down = false;
    int2 to_right{0, 0}, to_down{0, 0};
    if (u < shape.pixels && images.active[shape.batch + u / shape.num_pixels]) {
      const int32_t within = static_cast<int32_t>(u % shape.num_pixels), y = within / w, x = within % w, mine = p[u] - first;
      if (x + 1 < w && p[u] != p[u + 1]) {
        right = y == 0 || !continues_border(p, u, 1, w);
        to_right = {mine, p[u + 1] - first};
      }
      if (y + 1 < shape.height && p[u] != p[u + w]) {
        down = x == 0 || !continues_border(p, u, w, 1);
        to_down = {mine, p[u + w] - first};
      }
    }
    append_edges(right, to_right, down, to_down, edges, counters->num_edges + 1, capacity, &counters->overflow);
  }
}

// Edges of `level` become edges of the next; inner ones and those of stopped images are dropped.
__global__ void lift_edges(Forest forest, Shape shape, const Images images, Counters* counters, int level, const int2* edges, int2* lifted,
                           int32_t capacity) {
  if (__syncthreads_or(counters->overflow)) return;
  const int32_t start = counters->level_start[level], next = counters->level_start[level + 1], count = counters->num_edges[level];
  const auto lift = [&](int32_t i, int2& edge) {
    edge = {-1, -1};
    if (i >= count) return false;
    const int32_t first = forest.parent[start + edges[i].x];
    edge = {first - next, forest.parent[start + edges[i].y] - next};
    return edge.x != edge.y && images.active[(level + 1) * shape.batch + forest.first_pixel[first - shape.pixels] / shape.num_pixels];
  };
  for (int64_t begin = int64_t(blockIdx.x) * 2 * kThreads; begin < count; begin += 2 * grid_size()) {
    const int32_t i = static_cast<int32_t>(begin) + 2 * threadIdx.x;
    int2 first, second;
    bool has_first = lift(i, first), has_second = lift(i + 1, second);
    const int2 before{__shfl_up_sync(0xFFFFFFFF, second.x, 1), __shfl_up_sync(0xFFFFFFFF, second.y, 1)};
    has_first = has_first && !(threadIdx.x % 32 != 0 && before.x == first.x && before.y == first.y);
    has_second = has_second && !(first.x == second.x && first.y == second.y);
    append_edges(has_first, first, has_second, second, lifted, counters->num_edges + level + 1, capacity, &counters->overflow);
  }
}

}  // namespace dht
