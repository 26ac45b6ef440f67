// From the forest to the partition: choose a node for every pixel, join equal neighbours, number the regions.
#pragma once

#include "components.cuh"
#include "moments.cuh"

namespace dht {

// Best of a node and its ancestors, the later one where scores tie.
__device__ __forceinline__ int32_t best_ancestor(const Forest& forest, int64_t pixels, int32_t node, double score) {
  int32_t best = node;
  for (int32_t above = forest.parent[node]; above >= 0; above = forest.parent[above]) {
    if (forest.score[above - pixels] < score) continue;
    best = above;
    score = forest.score[above - pixels];
  }
  return best;
}

// What the regions of level 1 select (-1 where their pixels prefer themselves), and where they start in the graph of equal choices: an
// ancestor below which nobody selects otherwise is connected, so its first region stands for all.
__global__ void choose_nodes(Forest forest, Shape shape, const Counters* counters, int32_t* choice, int32_t* root) {
  if (counters->overflow) return;
  const Range range = level_range(counters, 1);
  const double own = -sqrt(static_cast<double>(shape.num_pixels));
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    const int32_t node = range.start + static_cast<int32_t>(u);
    const int32_t best = best_ancestor(forest, shape.pixels, node, forest.score[node - shape.pixels]);
    const double score = forest.score[best - shape.pixels];
    int32_t unit = node;
    while (unit != best && forest.below[forest.parent[unit] - shape.pixels] <= score) unit = forest.parent[unit];
    choice[u] = score >= own ? best : -1;
    root[u] = forest.parent[forest.first_pixel[unit - shape.pixels]] - range.start;
  }
}

__device__ __forceinline__ int32_t find_root(volatile int32_t* root, int32_t node) {
  int32_t above = root[node];
  while (above != node) {
    const int32_t next = root[above];
    if (next != above) root[node] = next;
    node = above;
    above = next;
  }
  return node;
}

__device__ __forceinline__ void join(int32_t* root, int32_t a, int32_t b) {
  while (true) {
    a = find_root(root, a);
    b = find_root(root, b);
    if (a == b) return;
    if (a > b) {
      const int32_t swap = a;
      a = b;
      b = swap;
    }
    const int32_t seen = atomicCAS(root + b, b, a);
    if (seen == b) return;
    b = seen;
  }
}

// Joins neighbouring regions of level 1 that selected the same node.
__global__ void join_choices(Forest forest, Shape shape, const Counters* counters, const int32_t* choice, int32_t* root) {
  if (counters->overflow) return;
  const int32_t first = counters->level_start[1], w = shape.width;
  const int32_t* p = forest.parent;
  for (int64_t u = grid_thread(); u < shape.pixels; u += grid_size()) {
    const int32_t within = static_cast<int32_t>(u % shape.num_pixels), y = within / w, x = within % w, mine = p[u] - first;
    const int32_t chosen = choice[mine];
    if (chosen < 0) continue;
    const bool right = x + 1 < w && p[u + 1] != p[u] && choice[p[u + 1] - first] == chosen && (y == 0 || !continues_border(p, u, 1, w));
    const bool down = y + 1 < shape.height && p[u + w] != p[u] && choice[p[u + w] - first] == chosen && (x == 0 || !continues_border(p, u, w, 1));
    if (right) join(root, mine, p[u + 1] - first);
    if (down) join(root, mine, p[u + w] - first);
  }
}

// Leaves in `first` the first pixel of every level-1 region's component.
__global__ void flatten_choices(Forest forest, Shape shape, const Counters* counters, const int32_t* root, int32_t* first) {
  if (counters->overflow) return;
  const Range range = level_range(counters, 1);
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    int32_t node = static_cast<int32_t>(u);
    while (root[node] != node) node = root[node];
    first[u] = forest.first_pixel[range.start - shape.pixels + node];
  }
}

// First pixel of the region that holds pixel `u`; a pixel whose level-1 region chose nothing is a region of its own.
__device__ __forceinline__ int32_t region_start(const Forest& forest, const int32_t* choice, const int32_t* first, int32_t level_start,
                                                int32_t u) {
  const int32_t p = forest.parent[u] - level_start;
  return choice[p] < 0 ? u : first[p];
}

