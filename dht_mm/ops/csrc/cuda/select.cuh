// From the forest to the partition: choose a node for every pixel, join equal neighbours, number the regions.
#pragma once

#include "forest.cuh"
#include "moments.cuh"
#include "scan.cuh"
#include "union_find.cuh"

namespace dht {

// What a region of level 1 selects (-1 where its pixels prefer themselves), and its root among the regions with the same choice; kWhole is
// added where all that lies below the choice has this root from the beginning.
struct alignas(8) Selection {
  int32_t node, root;
};

constexpr int32_t kWhole = 1 << 30;

// Regions of the result under construction.
struct Outcome {
  Selection* selection;  // [level 1]
  int32_t* number;       // [level 1], of each root: its region's number through the batch
  int32_t* pixel_number; // [pixels], of each pixel that selects itself
  int32_t* image_start;  // [B + 1], number of each image's first region
};

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

// What the regions of level 1 select, and where they start in the graph of equal choices: an ancestor below which nobody selects
// otherwise is connected, so its first region stands for all.
__global__ void choose_nodes(Forest forest, Shape shape, const Counters* counters, Outcome outcome) {
  if (counters->overflow) return;
  const Range range = level_range(counters, 1);
  const double own = -sqrt(static_cast<double>(shape.num_pixels));
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    const int32_t node = range.start + static_cast<int32_t>(u);
    const int32_t best = best_ancestor(forest, shape.pixels, node, forest.score[node - shape.pixels]);
    const double score = forest.score[best - shape.pixels];
    int32_t unit = node;
    while (unit != best && forest.below[forest.parent[unit] - shape.pixels] <= score) unit = forest.parent[unit];
    const int32_t root = forest.parent[forest.first_pixel[unit - shape.pixels]] - range.start;
    outcome.selection[u] = {score >= own ? best : -1, unit == best ? root + kWhole : root};
  }
}

// Joins neighbouring regions of level 1 that selected the same node.
__global__ void join_choices(Forest forest, Shape shape, const Counters* counters, Outcome outcome) {
  if (counters->overflow) return;
  const int32_t first = counters->level_start[1], w = shape.width;
  const int32_t* p = forest.parent;
  const auto root = [&](int32_t region) -> int32_t& { return outcome.selection[region].root; };
  for (int64_t u = grid_thread(); u < shape.pixels; u += grid_size()) {
    const int32_t mine = p[u];
    const Selection here = outcome.selection[mine - first];
    if (here.node < 0 || here.root >= kWhole) continue;
    const auto [x, y] = shape.place(u);
    for (int32_t other : {x + 1 < w ? p[u + 1] : mine, y + 1 < shape.height ? p[u + w] : mine}) {
      if (other == mine) continue;
      const Selection there = outcome.selection[other - first];
      if (there.node == here.node && there.root != here.root) join(root, mine - first, other - first);
    }
  }
}

__global__ void flatten_choices(const Counters* counters, Outcome outcome) {
  if (counters->overflow) return;
  const Range range = level_range(counters, 1);
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    int32_t node = outcome.selection[u].root;
    if (node < kWhole)
      while (outcome.selection[node].root != node) node = outcome.selection[node].root;
    else
      node -= kWhole;
    outcome.selection[u].root = node;
  }
}

// Numbers regions through the batch at their first pixels.
__global__ void __launch_bounds__(kThreads, 8)
    number_regions(Forest forest, Shape shape, Counters* counters, Outcome outcome, unsigned long long* tiles) {
  if (__syncthreads_or(counters->overflow)) return;
  const int32_t level_start = counters->level_start[1];
  TileScan scan(tiles, counters->next_tile + kMaxLevels + 1, shape.pixels);
  while (scan.next()) {
    int32_t root[kTileItems];  // of the region that begins at each item; -1 where the pixel selects itself, -2 where none begins
    Selection selection[kTileItems];
    Pair total{0, 0};
    scan.read(forest.parent, shape.pixels, -1, root);
#pragma unroll
    for (int i = 0; i < kTileItems; ++i) selection[i] = root[i] >= 0 ? outcome.selection[root[i] - level_start] : Selection{0, -2};
#pragma unroll
    for (int i = 0; i < kTileItems; ++i) {
      const bool begins = selection[i].root >= 0 && forest.first_pixel[level_start - shape.pixels + selection[i].root] == scan.item(i);
      root[i] = selection[i].node < 0 ? -1 : begins ? selection[i].root : -2;
      total.first += root[i] != -2;
    }
    int32_t number = scan.before(total).first;
    for (int i = 0; i < kTileItems; ++i) {
      if (root[i] == -2) continue;
      const int32_t u = scan.item(i);
      *(root[i] < 0 ? outcome.pixel_number + u : outcome.number + root[i]) = number;
      if (shape.within_image(u) == 0) outcome.image_start[shape.image_of(u)] = number;
      number += 1;
    }
    if (!scan.is_last_thread()) continue;
    counters->num_regions = number;
    outcome.image_start[shape.batch] = number;
  }
}

