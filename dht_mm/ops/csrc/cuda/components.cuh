// Components of picks become the parents of the next level, numbered in the order of their first members.
#pragma once

#include "forest.cuh"
#include "pick.cuh"
#include "scan.cuh"

namespace dht {

// Side of the squares within which pixels first look for their components.
constexpr int32_t kSquare = 32, kSquarePixels = kSquare * kSquare;

// A square of pixels in shared memory; members count row by row, so that their order is that of the pixels.
struct Square {
  int32_t root[kSquarePixels];    // local root; kOutside for a pixel that picked one outside
  int32_t smallest[kSquarePixels], members[kSquarePixels];
  bool leaves[kSquarePixels];     // whether the pixel picked one outside, or one outside picked it
  bool open[kSquarePixels];       // of local roots: whether the component goes on outside
};

constexpr int32_t kOutside = -1;

// Follows a path of picks to its root: a node that picked itself, or the smaller of two that picked each other, or the last node of the
// square. To shorten paths on the way pays where they are long: every thread does so with its own entry only, and only to nodes further
// along the path, so others profit and nobody goes astray.
template <bool Shorten>
__device__ __forceinline__ int32_t chase(volatile int32_t* path, int32_t u) {
  int32_t node = u, above = path[u];
  if (above == kOutside) return u;
  while (node != above) {
    const int32_t beyond = path[above];
    if (beyond == kOutside) break;
    if (beyond == node) {
      above = min(node, above);
      break;
    }
    node = above;
    above = beyond;
    if (Shorten && node != above) path[u] = above;
  }
  return above;
}

// Where a square lies.
struct Corner {
  int32_t top, left;
  int64_t image_start;
  __device__ __forceinline__ int64_t pixel(int32_t width, int32_t y, int32_t x) const {
    return image_start + int64_t(top + y) * width + left + x;
  }
};

// Place of a pixel in the square, kOutside if it lies elsewhere.
__device__ __forceinline__ int32_t place_in(const Corner& corner, const Shape& shape, int64_t pixel) {
  const int32_t within = static_cast<int32_t>(pixel - corner.image_start), row = shape.by_row.quotient(within);
  const int32_t y = row - corner.top, x = within - row * shape.width - corner.left;
  return y >= 0 && y < kSquare && x >= 0 && x < kSquare ? y * kSquare + x : kOutside;
}

// Reads the picks of a square, and marks pixels that picked one outside or that pixels around it picked.
__device__ __forceinline__ void load_square(const Forest& forest, const Shape& shape, const Corner& corner, Square& square) {
  const auto exists = [&](int32_t y, int32_t x) {
    return corner.top + y >= 0 && corner.top + y < shape.height && corner.left + x >= 0 && corner.left + x < shape.width;
  };
  for (int32_t i = threadIdx.x; i < kSquarePixels; i += kThreads) {
    const int32_t y = i / kSquare, x = i % kSquare;
    square.root[i] = exists(y, x) ? place_in(corner, shape, forest.pick[corner.pixel(shape.width, y, x)]) : i;
    square.leaves[i] = square.root[i] == kOutside;
    square.open[i] = false;
    square.smallest[i] = INT32_MAX;
    square.members[i] = 0;
  }
  __syncthreads();
  for (int32_t i = threadIdx.x; i < 4 * kSquare; i += kThreads) {
    const int32_t along = i % kSquare, side = i / kSquare, across = side % 2 == 0 ? -1 : kSquare;
    const int32_t y = side < 2 ? across : along, x = side < 2 ? along : across;
    if (!exists(y, x)) continue;
    const int32_t picked = place_in(corner, shape, forest.pick[corner.pixel(shape.width, y, x)]);
    if (picked != kOutside) square.leaves[picked] = true;
  }
  __syncthreads();
}

// Components of pixels that lie within a square are found there; the others start their search with what they picked.
__global__ void __launch_bounds__(kThreads, 8) find_local_components(Forest forest, Shape shape, Family family) {
  __shared__ Square square;
  const int32_t across = (shape.width - 1) / kSquare + 1, down = (shape.height - 1) / kSquare + 1, w = shape.width;
  for (int64_t s = blockIdx.x; s < int64_t(shape.batch) * across * down; s += gridDim.x) {
    const Corner corner{static_cast<int32_t>(s / across % down) * kSquare, static_cast<int32_t>(s % across) * kSquare,
                        s / across / down * shape.num_pixels};
    __syncthreads();
    load_square(forest, shape, corner, square);
    int32_t root[kSquarePixels / kThreads], rank[kSquarePixels / kThreads];
    for (int k = 0; k < kSquarePixels / kThreads; ++k) {
      const int32_t i = threadIdx.x + k * kThreads;
      root[k] = chase<false>(square.root, i);
      if (square.leaves[i]) square.open[root[k]] = true;
    }
    __syncthreads();
    for (int k = 0; k < kSquarePixels / kThreads; ++k) {
      const int32_t i = threadIdx.x + k * kThreads;
      rank[k] = atomicAdd(square.members + root[k], 1);
      atomicMin(square.smallest + root[k], i);
    }
    __syncthreads();
    for (int k = 0; k < kSquarePixels / kThreads; ++k) {
      const int32_t i = threadIdx.x + k * kThreads, y = i / kSquare, x = i % kSquare;
      if (corner.top + y >= shape.height || corner.left + x >= w) continue;
      const int64_t u = corner.pixel(w, y, x);
      if (square.open[root[k]]) {
        start_search(family, u, forest.pick[u]);
        continue;
      }
      // The first member stands for them all from here on, so that nobody else has to be asked whether it is the first.
      const int32_t smallest = square.smallest[root[k]];
      family.root[u] = static_cast<int32_t>(corner.pixel(w, smallest / kSquare, smallest % kSquare));
      family.rank[u] = rank[k];
      if (i == smallest) family.component[u] = {static_cast<int32_t>(u), square.members[root[k]]};
    }
  }
}

// Children that are yet without a component find it.
__global__ void find_components(const Counters* counters, int level, Family family) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  for (int64_t i = grid_thread(); i < range.count; i += grid_size()) {
    const int32_t u = static_cast<int32_t>(i);
    if (family.rank[u] != kUnranked) continue;
    const int32_t root = chase<true>(family.root, u);
    static_cast<volatile int32_t*>(family.root)[u] = root;
    Component* component = family.component + root;
    family.rank[u] = atomicAdd(&component->members_or_start, 1);
    if (u < component->smallest_or_place) atomicMin(&component->smallest_or_place, u);
  }
}