__global__ void count_regions(Forest forest, Shape shape, const Counters* counters, const int32_t* choice, const int32_t* first,
                              int32_t* block_sums) {
  if (__syncthreads_or(counters->overflow)) return;
  const Range chunk = block_chunk(static_cast<int32_t>(shape.pixels));
  int32_t firsts = 0;
  for (int32_t i = threadIdx.x; i < chunk.count; i += kThreads) {
    const int32_t u = chunk.start + i;
    firsts += region_start(forest, choice, first, counters->level_start[1], u) == u;
  }
  firsts = block_sum(firsts);
  if (threadIdx.x == 0) block_sums[blockIdx.x] = firsts;
}

// Numbers regions through the batch at their first pixels, and notes where each image begins.
__global__ void number_regions(Forest forest, Shape shape, Counters* counters, const int32_t* choice, const int32_t* first_pixel,
                               const int32_t* block_sums, int32_t* number, int32_t* image_start) {
  if (__syncthreads_or(counters->overflow)) return;
  const Range chunk = block_chunk(static_cast<int32_t>(shape.pixels));
  int32_t place = firsts_before_block(block_sums);
  for (int32_t round = 0; round < chunk.count; round += kThreads) {
    const int32_t u = chunk.start + round + threadIdx.x;
    const bool first = round + threadIdx.x < chunk.count &&
                       region_start(forest, choice, first_pixel, counters->level_start[1], u) == u;
    const int2 rank = block_rank(first);
    if (first) {
      number[u] = place + rank.x;
      if (u % shape.num_pixels == 0) image_start[u / shape.num_pixels] = place + rank.x;
    }
    place += rank.y;
  }
  if (blockIdx.x != gridDim.x - 1 || threadIdx.x != 0) return;
  counters->num_regions = place;
  image_start[shape.batch] = place;
}

struct Regions {
  int32_t* labels;       // [B, H, W]
  int32_t* num_regions;  // [B]
  int32_t* node;         // [R]
  Box* box;              // [R]
  int32_t* size;         // [R]
  float* mean;           // [R, d]
  int32_t total;
};

__global__ void open_regions(Shape shape, const int32_t* image_start, Regions regions) {
  for (int64_t r = grid_thread(); r < regions.total; r += grid_size()) {
    regions.size[r] = 0;
    regions.box[r] = Box{INT32_MAX, INT32_MAX, -1, -1};
  }
  for (int64_t i = grid_thread(); i < shape.batch; i += grid_size()) regions.num_regions[i] = image_start[i + 1] - image_start[i];
}

// Paints labels. Sizes and boxes come from the regions of level 1, or from pixels that selected themselves.
__device__ __forceinline__ void write_node(const Forest& forest, const Shape& shape, int32_t node, int32_t region, const Regions& regions) {
  const int d = shape.channels;
  const float* mean = node < shape.pixels ? forest.features + int64_t(node) * d : forest.mean + (node - shape.pixels) * d;
  regions.node[region] = node;
  for (int c = 0; c < d; ++c) regions.mean[int64_t(region) * d + c] = mean[c];
}

__global__ void write_regions(Forest forest, Shape shape, const Counters* counters, const int32_t* choice, const int32_t* first_pixel,
                              const int32_t* number, const int32_t* image_start, Regions regions) {
  const int32_t first = counters->level_start[1];
  for (int64_t u = grid_thread(); u < shape.pixels; u += grid_size()) {
    const int32_t region = number[region_start(forest, choice, first_pixel, first, static_cast<int32_t>(u))], image = static_cast<int32_t>(u / shape.num_pixels), p = forest.parent[u];
    regions.labels[u] = region - image_start[image];
    const int32_t chosen = choice[p - first];
    if (chosen < 0) {
      write_node(forest, shape, static_cast<int32_t>(u), region, regions);
      regions.size[region] = 1;
      regions.box[region] = pixel_box(u, shape);
    } else if (forest.first_pixel[p - shape.pixels] == u) {
      if (first_pixel[p - first] == u) write_node(forest, shape, chosen, region, regions);
      atomicAdd(regions.size + region, forest.size[p - shape.pixels]);
      add_box(regions.box + region, forest.box[p - shape.pixels]);
    }
  }
}

}  // namespace dht
