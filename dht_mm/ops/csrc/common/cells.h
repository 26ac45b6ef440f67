// Square cells over the images of a batch: the rules of reference/pool_cells.py.
#pragma once

#include "edge_weight.h"
#include "fixed_point.h"
#include "regions.h"

namespace dht {

struct Cells {
  Regions regions;
  int32_t stride, rows, columns;
};

// Where a cell lies; those at the right and bottom border can be cut off.
struct Cell {
  int64_t image, first_pixel;  // the pixel counts within its image
  int32_t height, width;
};

inline Cells cells_of(const Tensor& labels, const Tensor& offsets, int64_t total, int64_t stride) {
  const Regions regions = regions_of(labels, offsets, total);
  const int64_t longest = regions.height > regions.width ? regions.height : regions.width;
  const int32_t side = static_cast<int32_t>(stride < longest ? stride : longest);
  return {regions, side, (regions.height - 1) / side + 1, (regions.width - 1) / side + 1};
}

DHT_HD int64_t cells_per_image(const Cells& cells) { return int64_t(cells.rows) * cells.columns; }

DHT_HD Cell cell_at(const Cells& cells, int64_t index) {
  const int64_t row = index / cells.columns;
  const int32_t x = static_cast<int32_t>(index % cells.columns) * cells.stride, y = static_cast<int32_t>(row % cells.rows) * cells.stride;
  return {row / cells.rows, int64_t(y) * cells.regions.width + x, smaller(cells.stride, cells.regions.height - y),
          smaller(cells.stride, cells.regions.width - x)};
}

// Units of an image's gradients: a cell hands at most its own gradient to a region.
DHT_HD FixedPoint cell_units(const Cells& cells, float largest) { return fixed_point(largest, cells_per_image(cells)); }

}  // namespace dht
