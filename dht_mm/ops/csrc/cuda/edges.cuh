// Borders between the regions of a level: collected from the pixels once, lifted from level to level, and offered to both ends.
#pragma once

#include "forest.cuh"
#include "pick.cuh"

namespace dht {

// Room for the edges that a block appends in one round: up to two a thread.
struct EdgeStage {
  int2 edge[2 * kThreads];
  int32_t warp_start[kThreads / 32 + 1];
  int32_t place;
};

// Appends the edges of a block to the list of a level and leaves them in the stage. Returns their number. The order of the list is free,
// because taking a maximum does not depend on it.
__device__ __forceinline__ int32_t append_edges(EdgeStage& stage, bool has_first, int2 first, bool has_second, int2 second, int2* edges,
                                                int32_t* count, int32_t capacity, int32_t* overflow) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const unsigned firsts = __ballot_sync(kAllLanes, has_first), seconds = __ballot_sync(kAllLanes, has_second);
  __syncthreads();
  if (lane == 0) stage.warp_start[warp + 1] = __popc(firsts) + __popc(seconds);
  __syncthreads();
  if (threadIdx.x == 0) {
    stage.warp_start[0] = 0;
    for (int i = 1; i <= kThreads / 32; ++i) stage.warp_start[i] += stage.warp_start[i - 1];
    const int32_t total = stage.warp_start[kThreads / 32];
    stage.place = total > 0 ? atomicAdd(count, total) : 0;
    if (stage.place > capacity - total) *overflow = 1;
  }
  __syncthreads();
  const unsigned before = (1u << lane) - 1;
  if (has_first) stage.edge[stage.warp_start[warp] + __popc(firsts & before)] = first;
  if (has_second) stage.edge[stage.warp_start[warp] + __popc(firsts) + __popc(seconds & before)] = second;
  __syncthreads();
  const int32_t total = stage.warp_start[kThreads / 32];
  for (int32_t i = threadIdx.x; i < total && stage.place + i < capacity; i += kThreads) edges[stage.place + i] = stage.edge[i];
  return total;
}

// Offers the staged edges to both of their ends, regions counted within the level whose first node has row `first_row`.
template <int D>
__device__ __forceinline__ void offer_edges(const Forest& forest, const Shape& shape, const Rules& rules, int64_t first_row,
                                            const EdgeStage& stage, int32_t count, unsigned long long* best) {
  for (int32_t i = threadIdx.x; i < count; i += kThreads) {
    const int2 edge = stage.edge[i];
    const double weight = node_weight<D>(forest, first_row + edge.x, first_row + edge.y, shape.channels, rules);
    const auto to_second = static_cast<unsigned long long>(edge_key(weight, edge.y));
    const auto to_first = static_cast<unsigned long long>(edge_key(weight, edge.x));
    if (best[edge.x] < to_second) atomicMax(best + edge.x, to_second);
    if (best[edge.y] < to_first) atomicMax(best + edge.y, to_first);
  }
}

// Whether the border between `u` and its neighbour at `step` continues the one between their predecessors at `-back`.
__device__ __forceinline__ bool continues_border(const int32_t* parent, int64_t u, int32_t step, int32_t back) {
  return parent[u - back] == parent[u] && parent[u - back + step] == parent[u + step];
}

// Edges between the regions of level 1; a pixel edge that continues the border of its predecessor says nothing new.
template <int D>
__global__ void collect_edges(Forest forest, Shape shape, Rules rules, const Images images, Counters* counters, int2* edges,
                              int32_t capacity, unsigned long long* best) {
  __shared__ EdgeStage stage;
  if (__syncthreads_or(counters->overflow)) return;
  const int32_t* p = forest.parent;
  const int32_t first = counters->level_start[1], w = shape.width;
  for (int64_t begin = int64_t(blockIdx.x) * kThreads; begin < shape.pixels; begin += grid_size()) {
    const int64_t u = begin + threadIdx.x;
    bool right = false, down = false;
    int2 to_right{0, 0}, to_down{0, 0};
    if (u < shape.pixels && images.active[shape.batch + shape.image_of(u)]) {
      const auto [x, y] = shape.place(u);
      const int32_t mine = p[u] - first;
      if (x + 1 < w && p[u] != p[u + 1]) {
        right = y == 0 || !continues_border(p, u, 1, w);
        to_right = {mine, p[u + 1] - first};
      }
      if (y + 1 < shape.height && p[u] != p[u + w]) {
        down = x == 0 || !continues_border(p, u, w, 1);
        to_down = {mine, p[u + w] - first};
      }
    }
    const int32_t count = append_edges(stage, right, to_right, down, to_down, edges, counters->num_edges + 1, capacity, &counters->overflow);
    offer_edges<D>(forest, shape, rules, 0, stage, count, best);
  }
}

// Edges of `level` become edges of the next; inner ones and those of stopped images are dropped.
template <int D>
__global__ void lift_edges(Forest forest, Shape shape, Rules rules, const Images images, Counters* counters, int level, const int2* edges,
                           int2* lifted, int32_t capacity, unsigned long long* best) {
  __shared__ EdgeStage stage;
  if (__syncthreads_or(counters->overflow)) return;
  const int32_t start = counters->level_start[level], next = counters->level_start[level + 1], count = counters->num_edges[level];
  const auto lift = [&](int32_t i, int2& edge) {
    edge = {-1, -1};
    if (i >= count) return false;
    const int32_t first = forest.parent[start + edges[i].x];
    edge = {first - next, forest.parent[start + edges[i].y] - next};
    return edge.x != edge.y && images.active[(level + 1) * shape.batch + shape.image_of(forest.first_pixel[first - shape.pixels])];
  };
  for (int64_t begin = int64_t(blockIdx.x) * 2 * kThreads; begin < count; begin += 2 * grid_size()) {
    const int32_t i = static_cast<int32_t>(begin) + 2 * threadIdx.x;
    int2 first, second;
    bool has_first = lift(i, first), has_second = lift(i + 1, second);
    const int2 before{__shfl_up_sync(kAllLanes, second.x, 1), __shfl_up_sync(kAllLanes, second.y, 1)};
    has_first = has_first && !(threadIdx.x % 32 != 0 && before.x == first.x && before.y == first.y);
    has_second = has_second && !(first.x == second.x && first.y == second.y);
    const int32_t found = append_edges(stage, has_first, first, has_second, second, lifted, counters->num_edges + level + 1, capacity,
                                       &counters->overflow);
    offer_edges<D>(forest, shape, rules, next - shape.pixels, stage, found, best);
  }
}

}  // namespace dht
