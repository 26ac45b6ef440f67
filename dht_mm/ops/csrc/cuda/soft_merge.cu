// CUDA kernels of soft_merge: the regions that are dropped, their most similar neighbours, and the components that they make.
#include <optional>
#include <tuple>

#include "../common/draw.h"
#include "merged_numbers.cuh"

namespace dht {
namespace {

struct Draw {
  bool random;
  uint64_t seed;
};

// One block an image: orders the regions and starts each with its self edge, which weighs 1 where it is kept and 0 where it is dropped.
__global__ void drop_regions(Regions regions, const int32_t* size, const Box* box, int32_t target, Draw draw, uint64_t* keys,
                             int32_t* dropped, unsigned long long* best) {
  const int64_t first = regions.offsets[blockIdx.x];
  const int32_t count = static_cast<int32_t>(num_regions(regions, blockIdx.x));
  keys += first;
  uint64_t whole = 0;
  if (draw.random) {
    for (int32_t u = threadIdx.x; u < count; u += kThreads) whole += mix_region(size[first + u], box[first + u]);
    whole = sum_in_block(whole);
  }
  for (int32_t u = threadIdx.x; u < count; u += kThreads)
    keys[u] = draw.random ? draw_key(whole, draw.seed, int64_t(u) - count, size[first + u]) : (uint64_t(size[first + u]) << 32) | u;
  __syncthreads();
  Cut cut{~uint64_t(0), kAllTies};
  int64_t last_tie = INT32_MAX;
  if (count > target) cut = smallest_keys(count, target, [&](int32_t u) { return keys[u]; });
  if (cut.ties != kAllTies)
    last_tie = static_cast<int64_t>(
        smallest_keys(count, cut.ties, [&](int32_t u) { return keys[u] == cut.key ? uint64_t(u) : ~uint64_t(0); }).key);
  for (int32_t u = threadIdx.x; u < count; u += kThreads) {
    const bool drop = keys[u] > cut.key || (keys[u] == cut.key && u > last_tie);
    dropped[first + u] = drop;
    best[first + u] = (uint64_t(drop ? 0 : 65535) << 32) | u;
  }
}

// Offers each end of a border the other one.
__device__ void offer(const float* color, int32_t channels, Kernel kernel, const int32_t* dropped, int64_t first, int32_t u, int32_t v,
                      unsigned long long* best) {
  const bool open = dropped[first + u] || dropped[first + v];
  const Features first_color{color + (first + u) * channels, 1}, second_color{color + (first + v) * channels, 1};
  const double weight = open ? similarity(kernel, first_color, second_color, channels) : 0.0;
  const unsigned long long to_second = edge_key(weight, v), to_first = edge_key(weight, u);
  if (best[first + u] < to_second) atomicMax(best + first + u, to_second);
  if (best[first + v] < to_first) atomicMax(best + first + v, to_first);
}

// Pixels look to the right and down; a border that continues that of the pixel before says nothing new.
__global__ void offer_borders(Regions regions, const float* color, int32_t channels, Kernel kernel, const int32_t* dropped,
                              unsigned long long* best) {
  const int32_t w = regions.width;
  for (int64_t i = grid_thread(); i < regions.batch * regions.num_pixels; i += grid_size()) {
    const int32_t image = static_cast<int32_t>(i / regions.num_pixels), within = static_cast<int32_t>(i % regions.num_pixels);
    const int32_t y = within / w, x = within % w;
    const int32_t *label = regions.labels + i, mine = *label;
    const int64_t first = regions.offsets[image];
    if (x + 1 < w && label[1] != mine && !(y > 0 && label[-w] == mine && label[1 - w] == label[1]))
      offer(color, channels, kernel, dropped, first, mine, label[1], best);
    if (y + 1 < regions.height && label[w] != mine && !(x > 0 && label[-1] == mine && label[w - 1] == label[w]))
      offer(color, channels, kernel, dropped, first, mine, label[w], best);
  }
}

// One block an image: components of the picks. Mutual picks point at the smaller of the two, which makes every path end.
__global__ void join_picks(Regions regions, const unsigned long long* best, int32_t* root, int32_t* smallest, int32_t* first,
                           int32_t* parent, int32_t* counts) {
  const int64_t start = regions.offsets[blockIdx.x];
  const int32_t count = static_cast<int32_t>(num_regions(regions, blockIdx.x));
  best += start, root += start, smallest += start, first += start;
  for (int32_t u = threadIdx.x; u < count; u += kThreads) {
    const int32_t other = static_cast<int32_t>(best[u]), back = static_cast<int32_t>(best[other]);
    root[u] = back == u && u < other ? u : other;
    smallest[u] = INT32_MAX;
  }
  __syncthreads();
  volatile int32_t* path = root;
  for (int32_t u = threadIdx.x; u < count; u += kThreads) {
    int32_t node = path[u];
    for (int32_t above = path[node]; above != node; above = path[node]) node = above;
    path[u] = node;
    atomicMin(smallest + node, u);
  }
  __syncthreads();
  for (int32_t u = threadIdx.x; u < count; u += kThreads) first[u] = smallest[root[u]];
  __syncthreads();
  const int32_t merged = number_merged(count, first, root, parent + start);
  if (threadIdx.x == 0) counts[blockIdx.x] = merged;
}

}  // namespace

std::tuple<Tensor, Tensor> soft_merge_cuda(const Tensor& labels, const Tensor& offsets, const Tensor& size, const Tensor& bbox,
                                           const Tensor& color, int64_t target, std::optional<int64_t> seed, int64_t kernel) {
  const torch::stable::accelerator::DeviceGuard guard(labels.get_device_index());
  const Regions regions = regions_of(labels, offsets, size.size(0));
  const Tensor parent = empty_on(labels, {regions.total}, ScalarType::Int);
  const Tensor merged = torch::stable::new_zeros(labels, {regions.batch + int64_t(1)}, ScalarType::Int);
  if (regions.batch == 0) return {parent, merged};
  const Tensor keys = empty_on(labels, {regions.total}, ScalarType::Long), best = empty_on(labels, {regions.total}, ScalarType::Long);
  const Tensor scratch = empty_on(labels, {3, regions.total}, ScalarType::Int), counts = empty_on(labels, {regions.batch}, ScalarType::Int);
  int32_t *a = mutable_data<int32_t>(scratch), *b = a + regions.total, *c = b + regions.total;
  const int32_t kept = static_cast<int32_t>(target < INT32_MAX ? target : INT32_MAX);
  auto* picks = mutable_data<unsigned long long>(best);
  const cudaStream_t stream = current_stream(labels);
  drop_regions<<<regions.batch, kThreads, 0, stream>>>(regions, data<int32_t>(size), data<Box>(bbox), kept,
                                                       {seed.has_value(), static_cast<uint64_t>(seed.value_or(0))},
                                                       mutable_data<uint64_t>(keys), a, picks);
  offer_borders<<<blocks_for(regions.batch * regions.num_pixels), kThreads, 0, stream>>>(
      regions, data<float>(color), static_cast<int32_t>(color.size(1)), static_cast<Kernel>(kernel), a, picks);
  join_picks<<<regions.batch, kThreads, 0, stream>>>(regions, picks, a, b, c, mutable_data<int32_t>(parent), mutable_data<int32_t>(counts));
  pack_numbers<<<regions.batch, kThreads, 0, stream>>>(regions, data<int32_t>(counts), mutable_data<int32_t>(merged),
                                                       mutable_data<int32_t>(parent));
  check(cudaGetLastError(), "launching a kernel");
  return {parent, merged};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("soft_merge", TORCH_BOX(&dht::soft_merge_cuda)); }
