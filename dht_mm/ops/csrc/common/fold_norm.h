// Batch norm as a part of the linear map before it, and the statistics of that map: an output at a time, for CPU and CUDA.
#pragma once

#include "exact_math.h"
#include "tensors.h"

namespace dht {

// A linear map of `inputs` values and batch norm behind it; T is the type of its statistics.
template <class T>
struct NormedLinear {
  const float *weight, *bias, *gamma, *beta;
  const T *mean, *variance;
  double eps;
  int64_t outputs, inputs;
};

template <class T>
DHT_HD double norm_scale(const NormedLinear<T>& layer, int64_t output) {
  return static_cast<double>(layer.gamma[output]) / std::sqrt(static_cast<double>(layer.variance[output]) + layer.eps);
}

template <class T>
DHT_HD double folded_bias(const NormedLinear<T>& layer, int64_t output, double scale) {
  return (static_cast<double>(layer.bias[output]) - static_cast<double>(layer.mean[output])) * scale + static_cast<double>(layer.beta[output]);
}

// Gradients to the parts of batch norm.
struct NormGradient {
  float *weight, *bias, *gamma, *beta;
  double *mean, *variance;
};

// Writes the gradients of one output but for the weights'. `to_scale` is the gradient to its scale by way of the weights.
DHT_HD void write_norm_gradient(const NormedLinear<double>& layer, int64_t output, double scale, double to_scale, double to_bias,
                                const NormGradient& grad) {
  const double inverse = 1.0 / std::sqrt(layer.variance[output] + layer.eps);
  to_scale += to_bias * (static_cast<double>(layer.bias[output]) - layer.mean[output]);
  grad.bias[output] = static_cast<float>(to_bias * scale);
  grad.gamma[output] = static_cast<float>(to_scale * inverse);
  grad.beta[output] = static_cast<float>(to_bias);
  grad.mean[output] = -(to_bias * scale);
  grad.variance[output] = -0.5 * to_scale * scale * inverse * inverse;
}

// Moments of patches [inputs] and [inputs, inputs], and a linear map of them.
struct LinearOfMoments {
  const double *mean, *second;
  const float *weight, *bias;
  int64_t outputs, inputs;
};

DHT_HD double mean_of_output(const LinearOfMoments& map, int64_t output) {
  double sum = map.bias[output];
  for (int64_t k = 0; k < map.inputs; ++k) sum += map.mean[k] * static_cast<double>(map.weight[output * map.inputs + k]);
  return sum;
}

// One term of the variance of an output: row n of the covariance times the weights, times weight n.
DHT_HD double variance_term(const LinearOfMoments& map, int64_t output, int64_t n) {
  const float* weight = map.weight + output * map.inputs;
  double sum = 0.0;
  for (int64_t k = 0; k < map.inputs; ++k)
    sum += (map.second[k * map.inputs + n] - map.mean[k] * map.mean[n]) * static_cast<double>(weight[k]);
  return sum * static_cast<double>(weight[n]);
}

inline LinearOfMoments linear_of_moments(const Tensor& mean, const Tensor& second, const Tensor& weight, const Tensor& bias) {
  return {data<double>(mean), data<double>(second), data<float>(weight), data<float>(bias), weight.size(0), weight.size(1)};
}

template <class T>
NormedLinear<T> normed_linear(const Tensor& weight, const Tensor& bias, const Tensor& gamma, const float* beta, const Tensor& mean,
                              const Tensor& variance, double eps) {
  return {data<float>(weight), data<float>(bias), data<float>(gamma), beta, data<T>(mean), data<T>(variance), eps,
          weight.size(0), weight.size(1)};
}

// Two results of fold_norm and linear_statistics, six of fold_norm_backward.
using TwoTensors = std::tuple<Tensor, Tensor>;
using NormGrads = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

TwoTensors fold_norm_cpu(const Tensor& weight, const Tensor& bias, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                         const Tensor& variance, double eps);
TwoTensors fold_norm_cuda(const Tensor& weight, const Tensor& bias, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                          const Tensor& variance, double eps);

inline NormGrads empty_grads(const Tensor& weight) {
  const int64_t outputs = weight.size(0);
  const auto vector = [&](ScalarType type) { return empty_on(weight, {outputs}, type); };
  return {empty_on(weight, {outputs, weight.size(1)}, ScalarType::Float), vector(ScalarType::Float), vector(ScalarType::Float),
          vector(ScalarType::Float), vector(ScalarType::Double), vector(ScalarType::Double)};
}

inline NormGradient norm_gradient(const NormGrads& grads) {
  const auto& [weight, bias, gamma, beta, mean, variance] = grads;
  return {mutable_data<float>(weight), mutable_data<float>(bias), mutable_data<float>(gamma), mutable_data<float>(beta),
          mutable_data<double>(mean), mutable_data<double>(variance)};
}

}  // namespace dht
