// Components of picks, numbered by their first member: chase, smallest index, and a two-kernel scan of fixed grid.
#pragma once

#include "launch.cuh"

namespace dht {

struct Range {
  int32_t start, count;
};

__device__ __forceinline__ Range level_range(const Counters* counters, int level) {
  const int32_t start = counters->level_start[level];
  return {start, counters->level_start[level + 1] - start};
}

// Mutual picks point at the smaller of the two, which makes every path end.
__global__ void plant_roots(Forest forest, const Counters* counters, int level, int32_t* root, int32_t* smallest) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    const int32_t other = forest.pick[range.start + u] - range.start, back = forest.pick[range.start + other] - range.start;
    root[u] = back == u && u < other ? static_cast<int32_t>(u) : other;
    smallest[u] = INT32_MAX;
  }
}

// Follows the path to its root. Every thread shortens its own entry only, as it goes: others that pass through it get the benefit, and
// nobody overwrites a root that was found with an older ancestor.
__global__ void chase_roots(const Counters* counters, int level, int32_t* root, int32_t* smallest) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  volatile int32_t* path = root;
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    int32_t node = path[u];
    for (int32_t above = path[node]; above != node; above = path[node]) {
      node = above;
      path[u] = node;
    }
    if (u < smallest[node]) atomicMin(smallest + node, static_cast<int32_t>(u));
  }
}

// The part of [0, count) that belongs to this block, in whole rounds of the block.
__device__ __forceinline__ Range block_chunk(int32_t count) {
  const int64_t rounds = (int64_t(count) + kThreads - 1) / kThreads, mine = (rounds + gridDim.x - 1) / gridDim.x * kThreads;
  const int64_t begin = min(mine * blockIdx.x, int64_t(count));
  return {static_cast<int32_t>(begin), static_cast<int32_t>(min(mine, int64_t(count) - begin))};
}

__device__ __forceinline__ int32_t block_sum(int32_t value) {
  __shared__ int32_t partial[kThreads / 32];
  value = __reduce_add_sync(0xFFFFFFFF, value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  int32_t total = 0;
  for (int i = 0; i < kThreads / 32; ++i) total += partial[i];
  return total;
}

// Number of set flags before this thread in the block, and the block's total.
__device__ __forceinline__ int2 block_rank(bool flag) {
  __shared__ int32_t partial[kThreads / 32];
  const unsigned mask = __ballot_sync(0xFFFFFFFF, flag);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  __syncthreads();
  if (lane == 0) partial[warp] = __popc(mask);
  __syncthreads();
  int32_t before = __popc(mask & ((1u << lane) - 1)), total = 0;
  for (int i = 0; i < kThreads / 32; ++i) {
    before += i < warp ? partial[i] : 0;
    total += partial[i];
  }
  return {before, total};
}

__device__ __forceinline__ bool is_first(const int32_t* root, const int32_t* smallest, int32_t u) {
  return smallest[root[u]] == u;
}

__device__ __forceinline__ int32_t firsts_before_block(const int32_t* block_sums) {
  int32_t before = 0;
  for (int32_t i = threadIdx.x; i < static_cast<int32_t>(blockIdx.x); i += kThreads) before += block_sums[i];
  return block_sum(before);
}

__global__ void count_firsts(const Counters* counters, int level, const int32_t* root, const int32_t* smallest, int32_t* block_sums) {
  if (__syncthreads_or(counters->overflow)) return;
  const Range chunk = block_chunk(level_range(counters, level).count);
  int32_t firsts = 0;
  for (int32_t i = threadIdx.x; i < chunk.count; i += kThreads) firsts += is_first(root, smallest, chunk.start + i);
  firsts = block_sum(firsts);
  if (threadIdx.x == 0) block_sums[blockIdx.x] = firsts;
}

// Numbers the components in the order of their first members: number[first member] is the component's place in the next level.
__global__ void number_firsts(Forest forest, Shape shape, Images images, Counters* counters, int level, const int32_t* root,
                              const int32_t* smallest, const int32_t* block_sums, int32_t parents, int32_t* number) {
  if (__syncthreads_or(counters->overflow)) return;
  const Range range = level_range(counters, level), chunk = block_chunk(range.count);
  const int32_t next = range.start + range.count;
  int32_t place = firsts_before_block(block_sums);
  for (int32_t round = 0; round < chunk.count; round += kThreads) {
    const int32_t u = chunk.start + round + threadIdx.x;
    const bool first = round + threadIdx.x < chunk.count && is_first(root, smallest, u);
    const int2 rank = block_rank(first);
    if (first) {
      const int32_t mine = place + rank.x;
      number[u] = mine;
      if (mine < parents && next - shape.pixels + mine < forest.capacity) {
        const int32_t pixel = level == 0 ? u : forest.first_pixel[range.start - shape.pixels + u];
        forest.first_pixel[next - shape.pixels + mine] = pixel;
        if (pixel % shape.num_pixels == 0) images.start[(level + 1) * (shape.batch + 1) + pixel / shape.num_pixels] = mine;
      }
    }
    place += rank.y;
  }
  if (blockIdx.x != gridDim.x - 1 || threadIdx.x != 0) return;
  images.start[(level + 1) * (shape.batch + 1) + shape.batch] = place;
  counters->level_start[level + 2] = next + place;
  if (place > parents || next - shape.pixels + place > forest.capacity) counters->overflow = 1;
}

}  // namespace dht
