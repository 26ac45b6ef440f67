// CUDA kernel of tree_mean_backward: walks the forest down, level by level. What many nodes add to one is summed in fixed point, so that
// the order of atomics does not show.
#include <tuple>

#include "../common/fixed_point.h"
#include "../common/tree_gradient.h"

#include "launch.cuh"

namespace dht {
namespace {

struct Tree {
  const float *features, *slope, *bias, *mean, *variance;
  const int32_t *parent, *pick, *size;
  const Box* box;
  const double* alpha;
  int64_t pixels;
  int32_t num_pixels, width, channels;
  double compactness;
};

// Gradients to the moments of nodes above the pixels, rows as in Tree, and what the pass over a level leaves behind.
struct Gradients {
  double *mean, *variance;  // [nodes, d]
  double* factor;           // [level]: d loss / d f_u through the picked edge is factor * (f_u - f_v)
  int64_t* sums;            // [nodes, d] fixed point, zero between levels
  uint32_t* largest;        // bits of the largest term of this level
  double* self_terms;       // [blocks, d + 1] to slope and bias
  float* pixels;            // [pixels, d], the result
};

__device__ __forceinline__ ChildMoments moments(const Tree& tree, int64_t node) {
  const int d = tree.channels;
  if (node < tree.pixels) return {tree.features + node * d, nullptr, 1};
  return {tree.mean + (node - tree.pixels) * d, tree.variance + (node - tree.pixels) * d, 1};
}

__device__ __forceinline__ Box box_of(const Tree& tree, int64_t node) {
  if (node >= tree.pixels) return tree.box[node - tree.pixels];
  const int32_t within = static_cast<int32_t>(node % tree.num_pixels), y = within / tree.width, x = within % tree.width;
  return {y, x, y, x};
}

__device__ __forceinline__ int64_t size_of(const Tree& tree, int64_t node) { return node < tree.pixels ? 1 : tree.size[node - tree.pixels]; }

__device__ __forceinline__ ParentGradient parent_of(const Tree& tree, const Gradients& gradients, int64_t child) {
  const int64_t p = tree.parent[child] - tree.pixels, row = p * tree.channels;
  return {tree.mean + row, tree.variance + row, gradients.mean + row, gradients.variance + row, tree.alpha[p]};
}

__device__ __forceinline__ double self_activation(const Tree& tree, int64_t u) {
  double activation = *tree.bias;
  const float* s = tree.variance + (u - tree.pixels) * tree.channels;
  for (int c = 0; c < tree.channels; ++c) activation += static_cast<double>(tree.slope[c]) * static_cast<double>(s[c]);
  return activation;
}

// The picked edge of a node: its weight and what the gradient needs of it.
struct PickedEdge {
  double weight, similarity, activation;
};

__device__ __forceinline__ PickedEdge picked_edge(const Tree& tree, int64_t u, int64_t v) {
  const bool itself = u == v;
  const Box box = itself ? box_of(tree, u) : unite(box_of(tree, u), box_of(tree, v));
  const double shape = compactness_of(itself ? size_of(tree, u) : size_of(tree, u) + size_of(tree, v), box);
  const double activation = itself ? self_activation(tree, u) : 0.0;
  const double similarity = itself ? sigmoid(activation) : exp(-squared_distance(Features{moments(tree, u).mean, 1}, Features{moments(tree, v).mean, 1}, tree.channels));
  return {blend(similarity, shape, tree.compactness), similarity, activation};
}

__device__ __forceinline__ void note_largest(uint32_t* largest, double value) {
  const uint32_t bits = __float_as_uint(static_cast<float>(fabs(value)) * 1.0001f);
  if (bits > *largest) atomicMax(largest, bits);
}

__global__ void largest_gradient(const float* grad, int64_t count, uint32_t* largest) {
  for (int64_t i = grid_thread(); i < count; i += grid_size()) note_largest(largest, grad[i]);
}

// The gradient of every region goes to the node that it selected; several regions can share one.
__global__ void start_nodes(Tree tree, Gradients gradients, const float* grad, const int32_t* node, int64_t regions) {
  const int d = tree.channels;
  const FixedPoint unit = fixed_point(__uint_as_float(*gradients.largest), tree.num_pixels);
  for (int64_t i = grid_thread(); i < regions * d; i += grid_size()) {
    const int64_t at = int64_t(node[i / d]) * d + i % d;
    if (node[i / d] < tree.pixels)
      gradients.pixels[at] = grad[i];
    else
      atomicAdd(reinterpret_cast<unsigned long long*>(gradients.sums + at - tree.pixels * d),
                static_cast<unsigned long long>(round_to_int64(static_cast<double>(grad[i]) * unit.forward)));
  }
}

// Adds the fixed-point sums of rows [begin, end) to the gradients of the means and clears them.
__global__ void settle(Gradients gradients, int64_t begin, int64_t end, int64_t terms) {
  const FixedPoint unit = fixed_point(__uint_as_float(*gradients.largest), terms);
  for (int64_t i = begin + grid_thread(); i < end; i += grid_size()) {
    gradients.mean[i] += static_cast<double>(gradients.sums[i]) * unit.back;
    gradients.sums[i] = 0;
  }
}

// Adds this block's terms to slope and bias in the order of its threads.
__device__ __forceinline__ void add_self_terms(const Tree& tree, const Gradients& gradients, int64_t u, double factor) {
  __shared__ double factors[kThreads];
  __shared__ int64_t nodes[kThreads];
  if (!__syncthreads_or(factor != 0.0)) return;
  factors[threadIdx.x] = factor;
  nodes[threadIdx.x] = u - tree.pixels;
  __syncthreads();
  double* terms = gradients.self_terms + blockIdx.x * int64_t(tree.channels + 1);
  for (int c = threadIdx.x; c <= tree.channels; c += kThreads) {
    double total = terms[c];
    for (int i = 0; i < kThreads; ++i) {
      if (factors[i] == 0.0) continue;
      total += c == tree.channels ? factors[i] : factors[i] * static_cast<double>(tree.variance[nodes[i] * tree.channels + c]);
    }
    terms[c] = total;
  }
  __syncthreads();
}

// Gradient to the picked edge's weight, as a factor to the difference of its ends, or to a self edge's activation.
__device__ __forceinline__ double edge_factor(const Tree& tree, const ParentGradient& parent, int64_t u, const PickedEdge& edge, bool itself) {
  const double to_alpha = alpha_gradient(parent, moments(tree, u), tree.channels);
  const double to_weight = weight_gradient(to_alpha, size_of(tree, u), edge.weight);
  return to_weight * (itself ? sigmoid_factor(edge.activation, tree.compactness) : gaussian_factor(edge.similarity, tree.compactness));
}

// Hands gradients of parents on to the regions [begin, end) of a level, and leaves the factors of their picked edges.
__global__ void pull_regions(Tree tree, Gradients gradients, int64_t begin, int64_t end, bool by_size) {
  const int d = tree.channels;
  for (int64_t first = begin + int64_t(blockIdx.x) * kThreads; first < end; first += grid_size()) {
    const int64_t u = first + threadIdx.x;
    double self_factor = 0.0;
    if (u < end) {
      const int64_t v = tree.pick[u], row = (u - tree.pixels) * d;
      const ParentGradient parent = parent_of(tree, gradients, u);
      const PickedEdge edge = by_size ? PickedEdge{1.0, 0.0, 0.0} : picked_edge(tree, u, v);
      const double alpha = by_size ? static_cast<double>(size_of(tree, u)) : alpha_of(size_of(tree, u), edge.weight), share = alpha / parent.alpha;
      const double factor = by_size ? 0.0 : edge_factor(tree, parent, u, edge, u == v);
      if (u == v) self_factor = factor;
      gradients.factor[u - begin] = u == v ? 0.0 : factor;
      for (int c = 0; c < d; ++c) {
        const double f = tree.mean[row + c];
        gradients.mean[row + c] += mean_gradient(parent, f, share, c);
        gradients.variance[row + c] += share * parent.to_variance[c] + self_factor * static_cast<double>(tree.slope[c]);
        if (u != v) note_largest(gradients.largest, factor * (f - static_cast<double>(tree.mean[(v - tree.pixels) * d + c])));
      }
    }
    add_self_terms(tree, gradients, u, self_factor);
  }
}

__global__ void push_edges(Tree tree, Gradients gradients, int64_t begin, int64_t end) {
  const int d = tree.channels;
  const FixedPoint unit = fixed_point(__uint_as_float(*gradients.largest), 2 * (end - begin));
  for (int64_t i = grid_thread(); i < (end - begin) * d; i += grid_size()) {
    const double factor = gradients.factor[i / d];
    if (factor == 0.0) continue;
    const int64_t row = (begin - tree.pixels) * d + i, other = (int64_t(tree.pick[begin + i / d]) - tree.pixels) * d + i % d;
    const double term = factor * (static_cast<double>(tree.mean[row]) - static_cast<double>(tree.mean[other]));
    const auto amount = static_cast<unsigned long long>(round_to_int64(term * unit.forward));
    atomicAdd(reinterpret_cast<unsigned long long*>(gradients.sums + row), amount);
    atomicAdd(reinterpret_cast<unsigned long long*>(gradients.sums + other), 0ULL - amount);
  }
}

// Pixels have at most four neighbours that can have picked them, so they gather; first their shares of their parents and the factors of
// their picked edges.
__global__ void weigh_pixels(Tree tree, Gradients gradients, double* share, bool by_size) {
  for (int64_t u = grid_thread(); u < tree.pixels; u += grid_size()) {
    const int64_t v = tree.pick[u];
    const ParentGradient parent = parent_of(tree, gradients, u);
    const PickedEdge edge = by_size ? PickedEdge{1.0, 0.0, 0.0} : picked_edge(tree, u, v);
    share[u] = (by_size ? 1.0 : alpha_of(1, edge.weight)) / parent.alpha;
    gradients.factor[u] = u == v ? 0.0 : edge_factor(tree, parent, u, edge, false);
  }
}

__global__ void gather_pixels(Tree tree, Gradients gradients, const double* share) {
  const int d = tree.channels;
  for (int64_t i = grid_thread(); i < tree.pixels * d; i += grid_size()) {
    const int64_t u = i / d;
    const int c = static_cast<int>(i - u * d);
    const double f = widen(tree.features[i]);
    double total = widen(gradients.pixels[i]) + mean_gradient(parent_of(tree, gradients, u), f, share[u], c);
    total += gradients.factor[u] * (f - widen(tree.features[int64_t(tree.pick[u]) * d + c]));
    // A pixel of another image or row never picks u, so borders need no check of their own. In an image one pixel wide, left and up are
    // the same neighbour.
    const int64_t neighbour[4] = {u - tree.width, tree.width > 1 ? u - 1 : -1, tree.width > 1 ? u + 1 : -1, u + tree.width};
    for (int64_t other : neighbour)
      if (other >= 0 && other < tree.pixels && tree.pick[other] == u)
        total -= gradients.factor[other] * (widen(tree.features[other * d + c]) - f);
    gradients.pixels[i] = static_cast<float>(total);
  }
}

__global__ void sum_self_terms(const double* terms, int blocks, int channels, float* slope, float* bias) {
  for (int c = threadIdx.x; c <= channels; c += blockDim.x) {
    double total = 0.0;
    for (int block = 0; block < blocks; ++block) total += terms[block * int64_t(channels + 1) + c];
    *(c == channels ? bias : slope + c) = static_cast<float>(total);
  }
}

template <class T>
T* cleared(std::vector<Tensor>& keep, const Tensor& like, int64_t count, cudaStream_t stream) {
  keep.push_back(empty_on(like, {count * static_cast<int64_t>(sizeof(T))}, ScalarType::Byte));
  check(cudaMemsetAsync(keep.back().data_ptr(), 0, count * sizeof(T), stream), "clearing a buffer");
  return mutable_data<T>(keep.back());
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> tree_mean_backward_cuda(
    const Tensor& grad, const Tensor& features, const Tensor& slope, const Tensor& bias, const Tensor& node, const Tensor& parent,
    const Tensor& pick, const Tensor& node_mean, const Tensor& node_variance, const Tensor& node_size, const Tensor& node_bbox,
    const Tensor& node_alpha, const Tensor& level_starts, double compactness) {
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  const cudaStream_t stream = current_stream(features);
  const int64_t batch = features.size(0), height = features.size(1), width = features.size(2), d = features.size(3);
  const int64_t pixels = batch * height * width, rows = node_mean.size(0) * d, regions = node.size(0), levels = level_starts.size(0) - 1;
  const Tree tree{data<float>(features), data<float>(slope), data<float>(bias), data<float>(node_mean), data<float>(node_variance),
                  data<int32_t>(parent), data<int32_t>(pick), data<int32_t>(node_size), data<Box>(node_bbox), data<double>(node_alpha), pixels,
                  static_cast<int32_t>(height * width), static_cast<int32_t>(width), static_cast<int32_t>(d), compactness};
  const Tensor to_features = empty_on(features, {batch, height, width, d}, ScalarType::Float);
  const Tensor to_slope = empty_on(features, {d}, ScalarType::Float), to_bias = empty_on(features, {}, ScalarType::Float);
  std::vector<Tensor> keep;
  check(cudaMemsetAsync(to_features.data_ptr(), 0, pixels * d * sizeof(float), stream), "clearing the gradient");
  // One cell of `largest` a level and one for the start, so that none has to be cleared in between.
  Gradients gradients{cleared<double>(keep, features, rows, stream), cleared<double>(keep, features, rows, stream),
                      cleared<double>(keep, features, pixels, stream), cleared<int64_t>(keep, features, rows, stream),
                      cleared<uint32_t>(keep, features, levels + 1, stream),
                      cleared<double>(keep, features, kMaxBlocks * (d + 1), stream), mutable_data<float>(to_features)};
  largest_gradient<<<blocks_for(regions * d), kThreads, 0, stream>>>(data<float>(grad), regions * d, gradients.largest);
  start_nodes<<<blocks_for(regions * d), kThreads, 0, stream>>>(tree, gradients, data<float>(grad), data<int32_t>(node), regions);
  settle<<<blocks_for(rows), kThreads, 0, stream>>>(gradients, 0, rows, tree.num_pixels);
  const int64_t* starts = data<int64_t>(level_starts);
  for (int64_t level = levels - 2; level >= 1; --level) {
    const int64_t begin = starts[level], end = starts[level + 1];
    const bool by_size = level == levels - 2;
    gradients.largest += 1;
    pull_regions<<<blocks_for(end - begin), kThreads, 0, stream>>>(tree, gradients, begin, end, by_size);
    if (by_size) continue;
    push_edges<<<blocks_for((end - begin) * d), kThreads, 0, stream>>>(tree, gradients, begin, end);
    settle<<<blocks_for((end - begin) * d), kThreads, 0, stream>>>(gradients, (begin - pixels) * d, (end - pixels) * d, 2 * (end - begin));
  }
  const bool pixels_by_size = levels == 2;
  keep.push_back(empty_on(features, {pixels}, ScalarType::Double));
  double* share = mutable_data<double>(keep.back());
  weigh_pixels<<<blocks_for(pixels), kThreads, 0, stream>>>(tree, gradients, share, pixels_by_size);
  gather_pixels<<<blocks_for(pixels * d), kThreads, 0, stream>>>(tree, gradients, share);
  sum_self_terms<<<1, kThreads, 0, stream>>>(gradients.self_terms, kMaxBlocks, static_cast<int>(d), mutable_data<float>(to_slope),
                                             mutable_data<float>(to_bias));
  check(cudaGetLastError(), "launching the gradient of the tree's means");
  return {to_features, to_slope, to_bias};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("tree_mean_backward", TORCH_BOX(&dht::tree_mean_backward_cuda)); }
