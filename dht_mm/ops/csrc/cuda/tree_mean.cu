// CUDA kernel of tree_mean_backward: walks the forest down, level by level. What many nodes add to one is summed in fixed point, so that
// the order of atomics does not show.
#include <tuple>

#include "../common/tree_gradient.h"

#include "arena.cuh"
#include "fixed_point.cuh"
#include "row_pieces.cuh"

namespace dht {
namespace {

struct Tree {
  const float *features, *slope, *bias, *mean, *variance;
  const int32_t *parent, *pick, *size;
  const Box* box;
  const double* alpha;
  const int64_t* starts;  // first node of each level, and their end: 0 where there is no hierarchy
  int64_t pixels;
  int32_t num_pixels, width, channels;
  double compactness;
};

// Gradients to the moments of nodes above the pixels, rows as in Tree, and what the pass over a level leaves behind.
struct Gradients {
  double *mean, *variance;  // [nodes, d], written level by level
  double* factor;           // [level]: to the difference of the picked edge's ends, or to a self edge's activation
  int64_t* sums;            // [nodes, d] fixed point: gradients of the selected regions, then of the edges from other nodes
  uint32_t* largest;        // bits of the largest term, of the start and then of each level
  double* self_terms;       // [d + 1, cells] to slope and bias
  float* pixels;            // [pixels, d], the result
};

// Nodes of a level.
struct Level {
  int64_t begin, end;
};

__device__ __forceinline__ Level level_of(const Tree& tree, int level) { return {tree.starts[level], tree.starts[level + 1]}; }

// The gradient to the means of the regions, of which the device knows how many there are, and the nodes that they selected.
struct Selected {
  const float* grad;
  const int32_t *node, *count;
};

template <int D>
__device__ __forceinline__ int channels_of(const Tree& tree) {
  return D > 0 ? D : tree.channels;
}

template <int D>
__device__ __forceinline__ ParentGradient parent_of(const Tree& tree, const Gradients& gradients, int64_t child) {
  const int64_t p = tree.parent[child] - tree.pixels, row = p * channels_of<D>(tree);
  return {tree.mean + row, tree.variance + row, gradients.mean + row, gradients.variance + row, tree.alpha[p]};
}

template <int D>
__device__ __forceinline__ double gaussian(const Tree& tree, const float* a, const float* b) {
  double distance = 0.0;
  for (int c = 0; c < channels_of<D>(tree); c += kPiece<D>) {
    const Piece<D> x = read<D>(a + c), y = read<D>(b + c);
#pragma unroll
    for (int k = 0; k < kPiece<D>; ++k) distance = __fma_rn(x.at[k] - y.at[k], x.at[k] - y.at[k], distance);
  }
  return exp(-distance);
}

__device__ __forceinline__ double self_activation(const Tree& tree, const float* variance) {
  double activation = *tree.bias;
  for (int c = 0; c < tree.channels; ++c) activation += widen(tree.slope[c]) * widen(variance[c]);
  return activation;
}

// alpha_gradient times the parent's alpha.
template <int D>
__device__ __forceinline__ double gradient_times_alpha(const Tree& tree, const ParentGradient& parent, const ChildMoments& child) {
  double total = 0.0;
  for (int c = 0; c < channels_of<D>(tree); c += kPiece<D>) {
    const Piece<D> f = read<D>(child.mean + c), s = child.variance == nullptr ? Piece<D>{} : read<D>(child.variance + c);
    const Piece<D> mean = read<D>(parent.mean + c), variance = read<D>(parent.variance + c);
    const Piece<D> to_mean = read<D>(parent.to_mean + c), to_variance = read<D>(parent.to_variance + c);
#pragma unroll
    for (int k = 0; k < kPiece<D>; ++k) {
      const double difference = f.at[k] - mean.at[k];
      total = __fma_rn(difference, to_mean.at[k], total);
      total = __fma_rn(__fma_rn(difference, difference, s.at[k] - variance.at[k]), to_variance.at[k], total);
    }
  }
  return total;
}

// A picked edge: its weight, and what d w is times the difference of its ends or times that of a self edge's activation.
struct PickedEdge {
  double weight, slope;
};

// What a node gets of its parent, and what its picked edge gets.
struct Pull {
  double share, factor;
};

// The rules of alpha_of and weight_gradient by reciprocals, for gradients need no exact quotients.
template <int D>
__device__ __forceinline__ Pull pull_of(const Tree& tree, const ParentGradient& parent, const ChildMoments& child, double size,
                                        const PickedEdge& edge) {
  const double part = size * reciprocal(parent.alpha);
  if (edge.weight < kSmallestRootWeight * kSmallestRootWeight) return {part * kSmallestRootWeight, 0.0};
  const double per_root = rsqrt(edge.weight);
  return {part * edge.weight * per_root, 0.5 * part * per_root * edge.slope * gradient_times_alpha<D>(tree, parent, child)};
}

// Raises `largest` to the largest of a warp's values, each given by the high half of its absolute value; all lanes must call it.
__device__ __forceinline__ void note_largest(uint32_t* largest, uint32_t high) {
  high = __reduce_max_sync(kAllLanes, high);
  const uint32_t bits = __float_as_uint(static_cast<float>(__hiloint2double(static_cast<int>(high), -1)) * 1.0001f);
  if (threadIdx.x % 32 == 0 && high > 0 && bits > *largest) atomicMax(largest, bits);
}

__device__ __forceinline__ uint32_t high_magnitude(double x) { return static_cast<uint32_t>(__double2hiint(x)) & 0x7FFFFFFFu; }

// Also clears the sums of all nodes.
__global__ void largest_gradient(Tree tree, Gradients gradients, Selected selected, int levels) {
  const int64_t values = (tree.starts[levels] - tree.pixels) * tree.channels, count = int64_t(*selected.count) * tree.channels;
  for (int64_t i = grid_thread(); i < values; i += grid_size()) gradients.sums[i] = 0;
  uint32_t high = 0;
  for (int64_t i = grid_thread(); i < count; i += grid_size()) high = max(high, high_magnitude(widen(selected.grad[i])));
  note_largest(gradients.largest, high);
}

// The gradient of every region goes to the node that it selected; several regions can share one. Pixels follow in the end.
__global__ void start_nodes(Tree tree, Gradients gradients, Selected selected) {
  const int64_t d = tree.channels, count = *selected.count * d;
  const FixedPoint unit = fixed_point(__uint_as_float(*gradients.largest), tree.num_pixels);
  for (int64_t i = grid_thread(); i < count; i += grid_size()) {
    const int64_t row = i / d, above = selected.node[row] - tree.pixels;
    if (above >= 0) add_atomically(gradients.sums + above * d + (i - row * d), round_to_int64(widen(selected.grad[i]) * unit.forward));
  }
}

// A selected pixel is a region of its own.
__global__ void add_to_pixels(Tree tree, Gradients gradients, Selected selected) {
  const int64_t d = tree.channels, count = *selected.count * d;
  for (int64_t i = grid_thread(); i < count; i += grid_size()) {
    const int64_t row = i / d, node = selected.node[row];
    if (node < tree.pixels) gradients.pixels[node * d + (i - row * d)] += selected.grad[i];
  }
}

// The last level has only the gradients of selected regions.
__global__ void start_roots(Tree tree, Gradients gradients, int level) {
  const FixedPoint unit = fixed_point(__uint_as_float(*gradients.largest), tree.num_pixels);
  const auto [begin, end] = level_of(tree, level);
  const int64_t first = (begin - tree.pixels) * tree.channels, last = (end - tree.pixels) * tree.channels;
  for (int64_t i = first + grid_thread(); i < last; i += grid_size()) {
    gradients.mean[i] = static_cast<double>(gradients.sums[i]) * unit.back;
    gradients.variance[i] = 0.0;
  }
}

template <int D>
__device__ __forceinline__ PickedEdge picked_edge(const Tree& tree, int64_t u, int64_t v, const ChildMoments& child) {
  const bool itself = u == v;
  const Box box = itself ? tree.box[u] : unite(tree.box[u], tree.box[v]);
  const double shape = compactness_of(itself ? int64_t(tree.size[u]) : int64_t(tree.size[u]) + tree.size[v], box);
  const double activation = itself ? self_activation(tree, child.variance) : 0.0;
  const double similarity = itself ? sigmoid(activation) : gaussian<D>(tree, child.mean, tree.mean + v * channels_of<D>(tree));
  return {blend(similarity, shape, tree.compactness),
          itself ? sigmoid_factor(activation, tree.compactness) : gaussian_factor(similarity, tree.compactness)};
}

// Starts the gradients of node u: what selected regions, its parent and its own picked edge, to node v, give. Returns the high half of
// the largest term that is left for v. Counts nodes from the first above the pixels.
template <int D>
__device__ __forceinline__ uint32_t start_gradients(const Tree& tree, const Gradients& gradients, const ParentGradient& parent, int64_t u,
                                                    int64_t v, const Pull& pull, double back) {
  uint32_t high = 0;
  const int d = channels_of<D>(tree);
  for (int c = 0; c < d; c += kPiece<D>) {
    const Piece<D> f = read<D>(tree.mean + u * d + c), mean = read<D>(parent.mean + c), picked = read<D>(tree.mean + v * d + c);
    const Piece<D> selected = take_sums<D>(gradients.sums + u * d + c, back);
    Piece<D> to_mean = read<D>(parent.to_mean + c), to_variance = read<D>(parent.to_variance + c);
#pragma unroll
    for (int k = 0; k < kPiece<D>; ++k) {
      const double edge = u == v ? 0.0 : pull.factor * (f.at[k] - picked.at[k]), difference = f.at[k] - mean.at[k];
      to_mean.at[k] = __fma_rn(pull.share, __fma_rn(2.0 * difference, to_variance.at[k], to_mean.at[k]), selected.at[k]) + edge;
      to_variance.at[k] *= pull.share;
      if (u == v) to_variance.at[k] = __fma_rn(pull.factor, widen(tree.slope[c + k]), to_variance.at[k]);
      high = max(high, high_magnitude(edge));
    }
    write<D>(gradients.mean + u * d + c, to_mean);
    write<D>(gradients.variance + u * d + c, to_variance);
  }
  return high;
}

// Hands gradients of parents on to the regions of a level, and leaves the factors of their picked edges.
template <int D>
__global__ void pull_regions(Tree tree, Gradients gradients, const uint32_t* start, int level, bool by_size) {
  const int64_t d = channels_of<D>(tree);
  const auto [begin, end] = level_of(tree, level);
  const double back = fixed_point(__uint_as_float(*start), tree.num_pixels).back;
  uint32_t high = 0;
  for (int64_t node = begin + grid_thread(); node < end; node += grid_size()) {
    const int64_t u = node - tree.pixels, v = tree.pick[node] - tree.pixels;
    const ChildMoments child{tree.mean + u * d, tree.variance + u * d, 1};
    const ParentGradient parent = parent_of<D>(tree, gradients, node);
    const double size = widen(static_cast<uint32_t>(tree.size[u]));
    const Pull pull = by_size ? Pull{size * reciprocal(parent.alpha), 0.0}
                              : pull_of<D>(tree, parent, child, size, picked_edge<D>(tree, u, v, child));
    gradients.factor[node - begin] = pull.factor;
    high = max(high, start_gradients<D>(tree, gradients, parent, u, v, pull, back));
  }
  note_largest(gradients.largest, high);
}

// Nodes that the threads of a block of push_edges take, each its channels.
__host__ __device__ inline int nodes_a_block(int channels) { return channels < kThreads ? kThreads / channels : 1; }

// Takes the terms of edges from the nodes that were picked, and adds up those of self edges. A thread keeps to a channel. As many blocks
// work as the level has nodes for, since the order of the sums of self edges follows from their number.
template <int D>
__global__ void push_edges(Tree tree, Gradients gradients, int level) {
  const int d = channels_of<D>(tree), nodes = nodes_a_block(d), lanes = min(d, kThreads), lane = threadIdx.x % lanes;
  const auto [begin, end] = level_of(tree, level);
  const int blocks = blocks_for((end - begin) * d);
  const FixedPoint unit = fixed_point(__uint_as_float(*gradients.largest), end - begin);
  if (threadIdx.x >= nodes * lanes || blockIdx.x >= blocks) return;
  const int64_t cell = int64_t(blockIdx.x) * nodes + threadIdx.x / lanes, cells = int64_t(kMaxBlocks) * nodes;
  for (int64_t node = begin + cell; node < end; node += int64_t(blocks) * nodes) {
    const double factor = gradients.factor[node - begin];
    if (factor == 0.0) continue;
    const int64_t u = node - tree.pixels, v = tree.pick[node] - tree.pixels;
    for (int c = lane; c < d; c += lanes) {
      if (u == v) {
        gradients.self_terms[c * cells + cell] += factor * widen(tree.variance[u * d + c]);
      } else {
        const double term = factor * (widen(tree.mean[u * d + c]) - widen(tree.mean[v * d + c]));
        if (term != 0.0) add_atomically(gradients.sums + v * d + c, round_to_int64(-term * unit.forward));
      }
    }
    if (u == v && lane == 0) gradients.self_terms[d * cells + cell] += factor;
  }
}

// Adds the sums of a level to the gradients of the means.
__global__ void settle(Tree tree, Gradients gradients, int level) {
  const auto [begin, end] = level_of(tree, level);
  const FixedPoint unit = fixed_point(__uint_as_float(*gradients.largest), end - begin);
  const bool finite = unit.back == unit.back;
  const int64_t first = (begin - tree.pixels) * tree.channels, last = (end - tree.pixels) * tree.channels;
  for (int64_t i = first + grid_thread(); i < last; i += grid_size()) {
    const int64_t sum = gradients.sums[i];
    if (sum != 0 || !finite) gradients.mean[i] += static_cast<double>(sum) * unit.back;
  }
}

// Pixels have at most four neighbours that can have picked them, so they gather; first their shares of their parents and the factors of
// their picked edges.
template <int D>
__global__ void __launch_bounds__(kThreads, 4) weigh_pixels(Tree tree, Gradients gradients, double* share, int levels) {
  const int64_t d = channels_of<D>(tree);
  const bool by_size = levels == 2;
  if (tree.starts[levels] == 0) return;
  const double shape = compactness_of(2, Box{0, 0, 0, 1});  // every picked pixel is a neighbour
  for (int64_t u = grid_thread(); u < tree.pixels; u += grid_size()) {
    const int64_t v = tree.pick[u];
    const ParentGradient parent = parent_of<D>(tree, gradients, u);
    const ChildMoments child{tree.features + u * d, nullptr, 1};
    const double similarity = gaussian<D>(tree, child.mean, tree.features + v * d);
    const PickedEdge edge{blend(similarity, shape, tree.compactness), gaussian_factor(similarity, tree.compactness)};
    const Pull pull = by_size ? Pull{reciprocal(parent.alpha), 0.0} : pull_of<D>(tree, parent, child, 1.0, edge);
    share[u] = pull.share;
    gradients.factor[u] = pull.factor;
  }
}

// Factors of the edges of pixel u to its upper, left, right and lower neighbours, where these picked it. A pixel of another image or row
// never does, so borders need no check of their own. In an image one pixel wide, left and up are the same neighbour.
struct Pickers {
  int32_t pixel[4];
  double factor[4];
};

__device__ __forceinline__ Pickers pickers_of(const Tree& tree, const Gradients& gradients, int32_t u) {
  const bool wide = tree.width > 1;
  Pickers pickers{{u - tree.width, wide ? u - 1 : -1, wide ? u + 1 : -1, u + tree.width}, {}};
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const int32_t other = pickers.pixel[n];
    pickers.factor[n] = other >= 0 && other < tree.pixels && tree.pick[other] == u ? gradients.factor[other] : 0.0;
  }
  return pickers;
}

template <int D>
__global__ void __launch_bounds__(kThreads, 4) gather_pixels(Tree tree, Gradients gradients, const double* share, int levels) {
  const int d = channels_of<D>(tree);
  if (tree.starts[levels] == 0) {
    for (int64_t i = grid_thread(); i < tree.pixels * d; i += grid_size()) gradients.pixels[i] = 0.0f;
    return;
  }
  for (int64_t u = grid_thread(); u < tree.pixels; u += grid_size()) {
    const ParentGradient parent = parent_of<D>(tree, gradients, u);
    const Pickers pickers = pickers_of(tree, gradients, static_cast<int32_t>(u));
    const double own = gradients.factor[u], part = share[u];
    const float* picked = tree.features + int64_t(tree.pick[u]) * d;
    for (int c = 0; c < d; c += kPiece<D>) {
      const Piece<D> f = read<D>(tree.features + u * d + c), mean = read<D>(parent.mean + c), v = read<D>(picked + c);
      Piece<D> total = read<D>(parent.to_mean + c);
      const Piece<D> to_variance = read<D>(parent.to_variance + c);
#pragma unroll
      for (int k = 0; k < kPiece<D>; ++k)
        total.at[k] = __fma_rn(own, f.at[k] - v.at[k], part * __fma_rn(2.0 * (f.at[k] - mean.at[k]), to_variance.at[k], total.at[k]));
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        if (pickers.factor[n] == 0.0) continue;
        const Piece<D> other = read<D>(tree.features + int64_t(pickers.pixel[n]) * d + c);
#pragma unroll
        for (int k = 0; k < kPiece<D>; ++k) total.at[k] = __fma_rn(pickers.factor[n], f.at[k] - other.at[k], total.at[k]);
      }
      write<D>(gradients.pixels + u * d + c, total);
    }
  }
}

