// Borders between the regions of a level: collected from the pixels once, lifted from level to level, and offered to both ends.
#pragma once

#include "forest.cuh"
#include "pick.cuh"

namespace dht {

// Room for the edges that a warp finds in one round: up to two for each of a lane's items.
constexpr int kEdgeItems = 4;

struct EdgeStage {
  int2 edge[2 * 32 * kEdgeItems];
};

// Adds a lane's edge to the stage of its warp. Returns how many the stage holds then.
__device__ __forceinline__ int32_t stage_edge(EdgeStage& stage, int32_t staged, bool found, int2 edge) {
  const unsigned mask = __ballot_sync(kAllLanes, found);
  if (found) stage.edge[staged + __popc(mask & ((1u << threadIdx.x % 32) - 1))] = edge;
  return staged + __popc(mask);
}

// Appends a warp's staged edges to the list of a level, and offers them to both of their ends, regions counted within the level whose
// first node has row `first_row`. The order of the list is free, because taking a maximum does not depend on it.
template <int D>
__device__ __forceinline__ void offer_edges(const Forest& forest, const Shape& shape, const Rules& rules, int64_t first_row,
                                            const EdgeStage& stage, int32_t staged, Counters* counters, int level, int2* edges,
                                            int32_t capacity, unsigned long long* best) {
  const int32_t lane = threadIdx.x % 32;
  int32_t place = lane == 0 && staged > 0 ? atomicAdd(counters->num_edges + level, staged) : 0;
  place = __shfl_sync(kAllLanes, place, 0);
  if (place > capacity - staged) counters->overflow = 1;
  __syncwarp();
#pragma unroll 2
  for (int32_t i = lane; i < staged; i += 32) {
    const int2 edge = stage.edge[i];
    if (place + i < capacity) edges[place + i] = edge;
    const double weight = node_weight<D>(forest, first_row + edge.x, first_row + edge.y, shape.channels, rules);
    const auto to_second = static_cast<unsigned long long>(edge_key(weight, edge.y));
    const auto to_first = static_cast<unsigned long long>(edge_key(weight, edge.x));
    if (best[edge.x] < to_second) atomicMax(best + edge.x, to_second);
    if (best[edge.y] < to_first) atomicMax(best + edge.y, to_first);
  }
  __syncwarp();
}

// Whether the border between `u` and its neighbour at `step` continues the one between their predecessors at `-back`.
__device__ __forceinline__ bool continues_border(const int32_t* parent, int64_t u, int32_t step, int32_t back) {
  return parent[u - back] == parent[u] && parent[u - back + step] == parent[u + step];
}

// Edges between the regions of level 1; a pixel edge that continues the border of its predecessor says nothing new.
template <int D>
__global__ void __launch_bounds__(kThreads, 6)
    collect_edges(Forest forest, Shape shape, Rules rules, Counters* counters, int2* edges, int32_t capacity, unsigned long long* best) {
  __shared__ EdgeStage stages[kThreads / 32];
  if (__syncthreads_or(counters->overflow)) return;
  EdgeStage& stage = stages[threadIdx.x / 32];
  const int32_t* p = forest.parent;
  const int32_t first = counters->level_start[1], w = shape.width;
  for (int64_t begin = grid_thread() / 32 * (32 * kEdgeItems); begin < shape.pixels; begin += grid_size() * kEdgeItems) {
    int32_t staged = 0;
#pragma unroll
    for (int k = 0; k < kEdgeItems; ++k) {
      const int64_t u = begin + k * 32 + threadIdx.x % 32;
      bool right = false, down = false;
      int2 to_right{0, 0}, to_down{0, 0};
      if (u < shape.pixels) {
        const auto [x, y] = shape.place(u);
        const int32_t mine = p[u];
        if (x + 1 < w && mine != p[u + 1]) {
          right = y == 0 || !continues_border(p, u, 1, w);
          to_right = {mine - first, p[u + 1] - first};
        }
        if (y + 1 < shape.height && mine != p[u + w]) {
          down = x == 0 || !continues_border(p, u, w, 1);
          to_down = {mine - first, p[u + w] - first};
        }
      }
      staged = stage_edge(stage, staged, right, to_right);
      staged = stage_edge(stage, staged, down, to_down);
    }
    offer_edges<D>(forest, shape, rules, 0, stage, staged, counters, 1, edges, capacity, best);
  }
}

// Edges of `level` become edges of the next; inner ones and repetitions side by side are dropped.
template <int D>
__global__ void __launch_bounds__(kThreads, 6)
    lift_edges(Forest forest, Shape shape, Rules rules, Counters* counters, int level, const int2* edges, int2* lifted, int32_t capacity,
               unsigned long long* best) {
  __shared__ EdgeStage stages[kThreads / 32];
  if (__syncthreads_or(counters->overflow)) return;
  EdgeStage& stage = stages[threadIdx.x / 32];
  const int32_t start = counters->level_start[level], next = counters->level_start[level + 1], count = counters->num_edges[level];
  constexpr int kItems = 2 * kEdgeItems;  // each becomes at most one edge
  for (int64_t begin = grid_thread() / 32 * (32 * kItems); begin < count; begin += grid_size() * kItems) {
    int32_t staged = 0;
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
      const int64_t i = begin + k * 32 + threadIdx.x % 32;
      int2 edge{-1, -1};
      if (i < count) edge = {forest.parent[start + edges[i].x], forest.parent[start + edges[i].y]};
      const int2 before{__shfl_up_sync(kAllLanes, edge.x, 1), __shfl_up_sync(kAllLanes, edge.y, 1)};
      const bool repeats = threadIdx.x % 32 != 0 && before.x == edge.x && before.y == edge.y;
      staged = stage_edge(stage, staged, edge.x != edge.y && !repeats, {edge.x - next, edge.y - next});
    }
    offer_edges<D>(forest, shape, rules, next - shape.pixels, stage, staged, counters, level + 1, lifted, capacity, best);
  }
}

}  // namespace dht
