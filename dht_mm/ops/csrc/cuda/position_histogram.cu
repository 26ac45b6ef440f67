// CUDA kernel of position_histogram.
#include "histogram.cuh"

namespace dht {
namespace {

__global__ void count_positions(Regions regions, int32_t grid_y, int32_t grid_x, int64_t columns, int32_t* counts) {
  for (int64_t i = grid_thread(); i < columns; i += grid_size()) {
    const Column column = column_at(regions, i);
    const int32_t across = position_cell(column.x, grid_x, regions.width);
    int64_t cell[kRun];
    load_rows(regions, column, cell);
#pragma unroll
    for (int k = 0; k < kRun; ++k)
      if (cell[k] >= 0) cell[k] = (cell[k] * grid_y + position_cell(column.y + k, grid_y, regions.height)) * grid_x + across;
    count_cells(cell, counts);
  }
}

}  // namespace

Tensor position_histogram_cuda(const Tensor& labels, const Tensor& offsets, int64_t total_regions, int64_t grid_y, int64_t grid_x) {
  const torch::stable::accelerator::DeviceGuard guard(labels.get_device_index());
  const Regions regions = regions_of(labels, offsets, total_regions);
  const Tensor counts = zeros_on(labels, {total_regions, grid_y * grid_x}, ScalarType::Int);
  const int64_t columns = num_columns(regions);
  count_positions<<<blocks_for(columns), kThreads, 0, current_stream(labels)>>>(
      regions, static_cast<int32_t>(grid_y), static_cast<int32_t>(grid_x), columns, mutable_data<int32_t>(counts));
  check(cudaGetLastError(), "launching a kernel");
  return counts;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("position_histogram", TORCH_BOX(&dht::position_histogram_cuda)); }
