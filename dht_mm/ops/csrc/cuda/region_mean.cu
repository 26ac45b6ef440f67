// CUDA kernel of region_mean: fixed-point sums of short columns of pixels, then the division by size.
#include "fixed_point.cuh"
#include "regions.cuh"

namespace dht {
namespace {

__global__ void add_columns(const float* features, Regions regions, int32_t channels, const float* largest, int64_t* sums) {
  const int64_t columns = int64_t(regions.batch) * ((regions.height - 1) / kRun + 1) * regions.width;
  for (int64_t i = grid_thread(); i < columns; i += grid_size()) {
    const Column column = column_at(regions, i);
    const FixedPoint units = fixed_point(largest[column.image], regions.num_pixels);
    int64_t row[kRun];
    load_rows(regions, column, row);
    const float* plane = features + int64_t(column.image) * (channels - 1) * regions.num_pixels + first_pixel(regions, column);
    for (int32_t c = 0; c < channels; ++c, plane += regions.num_pixels) {
      float value[kRun];
#pragma unroll
      for (int k = 0; k < kRun; ++k) value[k] = row[k] < 0 ? 0.0f : plane[int64_t(k) * regions.width];
      int64_t sum = 0;
#pragma unroll
      for (int k = 0; k < kRun; ++k) {
        sum += round_to_int64(static_cast<double>(value[k]) * units.forward);
        if (row[k] < 0 || (k + 1 < kRun && row[k + 1] == row[k])) continue;
        add_atomically(sums + row[k] * channels + c, sum);
        sum = 0;
      }
    }
  }
}

__global__ void divide_by_size(Regions regions, int32_t channels, const float* largest, const int64_t* sums, const int32_t* size,
                               float* mean) {
  for (int64_t i = grid_thread(); i < regions.total * channels; i += grid_size()) {
    const int64_t row = i / channels;
    const FixedPoint units = fixed_point(largest[image_of(regions, row)], regions.num_pixels);
    mean[i] = size[row] > 0 ? static_cast<float>(static_cast<double>(sums[i]) * units.back / size[row]) : 0.0f;
  }
}

}  // namespace

Tensor region_mean_cuda(const Tensor& features, const Tensor& labels, const Tensor& offsets, const Tensor& size) {
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  const Regions regions = regions_of(labels, offsets, size.size(0));
  const int32_t channels = static_cast<int32_t>(features.size(1));
  const Tensor mean = empty_on(features, {regions.total, channels}, ScalarType::Float);
  if (regions.batch == 0 || regions.total * channels == 0) return mean;
  const Tensor sums = zeros_on(features, {regions.total, channels}, ScalarType::Long);
  const Tensor largest = largest_magnitudes(features, nullptr, regions.batch, channels, regions.num_pixels);
  const cudaStream_t stream = current_stream(features);
  add_columns<<<blocks_for(num_columns(regions)), kThreads, 0, stream>>>(data<float>(features), regions, channels, data<float>(largest),
                                                                       mutable_data<int64_t>(sums));
  divide_by_size<<<blocks_for(regions.total * channels), kThreads, 0, stream>>>(
      regions, channels, data<float>(largest), data<int64_t>(sums), data<int32_t>(size), mutable_data<float>(mean));
  check(cudaGetLastError(), "launching a kernel");
  return mean;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("region_mean", TORCH_BOX(&dht::region_mean_cuda)); }
