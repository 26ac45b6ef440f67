// CUDA kernels of unite_regions and united_mean.
#include <tuple>

#include "../common/edge_weight.h"
#include "fixed_point.cuh"
#include "regions.cuh"

namespace dht {
namespace {

// One block an image: sizes and boxes of its united regions. All blocks clear the rows of no region.
__global__ void unite_boxes(Regions regions, const int32_t* size, const Box* box, const int32_t* parent, const int32_t* merged_offsets,
                            int64_t total, int32_t* merged_size, Box* merged_box) {
  const int32_t image = blockIdx.x;
  for (int64_t row = merged_offsets[regions.batch] + grid_thread(); row < total; row += grid_size()) {
    merged_size[row] = 0;
    merged_box[row] = {0, 0, 0, 0};
  }
  for (int64_t row = merged_offsets[image] + threadIdx.x; row < min(int64_t(merged_offsets[image + 1]), total); row += kThreads) {
    merged_size[row] = 0;
    merged_box[row] = {INT32_MAX, INT32_MAX, -1, -1};
  }
  __syncthreads();
  for (int32_t row = regions.offsets[image] + threadIdx.x; row < regions.offsets[image + 1]; row += kThreads) {
    const int32_t to = parent[row];
    assert(to >= merged_offsets[image] && to < merged_offsets[image + 1] && to < total);
    atomicAdd(merged_size + to, size[row]);
    atomicMin(&merged_box[to].ymin, box[row].ymin);
    atomicMin(&merged_box[to].xmin, box[row].xmin);
    atomicMax(&merged_box[to].ymax, box[row].ymax);
    atomicMax(&merged_box[to].xmax, box[row].xmax);
  }
}

__global__ void relabel_pixels(Regions regions, const int32_t* parent, const int32_t* merged_offsets, int32_t* merged) {
  for (int64_t i = grid_thread(); i < regions.batch * regions.num_pixels; i += grid_size()) {
    const int64_t image = i / regions.num_pixels;
    merged[i] = max(parent[row_of(regions, image, regions.labels[i])] - merged_offsets[image], 0);
  }
}

// Rows of regions with their values, and where they go.
struct Rows {
  const float* mean;
  const int32_t *size, *parent, *united_size;
  int32_t channels, num_pixels;
};

__device__ __forceinline__ FixedPoint row_units(const Regions& regions, const Rows& rows, const float* largest, int64_t row) {
  return fixed_point(largest[image_of(regions, row)], rows.num_pixels);
}

__global__ void add_means(Regions regions, Rows rows, const float* largest, int64_t* sums) {
  for (int64_t i = grid_thread(); i < used_rows(regions) * rows.channels; i += grid_size()) {
    const int64_t row = i / rows.channels, c = i % rows.channels;
    const double term = static_cast<double>(rows.size[row]) * static_cast<double>(rows.mean[i]);
    const int64_t units = round_to_int64(term * row_units(regions, rows, largest, row).forward);
    add_atomically(sums + int64_t(rows.parent[row]) * rows.channels + c, units);
  }
}

// All parts of a region write the same value.
__global__ void divide_sums(Regions regions, Rows rows, const float* largest, const int64_t* sums, float* united) {
  for (int64_t i = grid_thread(); i < used_rows(regions) * rows.channels; i += grid_size()) {
    const int64_t row = i / rows.channels, at = int64_t(rows.parent[row]) * rows.channels + i % rows.channels;
    const int32_t whole = rows.united_size[rows.parent[row]];
    const double sum = static_cast<double>(sums[at]) * row_units(regions, rows, largest, row).back;
    united[at] = rows.size[row] == whole ? rows.mean[i] : static_cast<float>(sum / whole);
  }
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> unite_regions_cuda(const Tensor& labels, const Tensor& offsets, const Tensor& size, const Tensor& bbox,
                                                      const Tensor& parent, const Tensor& merged_offsets, int64_t total) {
  const torch::stable::accelerator::DeviceGuard guard(labels.get_device_index());
  const Regions regions = regions_of(labels, offsets, size.size(0));
  const Tensor merged = empty_on(labels, {regions.batch, regions.height, regions.width}, ScalarType::Int);
  const Tensor merged_size = empty_on(labels, {total}, ScalarType::Int), merged_box = empty_on(labels, {total, 4}, ScalarType::Int);
  if (regions.batch == 0) return {merged, merged_size, merged_box};
  const cudaStream_t stream = current_stream(labels);
  unite_boxes<<<regions.batch, kThreads, 0, stream>>>(regions, data<int32_t>(size), data<Box>(bbox), data<int32_t>(parent),
                                                      data<int32_t>(merged_offsets), total, mutable_data<int32_t>(merged_size),
                                                      mutable_data<Box>(merged_box));
  relabel_pixels<<<blocks_for(regions.batch * regions.num_pixels), kThreads, 0, stream>>>(
      regions, data<int32_t>(parent), data<int32_t>(merged_offsets), mutable_data<int32_t>(merged));
  check(cudaGetLastError(), "launching a kernel");
  return {merged, merged_size, merged_box};
}

Tensor united_mean_cuda(const Tensor& mean, const Tensor& offsets, const Tensor& size, const Tensor& parent, const Tensor& united_size,
                        int64_t num_pixels) {
  const torch::stable::accelerator::DeviceGuard guard(mean.get_device_index());
  const int64_t total = mean.size(0), channels = mean.size(1), batch = offsets.size(0) - 1;
  const Tensor united = zeros_on(mean, {united_size.size(0), channels}, ScalarType::Float);
  if (total * channels == 0) return united;
  const Tensor sums = zeros_on(mean, {united_size.size(0), channels}, ScalarType::Long);
  const Tensor largest = largest_magnitudes(mean, data<int32_t>(offsets), batch, (total + batch - 1) / batch, channels);
  const Regions regions{nullptr, data<int32_t>(offsets), static_cast<int32_t>(batch), 0, 0, num_pixels, total};
  const Rows rows{data<float>(mean), data<int32_t>(size), data<int32_t>(parent), data<int32_t>(united_size),
                  static_cast<int32_t>(channels), static_cast<int32_t>(num_pixels)};
  const cudaStream_t stream = current_stream(mean);
  add_means<<<blocks_for(total * channels), kThreads, 0, stream>>>(regions, rows, data<float>(largest), mutable_data<int64_t>(sums));
  divide_sums<<<blocks_for(total * channels), kThreads, 0, stream>>>(regions, rows, data<float>(largest), data<int64_t>(sums),
                                                                    mutable_data<float>(united));
  check(cudaGetLastError(), "launching a kernel");
  return united;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) {
  m.impl("unite_regions", TORCH_BOX(&dht::unite_regions_cuda));
  m.impl("united_mean", TORCH_BOX(&dht::united_mean_cuda));
}