// Enters a parent into the tables of its level. Returns where its children start, `start` unless they are many.
__device__ __forceinline__ int32_t open_parent(const Forest& forest, const Shape& shape, const Images& images, Counters* counters, int level,
                                               const Family& family, const Range& range, int32_t first, int32_t place, int32_t start,
                                               int32_t children) {
  const int64_t row = int64_t(range.start) + range.count - shape.pixels + place;
  if (place >= family.capacity || row >= forest.capacity) return 0;
  const int32_t pixel = level == 0 ? first : forest.first_pixel[range.start - shape.pixels + first];
  forest.first_pixel[row] = pixel;
  family.child_start[place] = start;
  if (shape.within_image(pixel) == 0) images.start[(level + 1) * (shape.batch + 1) + shape.image_of(pixel)] = place;
  if (children <= kLong) return start;
  const int32_t end = range.count - atomicAdd(counters->long_children + level + 1, children);
  family.long_parents[atomicAdd(counters->num_long + level + 1, 1)] = {place, end - children, end};
  return end - children;
}

// Numbers the components of a level, and lays out room for their members.
__global__ void __launch_bounds__(kThreads, 5)
    number_components(Forest forest, Shape shape, Images images, Counters* counters, int level, Family family, unsigned long long* tiles) {
  if (__syncthreads_or(counters->overflow)) return;
  const Range range = level_range(counters, level);
  TileScan scan(tiles, counters->next_tile + level, range.count);
  while (scan.next()) {
    int32_t root[kTileItems], members[kTileItems];  // of the component that begins at each item
    Component component[kTileItems];
    Pair total{0, 0};
    scan.read(family.root, range.count, -1, root);
    // Nobody after the root is the smallest member.
#pragma unroll
    for (int i = 0; i < kTileItems; ++i) component[i] = scan.item(i) <= root[i] ? family.component[root[i]] : Component{-1, 0};
#pragma unroll
    for (int i = 0; i < kTileItems; ++i) {
      members[i] = component[i].smallest_or_place == scan.item(i) ? component[i].members_or_start : 0;
      if (members[i] > 0) total += {1, members[i] > kLong ? 0 : members[i]};
    }
    Pair before = scan.before(total);
    for (int i = 0; i < kTileItems; ++i) {
      if (members[i] == 0) continue;
      const int32_t start = open_parent(forest, shape, images, counters, level, family, range, scan.item(i), before.first, before.second, members[i]);
      family.component[root[i]] = {before.first, start};
      before += {1, members[i] > kLong ? 0 : members[i]};
    }
    if (!scan.is_last_thread()) continue;
    const int32_t next = range.start + range.count, parents = before.first;
    images.start[(level + 1) * (shape.batch + 1) + shape.batch] = parents;
    counters->level_start[level + 2] = next + parents;
    if (parents > family.capacity || next - shape.pixels + parents > forest.capacity)
      counters->overflow = 1;
    else
      family.child_start[parents] = before.second;
  }
}

// Every child finds its parent, and its place among the parent's children.
__global__ void adopt(Forest forest, const Counters* counters, int level, Family family) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  for (int64_t u = grid_thread(); u < range.count; u += grid_size()) {
    const Component component = family.component[family.root[u]];
    forest.parent[range.start + u] = range.start + range.count + component.smallest_or_place;
    family.child[component.members_or_start + family.rank[u]] = static_cast<int32_t>(u);
  }
}

}  // namespace dht
