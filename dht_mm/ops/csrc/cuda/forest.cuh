// The tables that the kernels of the hierarchy share.
#pragma once

#include "../common/criterion.h"
#include "../common/edge_weight.h"
#include "../common/moments.h"
#include "launch.cuh"

namespace dht {

constexpr int kMaxLevels = 18;  // levels of an image of 2^31 pixels, the pixels and the whole image included

// Counters on the device; the host reads them once, at the end.
struct Counters {
  int32_t level_start[kMaxLevels + 2];  // first node of each level; pixels are level 0
  int32_t num_edges[kMaxLevels + 2];
  int32_t num_long[kMaxLevels + 2];     // parents with many children, and these children
  int32_t long_children[kMaxLevels + 2];
  int32_t next_tile[kMaxLevels + 2];    // of the scan over each level; the last one is the scan over the regions
  int32_t blocks_done[kMaxLevels + 2];
  int32_t num_regions;
  int32_t overflow;    // a buffer was too small: the run is repeated with larger ones
  int32_t not_finite;  // a feature was NaN or infinite
};

struct Shape {
  int32_t batch, height, width, num_pixels, channels;
  int64_t pixels;
  Divider by_image, by_row;  // pixels by num_pixels, and within an image by width

  __device__ __forceinline__ int32_t image_of(int64_t pixel) const { return by_image.quotient(static_cast<int32_t>(pixel)); }
  __device__ __forceinline__ int32_t within_image(int64_t pixel) const { return by_image.remainder(static_cast<int32_t>(pixel)); }
  __device__ __forceinline__ int2 place(int64_t pixel) const {
    const int32_t within = within_image(pixel), y = by_row.quotient(within);
    return {within - y * width, y};
  }
};

struct Rules {
  Kernel kernel;
  double compactness;
  Criterion criterion;
  double iota;
  int32_t min_regions;
};

// Nodes of all levels. Arrays with an entry for pixels too start at node 0, the others at the first node of level 1.
struct Forest {
  const float* features;  // [pixels, d]
  int32_t* pick;          // [pixels + nodes]
  int32_t* parent;        // [pixels + nodes]
  float* mean;            // [nodes, d]
  float* variance;        // [nodes, d]
  int32_t* size;          // [nodes]
  Box* box;               // [nodes]
  double* score;          // [nodes]
  double* alpha;          // [nodes], sum of the children's weights
  double* lowest;         // [nodes], smallest best score among the node's pixels
  double* below;          // [nodes], largest score among the node's descendants, pixels left out
  int32_t* first_pixel;   // [nodes]
  int32_t capacity;       // nodes that fit besides the whole images
};

// A root's component: while it grows, its smallest member and number of members; then its place in the next level and where its members
// start among the children of that level. The place is smaller than every member but the smallest, so nobody takes it for that.
struct alignas(8) Component {
  int32_t smallest_or_place, members_or_start;
};

// A parent of more than kLong children, which lie at the end of all children; a block of threads takes care of it.
struct LongParent {
  int32_t place, begin, end;
};

constexpr int32_t kLong = 32;

// The level in the making: how its children find together, and its parents' children side by side.
struct Family {
  int32_t* root;             // [pixels], root of each child's component; on the way there, the node that it picked or one further on
  int32_t* rank;             // [pixels], which member of its component the child is; by chance, and it does not matter
  Component* component;      // [pixels], of the roots
  double* weight;            // [pixels], alpha = m sqrt(w*) of each child
  int32_t* child_start;      // [parents + 1], none for long parents
  int32_t* child;            // [pixels], children of parent after parent
  LongParent* long_parents;  // [pixels / kLong]
  int32_t capacity;          // parents that fit
};

// Rank of a child whose component is yet to be found.
constexpr int32_t kUnranked = -1;

struct Images {
  uint32_t* largest;  // [B] bits of the largest |feature|
  int32_t* start;     // [levels + 1][B + 1] first node of each image within its level
  int32_t* active;    // [levels + 1][B] whether the image is still merged after this level
  int32_t* improved;  // [levels + 1][B]
};

struct Range {
  int32_t start, count;
};

__device__ __forceinline__ Range level_range(const Counters* counters, int level) {
  const int32_t start = counters->level_start[level];
  return {start, counters->level_start[level + 1] - start};
}

__device__ __forceinline__ Units image_units(const Images& images, int32_t image, int32_t num_pixels) {
  return units_of(feature_exponent(__uint_as_float(images.largest[image])), size_bits(num_pixels));
}

}  // namespace dht
