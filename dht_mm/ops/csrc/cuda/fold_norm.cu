// CUDA kernels of fold_norm, its gradient and linear_statistics: a block an output.
#include "../common/fold_norm.h"

#include "launch.cuh"

namespace dht {
namespace {

constexpr int kFoldThreads = 128;

template <class T>
__global__ void fold(NormedLinear<T> layer, double* weight, double* bias) {
  const int64_t o = blockIdx.x;
  const double scale = norm_scale(layer, o);
  for (int64_t i = o * layer.inputs + threadIdx.x; i < (o + 1) * layer.inputs; i += blockDim.x)
    weight[i] = static_cast<double>(layer.weight[i]) * scale;
  if (threadIdx.x == 0) bias[o] = folded_bias(layer, o, scale);
}

__global__ void fold_gradient(NormedLinear<double> layer, const double* grad_weight, const double* grad_bias, NormGradient out) {
  __shared__ double shares[kFoldThreads];
  const int64_t o = blockIdx.x;
  const double scale = norm_scale(layer, o);
  double to_scale = 0.0;
  for (int64_t i = o * layer.inputs + threadIdx.x; i < (o + 1) * layer.inputs; i += blockDim.x) {
    to_scale += grad_weight[i] * static_cast<double>(layer.weight[i]);
    out.weight[i] = static_cast<float>(grad_weight[i] * scale);
  }
  shares[threadIdx.x] = to_scale;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int i = 1; i < kFoldThreads; ++i) to_scale += shares[i];
  write_norm_gradient(layer, o, scale, to_scale, grad_bias[o], out);
}

__global__ void statistics(LinearOfMoments map, double* mean, double* variance) {
  extern __shared__ double terms[];
  const int64_t o = blockIdx.x;
  for (int64_t n = threadIdx.x; n < map.inputs; n += blockDim.x) terms[n] = variance_term(map, o, n);
  __syncthreads();
  if (threadIdx.x > 0) return;
  double sum = 0.0;
  for (int64_t n = 0; n < map.inputs; ++n) sum += terms[n];
  mean[o] = mean_of_output(map, o);
  variance[o] = sum > 0.0 ? sum : 0.0;
}

}  // namespace

TwoTensors fold_norm_cuda(const Tensor& weight, const Tensor& bias, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                          const Tensor& variance, double eps) {
  const torch::stable::accelerator::DeviceGuard guard(weight.get_device_index());
  const Tensor out_weight = empty_on(weight, {weight.size(0), weight.size(1)}, ScalarType::Double);
  const Tensor out_bias = empty_on(weight, {weight.size(0)}, ScalarType::Double);
  const auto run = [&](auto zero) {
    const auto layer = normed_linear<decltype(zero)>(weight, bias, gamma, data<float>(beta), mean, variance, eps);
    fold<<<blocks_of_one(layer.outputs), kFoldThreads, 0, current_stream(weight)>>>(
        layer, mutable_data<double>(out_weight), mutable_data<double>(out_bias));
  };
  if (mean.scalar_type() == ScalarType::Double)
    run(double{});
  else
    run(float{});
  check(cudaGetLastError(), "launching fold_norm");
  return {out_weight, out_bias};
}

NormGrads fold_norm_backward_cuda(const Tensor& grad_weight, const Tensor& grad_bias, const Tensor& weight, const Tensor& bias,
                                  const Tensor& gamma, const Tensor& mean, const Tensor& variance, double eps) {
  const torch::stable::accelerator::DeviceGuard guard(weight.get_device_index());
  const NormedLinear<double> layer = normed_linear<double>(weight, bias, gamma, nullptr, mean, variance, eps);
  const NormGrads grads = empty_grads(weight);
  fold_gradient<<<blocks_of_one(layer.outputs), kFoldThreads, 0, current_stream(weight)>>>(
      layer, data<double>(grad_weight), data<double>(grad_bias), norm_gradient(grads));
  check(cudaGetLastError(), "launching fold_norm_backward");
  return grads;
}

TwoTensors linear_statistics_cuda(const Tensor& mean, const Tensor& second, const Tensor& weight, const Tensor& bias) {
  const torch::stable::accelerator::DeviceGuard guard(weight.get_device_index());
  const LinearOfMoments map = linear_of_moments(mean, second, weight, bias);
  const Tensor out_mean = empty_on(mean, {map.outputs}, ScalarType::Double), out_variance = empty_on(mean, {map.outputs}, ScalarType::Double);
  statistics<<<blocks_of_one(map.outputs), kFoldThreads, map.inputs * sizeof(double), current_stream(weight)>>>(
      map, mutable_data<double>(out_mean), mutable_data<double>(out_variance));
  check(cudaGetLastError(), "launching linear_statistics");
  return {out_mean, out_variance};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) {
  m.impl("fold_norm", TORCH_BOX(&dht::fold_norm_cuda));
  m.impl("fold_norm_backward", TORCH_BOX(&dht::fold_norm_backward_cuda));
  m.impl("linear_statistics", TORCH_BOX(&dht::linear_statistics_cuda));
}
