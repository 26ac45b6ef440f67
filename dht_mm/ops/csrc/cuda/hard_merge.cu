// CUDA kernels of hard_merge: moments and borders of all regions, then all rounds of an image within one block.
#include <tuple>

#include "../common/code_length.h"
#include "edge_table.cuh"
#include "fixed_point.cuh"
#include "merged_numbers.cuh"
#include "regions.cuh"

namespace dht {
namespace {

constexpr int kRoundThreads = 512;

// Sums of values and products over short columns of pixels, added up where the region ends.
__global__ void __launch_bounds__(kThreads, 4)
    add_moments(const float* pixels, Regions regions, int32_t channels, const float* largest, int64_t* moments) {
  for (int64_t i = grid_thread(); i < num_columns(regions); i += grid_size()) {
    const Column column = column_at(regions, i);
    const float scale = static_cast<float>(power_of_two(-value_exponent(largest[column.image], regions.num_pixels)));
    int64_t row[kRun];
    load_rows(regions, column, row);
    const float* first = pixels + int64_t(column.image) * (channels - 1) * regions.num_pixels + first_pixel(regions, column);
    const auto load = [&](int32_t channel, int32_t (&value)[kRun]) {
#pragma unroll
      for (int k = 0; k < kRun; ++k)
        value[k] = row[k] < 0 ? 0 : __float2int_rn(first[channel * regions.num_pixels + int64_t(k) * regions.width] * scale);
    };
    const auto add = [&](int32_t moment, const auto& term) {
      int64_t sum = 0;
#pragma unroll
      for (int k = 0; k < kRun; ++k) {
        sum += term(k);
        if (row[k] < 0 || (k + 1 < kRun && row[k + 1] == row[k])) continue;
        add_atomically(moments + row[k] * num_moments(channels) + moment, sum);
        sum = 0;
      }
    };
    for (int32_t c = 0; c < channels; ++c) {
      int32_t value[kRun], other[kRun];
      load(c, value);
      add(c, [&](int k) { return int64_t(value[k]); });
      for (int32_t d = 0; d <= c; ++d) {
        load(d, other);
        add(channels + entry(c, d), [&](int k) { return int64_t(value[k]) * other[k]; });
      }
    }
  }
}

// What a merge works on. Arrays start at the first region of the batch.
struct Merging {
  int64_t* moments;          // [R, num_moments]
  unsigned long long* best;  // [R] key of each region's cheapest edge; 0 for those that a round changed
  unsigned long long* pairs; // [R] mutual pairs of a round
  double* length;            // [R] code lengths
  int32_t *size, *border;    // [R]
  int32_t *root, *first, *number;  // [R]
  EdgeTable edges, next;
};

__device__ EdgeTable of_image(const EdgeTable& table, int64_t first, int64_t regions) {
  const int64_t start = edge_capacity(first);
  return {table.key + start, table.length + start, table.cost + start, static_cast<int32_t>(edge_capacity(regions))};
}

// The arrays of one image.
__device__ Merging of_image(Merging all, const Regions& regions, int64_t image, int channels) {
  const int64_t first = regions.offsets[image], count = num_regions(regions, image);
  return {all.moments + first * num_moments(channels), all.best + first, all.pairs + first, all.length + first, all.size + first,
          all.border + first, all.root + first, all.first + first, all.number + first, of_image(all.edges, first, count),
          of_image(all.next, first, count)};
}

// Sides between pixels and their right and lower neighbours.
__global__ void count_borders(Regions regions, EdgeTable all) {
  const int32_t w = regions.width;
  for (int64_t i = grid_thread(); i < num_columns(regions); i += grid_size()) {
    const Column column = column_at(regions, i);
    const int32_t* label = regions.labels + first_pixel(regions, column);
    const EdgeTable edges = of_image(all, regions.offsets[column.image], num_regions(regions, column.image));
    const int32_t rows = min(kRun, regions.height - column.y);
    int32_t sides = 0;  // of the border to the right that is being followed
    for (int32_t k = 0; k < rows; ++k, label += w) {
      const int32_t mine = label[0], right = column.x + 1 < w ? label[1] : mine;
      sides += right != mine;
      if (sides > 0 && (k + 1 == rows || label[w] != mine || label[w + 1] != right)) {
        add_edge(edges, mine, right, sides, kUnknownCost);
        sides = 0;
      }
      if (column.y + k + 1 < regions.height && label[w] != mine) add_edge(edges, mine, label[w], 1, kUnknownCost);
    }
  }
}

template <int C>
__device__ double region_length(const Merging& m, int32_t u, double unit, int channels) {
  const int64_t* sums = m.moments + int64_t(u) * num_moments(channels);
  return code_length<C>([&](int k) { return sums[k]; }, m.size[u], unit, channels);
}

template <int C>
__device__ double united_length(const Merging& m, int32_t u, int32_t v, double unit, int channels) {
  const int64_t *a = m.moments + int64_t(u) * num_moments(channels), *b = m.moments + int64_t(v) * num_moments(channels);
  return code_length<C>([&](int k) { return a[k] + b[k]; }, int64_t(m.size[u]) + m.size[v], unit, channels);
}

template <class Work>
__device__ void for_each(int32_t count, const Work& work) {
  for (int32_t i = threadIdx.x; i < count; i += kRoundThreads) work(i);
  __syncthreads();
}

template <int C>
__device__ void start(const Merging& m, int32_t count, double unit, int channels) {
  for_each(count, [&](int32_t u) {
    m.border[u] = 0;
    m.length[u] = region_length<C>(m, u, unit, channels);
  });
  for_each(m.edges.capacity, [&](int32_t i) {
    const unsigned long long edge = m.edges.key[i];
    if (edge == kNoEdge) return;
    atomicAdd(m.border + first_end(edge), m.edges.length[i]);
    atomicAdd(m.border + second_end(edge), m.edges.length[i]);
  });
}

// Costs of the edges that changed. They are listed first, in any order: were each reckoned where it is found, few threads of a warp would
// work at a time. The list lies in the other table, which is free until the edges are moved there.
template <int C>
__device__ void find_costs(const Merging& m, double unit, int channels) {
  __shared__ int32_t unknown;
  if (threadIdx.x == 0) unknown = 0;
  __syncthreads();
  int32_t* list = m.next.length;
  for_each(m.edges.capacity, [&](int32_t i) {
    if (m.edges.key[i] != kNoEdge && m.edges.cost[i] == kUnknownCost) list[atomicAdd(&unknown, 1)] = i;
  });
  for_each(unknown, [&](int32_t place) {
    const int32_t i = list[place], u = first_end(m.edges.key[i]), v = second_end(m.edges.key[i]);
    m.edges.cost[i] = merge_cost(united_length<C>(m, u, v, unit, channels), m.length[u], m.length[v], m.edges.length[i], m.border[u],
                                 m.border[v]);
  });
}

// The cheapest edge of every region.
template <int C>
__device__ void weigh(const Merging& m, int32_t count, double unit, int channels) {
  find_costs<C>(m, unit, channels);
  for_each(count, [&](int32_t u) { m.best[u] = ~0ull; });
  for_each(m.edges.capacity, [&](int32_t i) {
    const unsigned long long edge = m.edges.key[i];
    if (edge == kNoEdge) return;
    const int32_t u = first_end(edge), v = second_end(edge);
    const unsigned long long key = merge_key(m.edges.cost[i], u, v);
    if (m.best[u] > key) atomicMin(m.best + u, key);
    if (m.best[v] > key) atomicMin(m.best + v, key);
  });
}

// Lists the mutual pairs, by cost and the smaller label; returns how many there are. The order of the list is free.
__device__ int32_t list_pairs(const Merging& m, int32_t count) {
  __shared__ int32_t listed;
  if (threadIdx.x == 0) listed = 0;
  __syncthreads();
  for_each(count, [&](int32_t u) {
    const unsigned long long best = m.best[u];
    const int32_t v = u ^ static_cast<int32_t>(best);
    if (m.root[u] != u || best == ~0ull || u > v || m.best[v] != best) return;
    m.pairs[atomicAdd(&listed, 1)] = (best >> 32 << 32) | static_cast<uint32_t>(u);
  });
  return listed;
}

template <int C>
__device__ void merge_pairs(const Merging& m, int32_t pairs, uint64_t last, double unit, int channels) {
  for_each(pairs, [&](int32_t i) {
    if (m.pairs[i] > last) return;
    const int32_t u = static_cast<int32_t>(m.pairs[i]), v = u ^ static_cast<int32_t>(m.best[u]);
    for (int k = 0; k < num_moments(channels); ++k)
      m.moments[int64_t(u) * num_moments(channels) + k] += m.moments[int64_t(v) * num_moments(channels) + k];
    m.size[u] += m.size[v];
    m.border[u] += m.border[v];
    m.length[u] = region_length<C>(m, u, unit, channels);
    m.root[v] = u;
    m.best[u] = m.best[v] = 0;
  });
}

// Moves the edges of merged regions to their unions, into the other table.
__device__ void relabel(const Merging& m) {
  for_each(m.next.capacity, [&](int32_t i) {
    m.next.key[i] = kNoEdge;
    m.next.length[i] = 0;
    m.next.cost[i] = kUnknownCost;
  });
  for_each(m.edges.capacity, [&](int32_t i) {
    const unsigned long long edge = m.edges.key[i];
    if (edge == kNoEdge) return;
    const int32_t u = first_end(edge), v = second_end(edge), to_u = m.root[u], to_v = m.root[v];
    const bool changed = m.best[u] == 0 || m.best[v] == 0;
    if (to_u == to_v)
      m.border[to_u] -= 2 * m.edges.length[i];
    else
      add_edge(m.next, to_u, to_v, m.edges.length[i], changed ? kUnknownCost : m.edges.cost[i]);
  });
}

// One block an image.
template <int C>
__global__ void __launch_bounds__(kRoundThreads) merge_rounds(Regions regions, Merging all, int32_t any_channels, const float* largest,
                                                              int32_t target, int32_t* parent, int32_t* counts) {
  const int channels = C > 0 ? C : any_channels;
  const int32_t count = static_cast<int32_t>(num_regions(regions, blockIdx.x));
  const double unit = power_of_two(value_exponent(largest[blockIdx.x], regions.num_pixels));
  Merging m = of_image(all, regions, blockIdx.x, channels);
  for_each(count, [&](int32_t u) { m.root[u] = u; });
  if (count > target) start<C>(m, count, unit, channels);
  for (int32_t left = count; left > target;) {
    weigh<C>(m, count, unit, channels);
    const int32_t pairs = list_pairs(m, count);
    if (pairs == 0) break;
    const int32_t take = static_cast<int32_t>(merges_of_round(pairs, left - target));
    merge_pairs<C>(m, pairs, smallest_keys(pairs, take, [&](int32_t i) { return m.pairs[i]; }).key, unit, channels);
    left -= take;
    m.next.capacity = static_cast<int32_t>(edge_capacity(left));
    relabel(m);
    const EdgeTable done = m.edges;
    m.edges = m.next;
    m.next = done;
  }
  for_each(count, [&](int32_t u) {
    int32_t root = m.root[u];
    while (m.root[root] != root) root = m.root[root];
    m.first[u] = root;
  });
  const int32_t merged = number_merged(count, m.first, m.number, parent + regions.offsets[blockIdx.x]);
  if (threadIdx.x == 0) counts[blockIdx.x] = merged;
}

// Memory of a table for all images, empty.
struct TableMemory {
  Tensor keys, lengths, costs;

