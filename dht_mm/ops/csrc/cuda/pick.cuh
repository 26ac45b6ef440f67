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

template <int D>
__global__ void pick_pixels(Forest forest, Shape shape, Rules rules) {
  for (int64_t u = grid_thread(); u < shape.pixels; u += grid_size()) {
    const int32_t within = static_cast<int32_t>(u % shape.num_pixels), y = within / shape.width, x = within % shape.width;
    const int64_t neighbour[4] = {u - shape.width, u - 1, u + 1, u + shape.width};
    const bool exists[4] = {y > 0, x > 0, x + 1 < shape.width, y + 1 < shape.height};
    int64_t best = -1;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!exists[i]) continue;
      const int64_t key = edge_key(pixel_weight<D>(forest.features, u, neighbour[i], shape.channels, rules), neighbour[i]);
      best = key > best ? key : best;
    }
    forest.pick[u] = static_cast<int32_t>(best & 0xFFFFFFFF);
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
__device__ __forceinline__ double node_weight(const Forest& forest, int64_t u, int64_t v, int channels, const Rules& rules) {
  const double shape = compactness_of(int64_t(forest.size[u]) + forest.size[v], unite(forest.box[u], forest.box[v]));
  return blend(similarity(rules.kernel, forest.mean + u * channels, forest.mean + v * channels, channels, 1), shape, rules.compactness);
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
__global__ void offer_edges(Forest forest, Shape shape, Rules rules, const Counters* counters, int level, const int2* edges,
                            unsigned long long* best) {
  if (counters->overflow) return;
  const int64_t row = counters->level_start[level] - shape.pixels;
  for (int64_t i = grid_thread(); i < counters->num_edges[level]; i += grid_size()) {
    const int2 edge = edges[i];
    const int64_t rank = quantize(node_weight(forest, row + edge.x, row + edge.y, shape.channels, rules)) << 32;
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

// Appends an edge for every thread that has one; the order of the list is free, because taking a maximum does not depend on it.
__device__ __forceinline__ void append_edge(bool has, int2 edge, int2* edges, int32_t* count, int32_t capacity, int32_t* overflow) {
  const unsigned mask = __ballot_sync(0xFFFFFFFF, has);
  if (mask == 0) return;
  const int lane = threadIdx.x % 32, leader = __ffs(mask) - 1;
  int32_t at = 0;
  if (lane == leader) at = atomicAdd(count, __popc(mask));
  at = __shfl_sync(0xFFFFFFFF, at, leader) + __popc(mask & ((1u << lane) - 1));
  if (!has) return;
  if (at >= capacity) {
    *overflow = 1;
    return;
  }
  edges[at] = edge;
}

// Borders between the regions of level 1; a pixel edge that continues the border of its predecessor says nothing new.
__global__ void collect_edges(Forest forest, Shape shape, const Images images, Counters* counters, int2* edges, int32_t capacity) {
  if (counters->overflow) return;
  const int32_t* p = forest.parent;
  const int32_t first = counters->level_start[1], w = shape.width;
  const int64_t padded = (shape.pixels + 31) / 32 * 32;
  for (int64_t u = grid_thread(); u < padded; u += grid_size()) {
    bool right = false, down = false;
    int2 to_right{0, 0}, to_down{0, 0};
    if (u < shape.pixels && images.active[shape.batch + u / shape.num_pixels]) {
      const int32_t within = static_cast<int32_t>(u % shape.num_pixels), y = within / w, x = within % w;
      if (x + 1 < w && p[u] != p[u + 1]) {
        right = !(y > 0 && p[u - w] == p[u] && p[u - w + 1] == p[u + 1]);
        to_right = {p[u] - first, p[u + 1] - first};
      }
      if (y + 1 < shape.height && p[u] != p[u + w]) {
        down = !(x > 0 && p[u - 1] == p[u] && p[u + w - 1] == p[u + w]);
        to_down = {p[u] - first, p[u + w] - first};
      }
    }
    append_edge(right, to_right, edges, counters->num_edges + 1, capacity, &counters->overflow);
    append_edge(down, to_down, edges, counters->num_edges + 1, capacity, &counters->overflow);
  }
}

// Edges of `level` become edges of the next; inner ones and those of stopped images are dropped.
__global__ void lift_edges(Forest forest, Shape shape, const Images images, Counters* counters, int level, const int2* edges, int2* lifted,
                           int32_t capacity) {
  if (counters->overflow) return;
  const int32_t start = counters->level_start[level], next = counters->level_start[level + 1], count = counters->num_edges[level];
  const int64_t padded = (int64_t(count) + 31) / 32 * 32;
  for (int64_t i = grid_thread(); i < padded; i += grid_size()) {
    int2 edge{0, 0};
    bool has = false;
    if (i < count) {
      const int32_t first = forest.parent[start + edges[i].x];
      edge = {first - next, forest.parent[start + edges[i].y] - next};
      const int32_t image = forest.first_pixel[first - shape.pixels] / shape.num_pixels;
      has = edge.x != edge.y && images.active[(level + 1) * shape.batch + image];
    }
    const int32_t before_x = __shfl_up_sync(0xFFFFFFFF, edge.x, 1), before_y = __shfl_up_sync(0xFFFFFFFF, edge.y, 1);
    const bool repeats = threadIdx.x % 32 != 0 && before_x == edge.x && before_y == edge.y;
    append_edge(has && !repeats, edge, lifted, counters->num_edges + level + 1, capacity, &counters->overflow);
  }
}

}  // namespace dht
