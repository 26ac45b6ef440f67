// Gradient of the means of regions to those of their children (paper eq. 5), for the Gaussian kernel.
#pragma once

#include "edge_weight.h"
#include "moments.h"

namespace dht {

// Features of a child: element c lies at c * stride; no variance: a pixel.
struct ChildMoments {
  const float *mean, *variance;
  int64_t stride;
  DHT_HD double f(int c) const { return widen(mean[c * stride]); }
  DHT_HD double s(int c) const { return variance == nullptr ? 0.0 : widen(variance[c * stride]); }
};

// A parent's moments and the gradient to them.
struct ParentGradient {
  const float *mean, *variance;
  const double *to_mean, *to_variance;
  double alpha;  // sum over the children
};

// Gradient to a child's mean through the parent's moments; `share` is alpha over the parent's sum. The part to its variance is
// share * to_variance.
DHT_HD double mean_gradient(const ParentGradient& parent, double f, double share, int c) {
  return share * (parent.to_mean[c] + 2.0 * (f - widen(parent.mean[c])) * parent.to_variance[c]);
}

// Gradient to a child's weight alpha.
DHT_HD double alpha_gradient(const ParentGradient& parent, const ChildMoments& child, int channels) {
  double total = 0.0;
  for (int c = 0; c < channels; ++c) {
    const double difference = child.f(c) - widen(parent.mean[c]);
    total += difference * parent.to_mean[c];
    total += (child.s(c) + difference * difference - widen(parent.variance[c])) * parent.to_variance[c];
  }
  return total / parent.alpha;
}

// Gradient to the weight w of the picked edge, from that to alpha = size * max(sqrt(w), smallest).
DHT_HD double weight_gradient(double to_alpha, int64_t size, double weight) {
  const double root = std::sqrt(weight);
  return root < kSmallestRootWeight ? 0.0 : to_alpha * static_cast<double>(size) / (2.0 * root);
}

// d w / d f_u = factor * (f_u - f_v) of an edge between u and v with Gaussian similarity.
DHT_HD double gaussian_factor(double similarity, double compactness) { return -2.0 * (1.0 - compactness) * similarity; }

// d w / d (a . s + b) of a self edge.
DHT_HD double sigmoid_factor(double activation, double compactness) {
  const double value = sigmoid(activation);
  return (1.0 - compactness) * value * (1.0 - value);
}

}  // namespace dht
