// Bilinear samples of the boxes of regions: the rules of reference/region_pixels.py, forward and backward.
// Weights stay integers, in units of 1 / steps along each axis, so that a point that should meet a pixel meets it exactly.
#pragma once

#include "edge_weight.h"
#include "fixed_point.h"
#include "regions.h"

namespace dht {

// Points that run linearly from `low` to `low + extent`, both included. A single point lies at `low`.
struct Axis {
  int32_t low, extent, points, steps;
};

struct Crop {
  Regions regions;
  const Box* bbox;  // [R]
  int32_t channels, points;
};

// One region's box, moved into the image where it is not.
struct Region {
  Axis y, x;
  int32_t image, label;
};

inline Crop crop_of(const Tensor& labels, const Tensor& offsets, const Tensor& bbox, int64_t channels, int64_t points) {
  const Regions regions = regions_of(labels, offsets, bbox.size(0));
  const int64_t longest = regions.height > regions.width ? regions.height : regions.width;
  require(points <= INT32_MAX / (longest + 1), "patch_size must be below 2^31 / the image's side, got ", points);
  return {regions, data<Box>(bbox), static_cast<int32_t>(channels), static_cast<int32_t>(points)};
}

DHT_HD Axis axis_of(int32_t low, int32_t high, int32_t length, int32_t points) {
  low = clamp(low, 0, length - 1);
  return {low, clamp(high, low, length - 1) - low, points, larger(points - 1, 1)};
}

DHT_HD Region region_of(const Crop& crop, int64_t row, int32_t image) {
  const Box box = crop.bbox[row];
  return {axis_of(box.ymin, box.ymax, crop.regions.height, crop.points), axis_of(box.xmin, box.xmax, crop.regions.width, crop.points),
          image, static_cast<int32_t>(row - crop.regions.offsets[image])};
}

DHT_HD Region region_of(const Crop& crop, int64_t row) { return region_of(crop, row, image_of(crop.regions, row)); }

DHT_HD double weight_unit(const Region& region) { return static_cast<double>(region.y.steps) * static_cast<double>(region.x.steps); }

// Along one axis, the two pixels around a point, from the box's first on, and the weight of the second.
struct Between {
  int32_t first, second, weight;
};

DHT_HD Between between_of(const Axis& axis, int32_t point) {
  const int32_t first = axis.extent * point / axis.steps;
  return {first, first + (first < axis.extent), axis.extent * point - first * axis.steps};
}

// What a touched pixel lies under: points `first` to `last` along one axis, none if first > last.
struct Reach {
  int32_t pixel, first, last;
};

// Pixels along an axis that points can touch: all of a short box, the two around each point of a long one.
DHT_HD bool is_long(const Axis& axis) { return axis.extent >= 2 * axis.steps; }
DHT_HD int32_t num_touched(const Axis& axis) { return is_long(axis) ? 2 * axis.points : axis.extent + 1; }

DHT_HD Reach reach_of(const Axis& axis, int32_t touched) {
  if (axis.extent == 0) return {axis.low, 0, axis.points - 1};
  const int32_t within = is_long(axis) ? axis.extent * (touched / 2) / axis.steps + touched % 2 : touched;
  const int32_t first = within == 0 ? 0 : (within - 1) * axis.steps / axis.extent + 1;
  return {axis.low + within, first, smaller(((within + 1) * axis.steps - 1) / axis.extent, axis.points - 1)};
}

// Weight of a pixel at a point that reaches it.
DHT_HD double reach_weight(const Axis& axis, const Reach& reach, int32_t point) {
  const int32_t distance = axis.extent * point - (reach.pixel - axis.low) * axis.steps;
  return widen(static_cast<uint32_t>(axis.steps - (distance < 0 ? -distance : distance)));
}

// Units of an image's gradients. The weights of a point add up to one, so no sum exceeds that of all points.
DHT_HD FixedPoint crop_units(const Crop& crop, float largest, int64_t image) {
  return fixed_point(largest, num_regions(crop.regions, image) * crop.points * crop.points);
}

}  // namespace dht
