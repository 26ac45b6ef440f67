// CPU kernel of tree_mean_backward: walks the forest down, level by level; every sum runs in the order of the nodes.
#include <algorithm>
#include <tuple>

#include "../common/tensors.h"
#include "../common/tree_gradient.h"

namespace dht {
namespace {

struct Tree {
  const float *features, *slope, *bias, *mean, *variance;
  const int32_t *parent, *pick, *size;
  const Box* box;
  const double* alpha;
  int64_t pixels, plane, width;
  int channels;
  double compactness;

  ChildMoments moments(int64_t node) const {
    if (node < pixels) return {features + node / plane * plane * channels + node % plane, nullptr, plane};
    return {mean + (node - pixels) * channels, variance + (node - pixels) * channels, 1};
  }
  int64_t size_of(int64_t node) const { return node < pixels ? 1 : size[node - pixels]; }
  Box box_of(int64_t node) const {
    if (node >= pixels) return box[node - pixels];
    const int32_t y = static_cast<int32_t>(node % plane / width), x = static_cast<int32_t>(node % plane % width);
    return {y, x, y, x};
  }
};

struct Gradients {
  std::vector<double> mean, variance;  // [n, d], all nodes; pixels have no variance
  std::vector<double> slope;
  double bias = 0.0;
};

ParentGradient parent_of(const Tree& tree, const Gradients& gradients, int64_t child) {
  const int64_t row = (tree.parent[child] - tree.pixels) * tree.channels, all = int64_t(tree.parent[child]) * tree.channels;
  return {tree.mean + row, tree.variance + row, &gradients.mean[all], &gradients.variance[row], tree.alpha[tree.parent[child] - tree.pixels]};
}

// Squared distance from a child to the region it picked.
double distance_to(const Tree& tree, const ChildMoments& a, const ChildMoments& b) {
  double distance = 0.0;
  for (int c = 0; c < tree.channels; ++c) distance += (a.f(c) - b.f(c)) * (a.f(c) - b.f(c));
  return distance;
}

void edge_gradient(const Tree& tree, Gradients& gradients, int64_t u, int64_t v, double factor) {
  const ChildMoments a = tree.moments(u), b = tree.moments(v);
  for (int c = 0; c < tree.channels; ++c) {
    const double term = factor * (a.f(c) - b.f(c));
    gradients.mean[u * tree.channels + c] += term;
    gradients.mean[v * tree.channels + c] -= term;
  }
}

void self_gradient(const Tree& tree, Gradients& gradients, int64_t u, double activation, double to_weight) {
  const double factor = to_weight * sigmoid_factor(activation, tree.compactness);
  const int64_t row = (u - tree.pixels) * tree.channels;
  for (int c = 0; c < tree.channels; ++c) {
    gradients.slope[c] += factor * static_cast<double>(tree.variance[row + c]);
    gradients.variance[row + c] += factor * static_cast<double>(tree.slope[c]);
  }
  gradients.bias += factor;
}

double self_activation(const Tree& tree, int64_t u) {
  double activation = *tree.bias;
  for (int c = 0; c < tree.channels; ++c)
    activation += static_cast<double>(tree.slope[c]) * static_cast<double>(tree.variance[(u - tree.pixels) * tree.channels + c]);
  return activation;
}

// Hands the gradient of u's parent on to u, and to what u's picked edge depends on.
void pull(const Tree& tree, Gradients& gradients, int64_t u, bool by_size) {
  const int d = tree.channels;
  const int64_t v = tree.pick[u], size = tree.size_of(u);
  const ParentGradient parent = parent_of(tree, gradients, u);
  const ChildMoments child = tree.moments(u);
  const bool itself = v == u;
  double similarity = 0.0, activation = 0.0, weight = 1.0;
  if (!by_size) {
    const Box box = itself ? tree.box_of(u) : unite(tree.box_of(u), tree.box_of(v));
    if (itself) activation = self_activation(tree, u);
    similarity = itself ? sigmoid(activation) : exp(-distance_to(tree, child, tree.moments(v)));
    weight = blend(similarity, compactness_of(itself ? size : size + tree.size_of(v), box), tree.compactness);
  }
  const double alpha = by_size ? static_cast<double>(size) : alpha_of(size, weight), share = alpha / parent.alpha;
  for (int c = 0; c < d; ++c) {
    gradients.mean[u * d + c] += mean_gradient(parent, child.f(c), share, c);
    if (u >= tree.pixels) gradients.variance[(u - tree.pixels) * d + c] += share * parent.to_variance[c];
  }
  if (by_size) return;
  const double to_weight = weight_gradient(alpha_gradient(parent, child, d), size, weight);
  if (to_weight == 0.0) return;
  if (itself)
    self_gradient(tree, gradients, u, activation, to_weight);
  else
    edge_gradient(tree, gradients, u, v, to_weight * gaussian_factor(similarity, tree.compactness));
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> tree_mean_backward_cpu(
    const Tensor& grad, const Tensor& features, const Tensor& slope, const Tensor& bias, const Tensor& offsets, const Tensor& node,
    const Tensor& parent, const Tensor& pick, const Tensor& node_mean, const Tensor& node_variance, const Tensor& node_size, const Tensor& node_bbox,
    const Tensor& node_alpha, const Tensor& level_starts, double compactness) {
  const int64_t batch = features.size(0), height = features.size(2), width = features.size(3), pixels = batch * height * width;
  const int d = static_cast<int>(features.size(1));
  const Tree tree{data<float>(features), data<float>(slope), data<float>(bias), data<float>(node_mean), data<float>(node_variance),
                  data<int32_t>(parent), data<int32_t>(pick), data<int32_t>(node_size), data<Box>(node_bbox), data<double>(node_alpha),
                  pixels, height * width, width, d, compactness};
  // A hierarchy of a fixed length repeats its end, and has no node at all where the regions did not fit.
  const int64_t* starts = data<int64_t>(level_starts);
  int64_t levels = level_starts.size(0) - 1;
  while (levels > 0 && starts[levels - 1] == starts[levels]) --levels;
  const int64_t nodes = std::max(starts[levels], pixels), regions = data<int32_t>(offsets)[batch];
  Gradients gradients{std::vector<double>(nodes * d), std::vector<double>((nodes - pixels) * d), std::vector<double>(d)};
  for (int64_t r = 0; r < regions; ++r)
    for (int c = 0; c < d; ++c) gradients.mean[data<int32_t>(node)[r] * int64_t(d) + c] += data<float>(grad)[r * d + c];
  for (int64_t level = levels - 2; level >= 0; --level)
    for (int64_t u = starts[level]; u < starts[level + 1]; ++u) pull(tree, gradients, u, level == levels - 2);

  const Tensor to_features = empty_on(features, {batch, d, height, width}, ScalarType::Float);
  float* out = mutable_data<float>(to_features);
  for (int64_t u = 0; u < pixels; ++u)
    for (int c = 0; c < d; ++c) out[(u / tree.plane * d + c) * tree.plane + u % tree.plane] = static_cast<float>(gradients.mean[u * d + c]);
  const Tensor to_slope = empty_on(features, {d}, ScalarType::Float), to_bias = empty_on(features, {}, ScalarType::Float);
  std::copy(gradients.slope.begin(), gradients.slope.end(), mutable_data<float>(to_slope));
  *mutable_data<float>(to_bias) = static_cast<float>(gradients.bias);
  return {to_features, to_slope, to_bias};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("tree_mean_backward", TORCH_BOX(&dht::tree_mean_backward_cpu)); }
