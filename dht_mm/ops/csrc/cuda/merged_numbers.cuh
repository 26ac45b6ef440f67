// Numbering of merged regions: within each image by a block of its own, then image after image.
#pragma once

#include "../common/regions.h"
#include "block.cuh"
#include "launch.cuh"

namespace dht {

// Numbers regions in the order of the smallest label of their component, `first[u]`. Called by a whole block; returns how many there are.
// `number` is scratch memory.
__device__ __forceinline__ int32_t number_merged(int32_t count, const int32_t* first, int32_t* number, int32_t* parent) {
  int32_t place = 0;
  for (int32_t start = 0; start < count; start += blockDim.x) {
    const int32_t u = start + threadIdx.x;
    const bool is_first = u < count && first[u] == u;
    const int2 within = place_in_block(is_first);
    if (is_first) number[u] = place + within.x;
    place += within.y;
  }
  __syncthreads();
  for (int32_t u = threadIdx.x; u < count; u += blockDim.x) parent[u] = number[first[u]];
  return place;
}

// Turns numbers within images into rows of the merged partition. One block an image.
static __global__ void pack_numbers(Regions regions, const int32_t* counts, int32_t* offsets, int32_t* parent) {
  const int32_t image = blockIdx.x;
  uint64_t before = 0;
  for (int32_t i = threadIdx.x; i < image; i += blockDim.x) before += counts[i];
  const int32_t start = static_cast<int32_t>(sum_in_block(before));
  for (int32_t row = regions.offsets[image] + threadIdx.x; row < regions.offsets[image + 1]; row += blockDim.x) parent[row] += start;
  if (threadIdx.x != 0) return;
  if (image == 0) offsets[0] = 0;
  offsets[image + 1] = start + counts[image];
}

}  // namespace dht
