// CUDA kernels of cut_regions: a forest of pixels whose trees are the parts, and the numbers of their roots in raster order.
#include <tuple>

#include "../common/edge_weight.h"
#include "../common/histogram.h"
#include "regions.cuh"
#include "scan.cuh"
#include "union_find.cuh"

namespace dht {
namespace {

struct Cutting {
  Regions regions;
  int32_t grid_y, grid_x;
  int32_t pixels;  // of the batch
  int32_t* root;   // [pixels], a pixel of the same part, before it or itself; in the end -1 - number for the first pixel of a part
};

struct Parts {
  int32_t *labels, *offsets, *size;
  Box* box;
  int32_t* parent;
  int64_t rows;
};

// Whether a pixel is of one part with its neighbour to the left and with that above.
struct Neighbours {
  bool left, above;
};

__device__ __forceinline__ Neighbours neighbours_of(const Cutting& cut, int32_t u) {
  const Regions& regions = cut.regions;
  const int32_t within = static_cast<int32_t>(u % regions.num_pixels), y = within / regions.width, x = within - y * regions.width;
  const int32_t* label = regions.labels + u;
  return {!begins_cell(x, cut.grid_x, regions.width) && label[-1] == label[0],
          !begins_cell(y, cut.grid_y, regions.height) && label[-regions.width] == label[0]};
}

__global__ void link_pixels(Cutting cut) {
  for (int64_t i = grid_thread(); i < cut.pixels; i += grid_size()) {
    const int32_t u = static_cast<int32_t>(i);
    const Neighbours joined = neighbours_of(cut, u);
    cut.root[u] = joined.left ? u - 1 : joined.above ? u - cut.regions.width : u;
  }
}

// Joins what lies above to what lies to the left, where the pixel between the two does not.
__global__ void join_pixels(Cutting cut) {
  const int32_t* label = cut.regions.labels;
  const auto above = [&](int32_t u) -> int32_t& { return cut.root[u]; };
  for (int64_t i = grid_thread(); i < cut.pixels; i += grid_size()) {
    const int32_t u = static_cast<int32_t>(i);
    const Neighbours joined = neighbours_of(cut, u);
    if (joined.left && joined.above && label[u - cut.regions.width - 1] != label[u]) join(above, u, u - cut.regions.width);
  }
}

__global__ void __launch_bounds__(kThreads) number_parts(Cutting cut, Parts parts, unsigned long long* tiles, int32_t* next_tile) {
  const Regions& regions = cut.regions;
  if (used_rows(regions) == 0) return;
  TileScan scan(tiles, next_tile, cut.pixels);
  while (scan.next()) {
    int32_t root[kTileItems];
    Pair total{0, 0};
    scan.read(cut.root, cut.pixels, -1, root);
#pragma unroll
    for (int i = 0; i < kTileItems; ++i) total.first += root[i] == scan.item(i);
    int32_t number = scan.before(total).first;
    for (int i = 0; i < kTileItems; ++i) {
      const int32_t u = scan.item(i);
      if (root[i] != u) continue;
      assert(number < parts.rows && "regions must be connected: they have more parts than cutting can make");
      const int64_t image = u / regions.num_pixels;
      if (u % regions.num_pixels == 0) parts.offsets[image] = number;
      parts.size[number] = 0;
      parts.box[number] = {INT32_MAX, INT32_MAX, -1, -1};
      parts.parent[number] = static_cast<int32_t>(row_of(regions, image, regions.labels[u]));
      cut.root[u] = -1 - number++;
    }
    if (scan.is_last_thread()) parts.offsets[regions.batch] = number;
  }
}

// Number of a pixel's part. Others may have shortened the path, never past its root.
__device__ __forceinline__ int32_t part_of(int32_t* root, int32_t u) {
  volatile int32_t* above = root;
  int32_t node = u, next = above[u];
  while (next >= 0) {
    node = next;
    next = above[node];
  }
  if (node != u) above[u] = node;
  return -1 - next;
}

// A run of a column's pixels adds itself to its part.
__device__ __forceinline__ void add_run(const Parts& parts, int32_t number, const Box& run) {
  Box* box = parts.box + number;
  atomicAdd(parts.size + number, run.ymax - run.ymin + 1);
  if (run.ymin < box->ymin) atomicMin(&box->ymin, run.ymin);
  if (run.xmin < box->xmin) atomicMin(&box->xmin, run.xmin);
  if (run.ymax > box->ymax) atomicMax(&box->ymax, run.ymax);
  if (run.xmax > box->xmax) atomicMax(&box->xmax, run.xmax);
}

// Labels, sizes and boxes; rows of no part become zero.
__global__ void write_parts(Cutting cut, Parts parts) {
  const Regions& regions = cut.regions;
  const int32_t used = parts.offsets[regions.batch];
  for (int64_t row = used + grid_thread(); row < parts.rows; row += grid_size()) {
    parts.size[row] = parts.parent[row] = 0;
    parts.box[row] = {0, 0, 0, 0};
  }
  for (int64_t i = grid_thread(); i < num_columns(regions); i += grid_size()) {
    const Column column = column_at(regions, i);
    const int32_t first = static_cast<int32_t>(first_pixel(regions, column)), rows = min(kRun, regions.height - column.y);
    int32_t start = 0, mine = used == 0 ? 0 : part_of(cut.root, first);
    for (int32_t k = 0; k < rows; ++k) {
      const int32_t u = first + k * regions.width, number = mine;
      parts.labels[u] = number - parts.offsets[column.image];
      if (used == 0) continue;
      if (k + 1 < rows) mine = part_of(cut.root, u + regions.width);
      if (k + 1 < rows && mine == number) continue;
      add_run(parts, number, {column.y + start, column.x, column.y + k, column.x});
      start = k + 1;
    }
  }
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> cut_regions_cuda(const Tensor& labels, const Tensor& offsets, int64_t total_regions,
                                                                    int64_t grid_y, int64_t grid_x, int64_t rows) {
  const torch::stable::accelerator::DeviceGuard guard(labels.get_device_index());
  const Regions regions = regions_of(labels, offsets, total_regions);
  const int64_t pixels = regions.batch * regions.num_pixels;
  require(pixels < (1 << 29), "labels must have fewer than 2^29 pixels in a batch, got ", pixels);
  const Tensor cut_labels = empty_on(labels, {regions.batch, regions.height, regions.width}, ScalarType::Int);
  const Tensor starts = zeros_on(labels, {regions.batch + int64_t(1)}, ScalarType::Int);
  const Tensor size = empty_on(labels, {rows}, ScalarType::Int), box = empty_on(labels, {rows, 4}, ScalarType::Int);
  const Tensor parent = empty_on(labels, {rows}, ScalarType::Int);
  const Tensor root = empty_on(labels, {pixels}, ScalarType::Int);
  const Tensor tiles = zeros_on(labels, {num_tiles(pixels) + 1}, ScalarType::Long);  // the last is the counter of those that are taken
  const Cutting cut{regions, static_cast<int32_t>(grid_y), static_cast<int32_t>(grid_x), static_cast<int32_t>(pixels),
                    mutable_data<int32_t>(root)};
  const Parts parts{mutable_data<int32_t>(cut_labels), mutable_data<int32_t>(starts), mutable_data<int32_t>(size), mutable_data<Box>(box),
                    mutable_data<int32_t>(parent), rows};
  auto* tile = mutable_data<unsigned long long>(tiles);
  const cudaStream_t stream = current_stream(labels);
  if (pixels > 0) {
    link_pixels<<<blocks_for(pixels), kThreads, 0, stream>>>(cut);
    join_pixels<<<blocks_for(pixels), kThreads, 0, stream>>>(cut);
    number_parts<<<blocks_for(num_tiles(pixels) * kThreads), kThreads, 0, stream>>>(cut, parts, tile,
                                                                                  reinterpret_cast<int32_t*>(tile + num_tiles(pixels)));
  }
  write_parts<<<blocks_for(std::max(num_columns(regions), rows)), kThreads, 0, stream>>>(cut, parts);
  check(cudaGetLastError(), "launching a kernel");
  return {cut_labels, starts, size, box, parent};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("cut_regions", TORCH_BOX(&dht::cut_regions_cuda)); }