// The result; packed fields have `capacity` rows.
struct Regions {
  int32_t* labels;       // [B, H, W]
  int32_t* num_regions;  // [B]
  int32_t* offsets;      // [B + 1]
  int32_t* node;         // [R]
  Box* box;              // [R]
  int32_t* size;         // [R]
  float* mean;           // [R, d]
  int64_t* level_starts; // [num_starts]
  int32_t num_starts;
  int64_t capacity;
};

// Whether there is a result that the packed fields can hold.
__device__ __forceinline__ bool fits(const Counters* counters, const Regions& regions) {
  return !counters->overflow && !counters->not_finite && counters->num_regions <= regions.capacity;
}

// Starts the sums of the regions. Rows that no region needs stay at zero; counts are -1, offsets and starts 0 where there is no result.
__global__ void open_regions(Shape shape, const Counters* counters, Outcome outcome, Regions regions) {
  const bool good = fits(counters, regions);
  const int64_t used = good ? counters->num_regions : 0;
  for (int64_t r = grid_thread(); r < regions.capacity; r += grid_size()) {
    regions.size[r] = 0;
    regions.box[r] = r < used ? Box{INT32_MAX, INT32_MAX, -1, -1} : Box{0, 0, 0, 0};
    if (r < used) continue;
    regions.node[r] = 0;
    for (int c = 0; c < shape.channels; ++c) regions.mean[r * shape.channels + c] = 0.0f;
  }
  for (int64_t i = grid_thread(); i <= shape.batch; i += grid_size()) {
    regions.offsets[i] = good ? outcome.image_start[i] : 0;
    if (i < shape.batch) regions.num_regions[i] = good ? outcome.image_start[i + 1] - outcome.image_start[i] : -1;
  }
  for (int64_t i = grid_thread(); i < regions.num_starts; i += grid_size()) regions.level_starts[i] = good ? counters->level_start[i] : 0;
}

__device__ __forceinline__ void write_node(const Forest& forest, const Shape& shape, int32_t node, int64_t region, const Regions& regions) {
  const int d = shape.channels;
  const float* mean = node < shape.pixels ? forest.features + int64_t(node) * d : forest.mean + (node - shape.pixels) * d;
  regions.node[region] = node;
  for (int c = 0; c < d; ++c) regions.mean[region * d + c] = mean[c];
}

__device__ __forceinline__ void add_box(Box* to, const Box& box) {
  if (box.ymin < to->ymin) atomicMin(&to->ymin, box.ymin);
  if (box.xmin < to->xmin) atomicMin(&to->xmin, box.xmin);
  if (box.ymax > to->ymax) atomicMax(&to->ymax, box.ymax);
  if (box.xmax > to->xmax) atomicMax(&to->xmax, box.xmax);
}

// Regions of level 1 add themselves to those of the result, and leave their label in the place of their root.
__global__ void write_regions(Forest forest, Shape shape, const Counters* counters, Outcome outcome, Regions regions) {
  if (!fits(counters, regions)) return;
  const Range range = level_range(counters, 1);
  const int64_t first_row = range.start - shape.pixels;
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    const Selection selection = outcome.selection[u];
    if (selection.node < 0) continue;
    const int32_t region = outcome.number[selection.root];
    if (selection.root == u) write_node(forest, shape, selection.node, region, regions);
    atomicAdd(regions.size + region, forest.size[first_row + u]);
    add_box(regions.box + region, forest.box[first_row + u]);
    outcome.selection[u].root = region - outcome.image_start[shape.image_of(forest.first_pixel[first_row + u])];
  }
}

__global__ void paint_labels(Forest forest, Shape shape, const Counters* counters, Outcome outcome, Regions regions) {
  const bool good = fits(counters, regions);
  const int32_t first = counters->level_start[1];
  for (int64_t u = grid_thread(); u < shape.pixels; u += grid_size()) {
    if (!good) {
      regions.labels[u] = 0;
      continue;
    }
    const Selection selection = outcome.selection[forest.parent[u] - first];
    if (selection.node >= 0) {
      regions.labels[u] = selection.root;
      continue;
    }
    const int32_t region = outcome.pixel_number[u];
    write_node(forest, shape, static_cast<int32_t>(u), region, regions);
    regions.size[region] = 1;
    regions.box[region] = pixel_box(u, shape);
    regions.labels[u] = region - outcome.image_start[shape.image_of(u)];
  }
}

}  // namespace dht
