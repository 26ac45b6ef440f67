// CPU kernels of fold_norm, its gradient and linear_statistics.
#include "../common/fold_norm.h"

namespace dht {
namespace {

template <class T>
void fold(const NormedLinear<T>& layer, double* weight, double* bias) {
  for (int64_t o = 0; o < layer.outputs; ++o) {
    const double scale = norm_scale(layer, o);
    for (int64_t i = o * layer.inputs; i < (o + 1) * layer.inputs; ++i) weight[i] = static_cast<double>(layer.weight[i]) * scale;
    bias[o] = folded_bias(layer, o, scale);
  }
}

}  // namespace

TwoTensors fold_norm_cpu(const Tensor& weight, const Tensor& bias, const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                         const Tensor& variance, double eps) {
  const Tensor out_weight = empty_on(weight, {weight.size(0), weight.size(1)}, ScalarType::Double);
  const Tensor out_bias = empty_on(weight, {weight.size(0)}, ScalarType::Double);
  const auto run = [&]<class T>(T) {
    fold(normed_linear<T>(weight, bias, gamma, data<float>(beta), mean, variance, eps), mutable_data<double>(out_weight),
         mutable_data<double>(out_bias));
  };
  if (mean.scalar_type() == ScalarType::Double)
    run(double{});
  else
    run(float{});
  return {out_weight, out_bias};
}

NormGrads fold_norm_backward_cpu(const Tensor& grad_weight, const Tensor& grad_bias, const Tensor& weight, const Tensor& bias,
                                 const Tensor& gamma, const Tensor& mean, const Tensor& variance, double eps) {
  const NormedLinear<double> layer = normed_linear<double>(weight, bias, gamma, nullptr, mean, variance, eps);
  const NormGrads grads = empty_grads(weight);
  const NormGradient out = norm_gradient(grads);
  for (int64_t o = 0; o < layer.outputs; ++o) {
    const double scale = norm_scale(layer, o);
    double to_scale = 0.0;
    for (int64_t i = o * layer.inputs; i < (o + 1) * layer.inputs; ++i) {
      const double grad = data<double>(grad_weight)[i];
      to_scale += grad * layer.weight[i];
      out.weight[i] = static_cast<float>(grad * scale);
    }
    write_norm_gradient(layer, o, scale, to_scale, data<double>(grad_bias)[o], out);
  }
  return grads;
}

TwoTensors linear_statistics_cpu(const Tensor& mean, const Tensor& second, const Tensor& weight, const Tensor& bias) {
  const LinearOfMoments map = linear_of_moments(mean, second, weight, bias);
  const Tensor out_mean = empty_on(mean, {map.outputs}, ScalarType::Double), out_variance = empty_on(mean, {map.outputs}, ScalarType::Double);
  for (int64_t o = 0; o < map.outputs; ++o) {
    double sum = 0.0;
    for (int64_t n = 0; n < map.inputs; ++n) sum += variance_term(map, o, n);
    mutable_data<double>(out_mean)[o] = mean_of_output(map, o);
    mutable_data<double>(out_variance)[o] = sum > 0.0 ? sum : 0.0;
  }
  return {out_mean, out_variance};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) {
  m.impl("fold_norm", TORCH_BOX(&dht::fold_norm_cpu));
  m.impl("fold_norm_backward", TORCH_BOX(&dht::fold_norm_backward_cpu));
  m.impl("linear_statistics", TORCH_BOX(&dht::linear_statistics_cpu));
}