// A block adds up the cells of one channel of the slope, or of the bias, always in the same order.
__global__ void sum_self_terms(const double* terms, int64_t cells, int channels, float* slope, float* bias) {
  __shared__ double shares[kThreads];
  const int c = blockIdx.x;
  double total = 0.0;
#pragma unroll 8
  for (int64_t i = threadIdx.x; i < cells; i += kThreads) total += terms[c * cells + i];
  shares[threadIdx.x] = total;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shares[threadIdx.x] += shares[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *(c == channels ? bias : slope + c) = static_cast<float>(shares[0]);
}

struct Launcher {
  cudaStream_t stream;

  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t work, Arguments... arguments) const {
    kernel<<<blocks_for(work), kThreads, 0, stream>>>(arguments...);
    check(cudaGetLastError(), "launching the gradient of the tree's means");
  }
};

// Cells in which the blocks of push_edges add up self edges, for each channel.
int64_t self_cells(int channels) { return int64_t(kMaxBlocks) * nodes_a_block(channels); }

// The scratch buffers, of which the first bytes start out as zero.
struct Scratch {
  Gradients gradients;
  double* share;
  int64_t cleared;
};

Scratch lay_out(Arena& arena, const Tree& tree, int64_t nodes, int levels) {
  Scratch scratch{};
  // One cell of `largest` a level and one for the start, so that none has to be cleared in between.
  arena.give(scratch.gradients.largest, levels + 1);
  arena.give(scratch.gradients.self_terms, self_cells(tree.channels) * (tree.channels + 1));
  scratch.cleared = arena.used();
  for (double** values : {&scratch.gradients.mean, &scratch.gradients.variance}) arena.give(*values, nodes * tree.channels);
  arena.give(scratch.gradients.sums, nodes * tree.channels);
  arena.give(scratch.gradients.factor, tree.pixels);
  arena.give(scratch.share, tree.pixels);
  return scratch;
}

