// What the CPU kernels on regions share.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "../common/fixed_point.h"
#include "../common/regions.h"
#include "simd.h"

namespace dht {

// Largest of unsigned integers; negative ones read as unsigned are larger than all others.
DHT_SIMD static uint32_t largest_of(const uint32_t* values, int64_t count, uint32_t mask) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, values[i] & mask);
  return largest;
}

// Raises unless every label has a row. The GPU cannot tell without waiting; there, a bad label stops the kernel.
inline void check_rows(const Regions& regions) {
  for (int64_t image = 0; image < regions.batch; ++image) {
    const int32_t* labels = regions.labels + image * regions.num_pixels;
    const uint32_t largest = largest_of(reinterpret_cast<const uint32_t*>(labels), regions.num_pixels, ~0u);
    require(regions.offsets[image] >= 0 && largest < num_regions(regions, image),
                    "labels must be in the range that offsets gives their image, image ", image, " is not");
  }
  require(regions.offsets[regions.batch] <= regions.total, "offsets must end at the number of regions ", regions.total, ", got ",
                  regions.offsets[regions.batch]);
}

// Zeros in the rows of no region.
inline void clear_rows(const Regions& regions, const Tensor& rows) {
  const int64_t values = regions.total > 0 ? rows.numel() / regions.total : 0;
  std::fill(mutable_data<float>(rows) + regions.offsets[regions.batch] * values, mutable_data<float>(rows) + rows.numel(), 0.0f);
}

// Calls `work(image)` for every image, images in parallel.
template <class Work>
void for_each_image(const Regions& regions, const Work& work) {
  torch::stable::parallel_for(0, regions.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) work(image);
  });
}

// Largest absolute value; NaN or infinity where there is one: magnitudes order as their bits do, NaN last.
inline float largest_magnitude(const float* values, int64_t count) {
  const uint32_t largest = largest_of(reinterpret_cast<const uint32_t*>(values), count, 0x7FFFFFFFu);
  float value;
  std::memcpy(&value, &largest, sizeof value);
  return value;
}

}  // namespace dht