  TableMemory(const Tensor& like, int64_t regions, cudaStream_t stream)
      : keys(empty_on(like, {edge_capacity(regions)}, ScalarType::Long)),
        lengths(zeros_on(like, {edge_capacity(regions)}, ScalarType::Int)),
        costs(empty_on(like, {edge_capacity(regions)}, ScalarType::Int)) {
    check(cudaMemsetAsync(keys.data_ptr(), 0xFF, edge_capacity(regions) * sizeof(uint64_t), stream), "clearing edges");
    check(cudaMemsetAsync(costs.data_ptr(), 0xFF, edge_capacity(regions) * sizeof(uint32_t), stream), "clearing edges");
  }

  EdgeTable table() const {
    return {mutable_data<unsigned long long>(keys), mutable_data<int32_t>(lengths), mutable_data<uint32_t>(costs), 0};
  }
};

}  // namespace

std::tuple<Tensor, Tensor> hard_merge_cuda(const Tensor& image, const Tensor& labels, const Tensor& offsets, const Tensor& size,
                                           int64_t target) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const Regions regions = regions_of(labels, offsets, size.size(0));
  const int32_t channels = static_cast<int32_t>(image.size(1));
  const Tensor parent = empty_on(labels, {regions.total}, ScalarType::Int);
  const Tensor merged = zeros_on(labels, {regions.batch + int64_t(1)}, ScalarType::Int);
  if (regions.batch == 0) return {parent, merged};
  const cudaStream_t stream = current_stream(image);
  check(cudaMemsetAsync(parent.data_ptr(), 0xFF, regions.total * sizeof(int32_t), stream), "clearing the rows of no region");
  const Tensor moments = zeros_on(image, {regions.total, num_moments(channels)}, ScalarType::Long);
  const Tensor longs = empty_on(image, {3, regions.total}, ScalarType::Long), ints = empty_on(image, {5, regions.total}, ScalarType::Int);
  const Tensor counts = empty_on(image, {regions.batch}, ScalarType::Int);
  const TableMemory edges(image, regions.total, stream), next(image, regions.total, stream);
  auto* wide = mutable_data<unsigned long long>(longs);
  int32_t* narrow = mutable_data<int32_t>(ints);
  const int64_t n = regions.total;
  const Merging all{mutable_data<int64_t>(moments), wide, wide + n, reinterpret_cast<double*>(wide + 2 * n), narrow, narrow + n,
                    narrow + 2 * n, narrow + 3 * n, narrow + 4 * n, edges.table(), next.table()};
  check(cudaMemcpyAsync(all.size, size.data_ptr(), n * sizeof(int32_t), cudaMemcpyDeviceToDevice, stream), "copying sizes");
  const Tensor largest = largest_magnitudes(image, nullptr, regions.batch, channels, regions.num_pixels);
  add_moments<<<blocks_for(num_columns(regions)), kThreads, 0, stream>>>(data<float>(image), regions, channels, data<float>(largest),
                                                                       all.moments);
  count_borders<<<blocks_for(num_columns(regions)), kThreads, 0, stream>>>(regions, all.edges);
  const auto rounds = channels == 3 ? merge_rounds<3> : channels == 5 ? merge_rounds<5> : merge_rounds<0>;  // 5: with places
  const int32_t most = static_cast<int32_t>(target < INT32_MAX ? target : INT32_MAX);
  rounds<<<regions.batch, kRoundThreads, 0, stream>>>(regions, all, channels, data<float>(largest), most, mutable_data<int32_t>(parent),
                                                      mutable_data<int32_t>(counts));
  pack_numbers<<<regions.batch, kThreads, 0, stream>>>(regions, data<int32_t>(counts), mutable_data<int32_t>(merged),
                                                       mutable_data<int32_t>(parent));
  check(cudaGetLastError(), "launching a kernel");
  return {parent, merged};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("hard_merge", TORCH_BOX(&dht::hard_merge_cuda)); }
