// Launch shapes, streams and the tables that every kernel of the hierarchy reads.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/criterion.h"
#include "../common/edge_weight.h"
#include "../common/moments.h"
#include "../common/tensors.h"

namespace dht {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 1056;  // eight blocks on each of 132 multiprocessors; also bounds the block sums of a scan
constexpr int kMaxLevels = 18;    // levels of an image of 2^31 pixels, the pixels and the whole image included

inline int blocks_for(int64_t work) {
  const int64_t blocks = (work + kThreads - 1) / kThreads;
  return static_cast<int>(blocks < 1 ? 1 : blocks > kMaxBlocks ? kMaxBlocks : blocks);
}

// One block for each of `count` things.
inline unsigned blocks_of_one(int64_t count) {
  STD_TORCH_CHECK(count <= INT32_MAX, "the batch is too large for a kernel, it needs ", count, " blocks");
  return static_cast<unsigned>(count);
}

inline void check(cudaError_t status, const char* what) {
  STD_TORCH_CHECK(status == cudaSuccess, what, ": ", cudaGetErrorString(status));
}

inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream);
  return static_cast<cudaStream_t>(stream);
}

// Counters on the device; the host reads them once, at the end.
struct Counters {
  int32_t level_start[kMaxLevels + 2];  // first node of each level; pixels are level 0
  int32_t num_edges[kMaxLevels + 2];
  int32_t num_regions;
  int32_t num_slots;   // sums that spilled children use
  int32_t overflow;    // a buffer was too small: the run is repeated with larger ones
  int32_t not_finite;  // a feature was NaN or infinite
};

struct Shape {
  int32_t batch, height, width, num_pixels, channels;
  int64_t pixels;
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

// Children of the parents under construction. A parent adds up the first few itself, from a list; those beyond are added by atomics to
// a slot of fixed-point sums. Which children come first is left to chance, and does not matter: integer sums have no order.
struct Family {
  int32_t* children;  // [parents]
  int32_t* head;      // [parents], child that starts the list
  int32_t* next;      // [pixels], next child of the same parent; kSpilled for a child that is not in the list
  int32_t* slot;      // [parents], where the spilled children of the parent are summed
  int64_t* sums;      // [slots, 1 + 2 d], zero at the beginning
  int32_t capacity;   // parents that fit
};

constexpr int32_t kListed = 32, kEnd = -1, kSpilled = -2;

struct Images {
  uint32_t* largest;     // [B] bits of the largest |feature|
  int32_t* start;        // [levels + 1][B + 1] first node of each image within its level
  int32_t* active;       // [levels + 1][B] whether the image is still merged after this level
  int32_t* improved;     // [levels + 1][B]
};

__device__ __forceinline__ int64_t grid_thread() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t grid_size() { return int64_t(gridDim.x) * blockDim.x; }

__device__ __forceinline__ Units image_units(const Images& images, int32_t image, int32_t num_pixels) {
  return units_of(feature_exponent(__uint_as_float(images.largest[image])), size_bits(num_pixels));
}

}  // namespace dht
