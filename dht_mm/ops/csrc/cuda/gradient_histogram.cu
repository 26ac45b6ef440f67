// CUDA kernel of gradient_histogram.
#include "histogram.cuh"

namespace dht {
namespace {

__global__ void count_gradients(const float* gradient, Regions regions, int32_t bins, int64_t columns, int32_t* counts) {
  for (int64_t i = grid_thread(); i < columns; i += grid_size()) {
    const Column column = column_at(regions, i);
    const float* along_y = gradient + column.image * regions.num_pixels + first_pixel(regions, column);
    const float* along_x = along_y + regions.num_pixels;
    int64_t cell[kRun];
    load_rows(regions, column, cell);
#pragma unroll
    for (int k = 0; k < kRun; ++k) {
      if (cell[k] < 0) continue;
      const int64_t at = int64_t(k) * regions.width;
      cell[k] = (cell[k] * bins + gradient_bin(along_y[at], bins)) * bins + gradient_bin(along_x[at], bins);
    }
    count_cells(cell, counts);
  }
}

}  // namespace

Tensor gradient_histogram_cuda(const Tensor& gradient, const Tensor& labels, const Tensor& offsets, int64_t total_regions, int64_t bins) {
  const torch::stable::accelerator::DeviceGuard guard(labels.get_device_index());
  const Regions regions = regions_of(labels, offsets, total_regions);
  const Tensor counts = zeros_on(labels, {total_regions, bins * bins}, ScalarType::Int);
  const int64_t columns = num_columns(regions);
  count_gradients<<<blocks_for(columns), kThreads, 0, current_stream(labels)>>>(data<float>(gradient), regions, static_cast<int32_t>(bins),
                                                                              columns, mutable_data<int32_t>(counts));
  check(cudaGetLastError(), "launching a kernel");
  return counts;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("gradient_histogram", TORCH_BOX(&dht::gradient_histogram_cuda)); }
