// Walking over the pixels of regions: a thread goes down a short piece of a column, so that the threads of a warp read neighbouring
// pixels and every thread meets runs of one region, which it adds up before it touches memory that others write to.
#pragma once

#include <cassert>

#include "../common/regions.h"
#include "launch.cuh"

namespace dht {

constexpr int kRun = 8;

// The pixels (y, x) to (y + kRun - 1, x) of an image; those below its last row do not exist.
struct Column {
  int32_t image, y, x;
};

DHT_HD int64_t num_columns(const Regions& regions) {
  return int64_t(regions.batch) * ((int64_t(regions.height) + kRun - 1) / kRun) * regions.width;
}

__device__ __forceinline__ Column column_at(const Regions& regions, int64_t index) {
  const int32_t x = static_cast<int32_t>(index % regions.width), chunks = (regions.height - 1) / kRun + 1;
  const int64_t chunk = index / regions.width;
  return {static_cast<int32_t>(chunk / chunks), static_cast<int32_t>(chunk % chunks) * kRun, x};
}

__device__ __forceinline__ int64_t first_pixel(const Regions& regions, const Column& column) {
  return column.image * regions.num_pixels + int64_t(column.y) * regions.width + column.x;
}

// Rows of the packed fields that regions have; further ones are of no region. None has one where the regions did not fit.
__device__ __forceinline__ int64_t used_rows(const Regions& regions) { return regions.offsets[regions.batch]; }

// Row of a label in the packed fields. Where the regions did not fit, every label and every row is 0.
__device__ __forceinline__ int64_t row_of(const Regions& regions, int64_t image, int32_t label) {
  const int32_t first = regions.offsets[image];
  assert(label >= 0 && first + int64_t(label) < regions.total);
  assert(label < regions.offsets[image + 1] - first || (label == 0 && used_rows(regions) == 0));
  return first + int64_t(label);
}

// Rows of a column's pixels, -1 for those that do not exist.
__device__ __forceinline__ void load_rows(const Regions& regions, const Column& column, int64_t (&row)[kRun]) {
  const int32_t* label = regions.labels + first_pixel(regions, column);
#pragma unroll
  for (int k = 0; k < kRun; ++k)
    row[k] = column.y + k < regions.height ? row_of(regions, column.image, label[int64_t(k) * regions.width]) : -1;
}

}  // namespace dht
