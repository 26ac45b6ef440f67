// Counting the pixels of regions by cell.
#pragma once

#include "../common/histogram.h"
#include "regions.cuh"

namespace dht {

// Counts a column's pixels, runs of the same cell at once; -1 is no cell.
__device__ __forceinline__ void count_cells(const int64_t (&cell)[kRun], int32_t* counts) {
  int32_t pixels = 0;
#pragma unroll
  for (int k = 0; k < kRun; ++k) {
    ++pixels;
    if (cell[k] < 0 || (k + 1 < kRun && cell[k + 1] == cell[k])) continue;
    atomicAdd(counts + cell[k], pixels);
    pixels = 0;
  }
}

}  // namespace dht