// Whether rows are eight channels of which four can be read at a time.
bool has_eight(const Tree& tree) {
  const auto address = [](const float* row) { return reinterpret_cast<uintptr_t>(row); };
  return tree.channels == 8 && (address(tree.features) | address(tree.mean) | address(tree.variance)) % sizeof(float4) == 0;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> tree_mean_backward_cuda(
    const Tensor& grad, const Tensor& features, const Tensor& slope, const Tensor& bias, const Tensor& offsets, const Tensor& node,
    const Tensor& parent, const Tensor& pick, const Tensor& node_mean, const Tensor& node_variance, const Tensor& node_size,
    const Tensor& node_bbox, const Tensor& node_alpha, const Tensor& level_starts, double compactness) {
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  STD_TORCH_CHECK(level_starts.is_cuda(), "level_starts must be on the device of the features");
  const int64_t batch = features.size(0), height = features.size(1), width = features.size(2), d = features.size(3);
  const int64_t pixels = batch * height * width, nodes = node_mean.size(0), regions = node.size(0);
  const int levels = static_cast<int>(level_starts.size(0)) - 1;
  const Tree tree{data<float>(features), data<float>(slope), data<float>(bias), data<float>(node_mean), data<float>(node_variance),
                  data<int32_t>(parent), data<int32_t>(pick), data<int32_t>(node_size), data<Box>(node_bbox), data<double>(node_alpha),
                  data<int64_t>(level_starts), pixels, static_cast<int32_t>(height * width), static_cast<int32_t>(width),
                  static_cast<int32_t>(d), compactness};
  const Selected selected{data<float>(grad), data<int32_t>(node), data<int32_t>(offsets) + batch};
  const Tensor to_features = empty_on(features, {batch, height, width, d}, ScalarType::Float);
  const Tensor to_slope = empty_on(features, {d}, ScalarType::Float), to_bias = empty_on(features, {}, ScalarType::Float);
  Arena measure(nullptr);
  lay_out(measure, tree, nodes, levels);
  const Tensor scratch = empty_on(features, {measure.used()}, ScalarType::Byte);
  Arena arena(mutable_data<char>(scratch));
  auto [gradients, share, cleared] = lay_out(arena, tree, nodes, levels);
  gradients.pixels = mutable_data<float>(to_features);
  const Launcher launch{current_stream(features)};
  check(cudaMemsetAsync(scratch.data_ptr(), 0, cleared, launch.stream), "clearing sums");

  const uint32_t* start = gradients.largest;
  const bool eight = has_eight(tree);
  launch(largest_gradient, nodes * d, tree, gradients, selected, levels);
  launch(start_nodes, regions * d, tree, gradients, selected);
  launch(start_roots, batch * d, tree, gradients, levels - 1);
  for (int level = levels - 2; level >= 1; --level) {
    gradients.largest += 1;
    launch(eight ? pull_regions<8> : pull_regions<0>, nodes, tree, gradients, start, level, level == levels - 2);
    if (level == levels - 2) continue;
    launch(eight ? push_edges<8> : push_edges<0>, nodes * d, tree, gradients, level);
    launch(settle, nodes * d, tree, gradients, level);
  }
  launch(eight ? weigh_pixels<8> : weigh_pixels<0>, pixels, tree, gradients, share, levels);
  launch(eight ? gather_pixels<8> : gather_pixels<0>, pixels, tree, gradients, share, levels);
  launch(add_to_pixels, regions * d, tree, gradients, selected);
  sum_self_terms<<<blocks_of_one(d + 1), kThreads, 0, launch.stream>>>(gradients.self_terms, self_cells(tree.channels), tree.channels,
                                                                    mutable_data<float>(to_slope), mutable_data<float>(to_bias));
  check(cudaGetLastError(), "launching the gradient of the tree's means");
  return {to_features, to_slope, to_bias};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("tree_mean_backward", TORCH_BOX(&dht::tree_mean_backward_cuda)); }
