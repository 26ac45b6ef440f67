// Regions of a batch as the kernels read them: labels of every image, and where each image's rows of the packed fields start.
#pragma once

#include "exact_math.h"
#include "tensors.h"

namespace dht {

struct Regions {
  const int32_t* labels;   // [B, H, W]
  const int32_t* offsets;  // [B + 1]
  int32_t batch, height, width;
  int64_t num_pixels, total;
};

inline Regions regions_of(const Tensor& labels, const Tensor& offsets, int64_t total) {
  const int64_t height = labels.size(1), width = labels.size(2);
  require(height > 0 && width > 0 && height <= INT32_MAX / width, "labels must have 1 to 2^31 - 1 pixels an image, got ",
                  height, " x ", width);
  return {data<int32_t>(labels), data<int32_t>(offsets), static_cast<int32_t>(labels.size(0)), static_cast<int32_t>(height),
          static_cast<int32_t>(width), height * width, total};
}

// The image that a row belongs to.
DHT_HD int32_t image_of(const Regions& regions, int64_t row) {
  int32_t low = 0, high = regions.batch - 1;
  while (low < high) {
    const int32_t middle = low + (high - low) / 2;
    if (row < regions.offsets[middle + 1])
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

DHT_HD int64_t num_regions(const Regions& regions, int64_t image) { return int64_t{regions.offsets[image + 1]} - regions.offsets[image]; }

}  // namespace dht
