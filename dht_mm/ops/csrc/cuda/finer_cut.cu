// CUDA kernels of finer_cut: a level for each image, then its rows and labels. Where the number of rows is not given it is read back.
#include <optional>
#include <tuple>

#include "../common/finer_cut.h"
#include "block.cuh"
#include "launch.cuh"

namespace dht {
namespace {

__global__ void choose_sources(Hierarchy hierarchy, int64_t least, int64_t target, Source* sources) {
  for (int64_t image = grid_thread(); image < hierarchy.regions.batch; image += grid_size())
    sources[image] = choose_source(hierarchy, least, target, image);
}

// The images' first rows, one block each. There are none where the regions do not fit into `rows`.
__global__ void place_images(Hierarchy hierarchy, const Source* sources, int64_t rows, int32_t* num_regions, int32_t* offsets) {
  const int32_t image = blockIdx.x;
  uint64_t before = 0, all = 0;
  for (int32_t i = threadIdx.x; i < hierarchy.regions.batch; i += blockDim.x) {
    const uint64_t count = sources[i].count;
    all += count;
    if (i < image) before += count;
  }
  const auto start = static_cast<int64_t>(sum_in_block(before)), total = static_cast<int64_t>(sum_in_block(all));
  if (threadIdx.x != 0) return;
  const bool fits = hierarchy.exists() && total <= rows;
  const int32_t count = sources[image].count;
  num_regions[image] = fits ? count : -1;
  offsets[image + 1] = fits ? static_cast<int32_t>(start) + count : 0;
  if (image == 0) offsets[0] = 0;
}

// What the regions of the cut are written to.
struct Rows {
  int32_t* node;
  Box* box;
  int32_t* size;
  float* mean;
};

__global__ void copy_rows(Hierarchy hierarchy, const Source* sources, Regions cut, Rows to) {
  const int64_t d = hierarchy.channels, used = cut.offsets[cut.batch];
  for (int64_t i = grid_thread(); i < cut.total * d; i += grid_size()) {
    const int64_t row = i / d, c = i % d;
    if (row >= used) {
      to.mean[i] = 0.0f;
      if (c == 0) to.node[row] = to.size[row] = 0, to.box[row] = {0, 0, 0, 0};
      continue;
    }
    const int32_t image = image_of(cut, row);
    const Source source = sources[image];
    const bool selected = source.level == 0;
    const int64_t from = source.first + (row - cut.offsets[image]), at = selected ? from : from - hierarchy.pixels();
    to.mean[i] = (selected ? hierarchy.mean : hierarchy.node_mean)[at * d + c];
    if (c > 0) continue;
    to.node[row] = selected ? hierarchy.node[at] : static_cast<int32_t>(from);
    to.size[row] = (selected ? hierarchy.size : hierarchy.node_size)[at];
    to.box[row] = (selected ? hierarchy.box : hierarchy.node_box)[at];
  }
}

__global__ void label_pixels(Hierarchy hierarchy, const Source* sources, const int32_t* num_regions, Divider by_image, int32_t* labels) {
  const bool fits = num_regions[0] >= 0;
  for (int64_t u = grid_thread(); u < hierarchy.pixels(); u += grid_size()) {
    const Source source = sources[by_image.quotient(static_cast<int32_t>(u))];
    int32_t node = static_cast<int32_t>(u);
    for (int32_t level = 0; level < source.level; ++level) node = hierarchy.parent[node];
    labels[u] = !fits ? 0 : source.level == 0 ? hierarchy.regions.labels[u] : node - source.first;
  }
}

int64_t read_back(const Tensor& offsets, int64_t batch, cudaStream_t stream) {
  int32_t total = 0;
  check(cudaMemcpyAsync(&total, data<int32_t>(offsets) + batch, sizeof total, cudaMemcpyDeviceToHost, stream), "reading the number of regions");
  check(cudaStreamSynchronize(stream), "choosing levels");
  return total;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> finer_cut_cuda(
    const Tensor& labels, const Tensor& offsets, const Tensor& node, const Tensor& box, const Tensor& size, const Tensor& parent,
    const Tensor& node_size, const Tensor& node_box, const Tensor& mean, const Tensor& node_mean, const Tensor& starts, int64_t least,
    int64_t target, std::optional<int64_t> rows) {
  const torch::stable::accelerator::DeviceGuard guard(labels.get_device_index());
  const Hierarchy hierarchy = hierarchy_of(labels, offsets, node, box, size, parent, node_size, node_box, mean, node_mean, starts);
  const int64_t batch = hierarchy.regions.batch, pixels = hierarchy.pixels();
  const cudaStream_t stream = current_stream(labels);
  const Tensor cut_labels = empty_on(labels, {batch, labels.size(1), labels.size(2)}, ScalarType::Int);
  const Tensor cut_offsets = empty_on(labels, {batch + 1}, ScalarType::Int), num_regions = empty_on(labels, {batch}, ScalarType::Int);
  const Tensor memory = empty_on(labels, {batch * static_cast<int64_t>(sizeof(Source))}, ScalarType::Byte);
  auto* sources = mutable_data<Source>(memory);
  choose_sources<<<blocks_for(batch), kThreads, 0, stream>>>(hierarchy, least, target, sources);
  place_images<<<blocks_of_one(batch), kThreads, 0, stream>>>(hierarchy, sources, rows.value_or(INT32_MAX),
                                                              mutable_data<int32_t>(num_regions), mutable_data<int32_t>(cut_offsets));
  label_pixels<<<blocks_for(pixels), kThreads, 0, stream>>>(hierarchy, sources, data<int32_t>(num_regions),
                                                            Divider(static_cast<int32_t>(hierarchy.regions.num_pixels)),
                                                            mutable_data<int32_t>(cut_labels));
  const int64_t total = rows ? *rows : read_back(cut_offsets, batch, stream);
  const auto [cut_node, cut_box, cut_size, cut_mean] = empty_rows(labels, total, hierarchy.channels);
  if (total > 0)
    copy_rows<<<blocks_for(total * hierarchy.channels), kThreads, 0, stream>>>(
        hierarchy, sources, regions_of(cut_labels, cut_offsets, total),
        {mutable_data<int32_t>(cut_node), mutable_data<Box>(cut_box), mutable_data<int32_t>(cut_size), mutable_data<float>(cut_mean)});
  check(cudaGetLastError(), "launching a kernel");
  return {cut_labels, num_regions, cut_offsets, cut_node, cut_box, cut_size, cut_mean};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("finer_cut", TORCH_BOX(&dht::finer_cut_cuda)); }
