// CPU kernel of exact_linear: sums in the order of the channels, bias first.
#include <algorithm>

#include "../common/tensors.h"
#include "simd.h"

namespace dht {
namespace {

DHT_SIMD void add_scaled(const float* input, double weight, int64_t count, double* sum) {
  for (int64_t n = 0; n < count; ++n) sum[n] += static_cast<double>(input[n]) * weight;
}

DHT_SIMD void add_scaled(const double* input, double weight, int64_t count, double* sum) {
  for (int64_t n = 0; n < count; ++n) sum[n] += input[n] * weight;
}

template <class T>
void linear(const Tensor& planes, const Tensor& weight, const Tensor& bias, const Tensor& out) {
  const int64_t batch = planes.size(0), inputs = planes.size(1), count = planes.size(2), outputs = weight.size(0);
  torch::stable::parallel_for(0, batch * outputs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double* sum = mutable_data<double>(out) + i * count;
      std::fill(sum, sum + count, static_cast<double>(data<float>(bias)[i % outputs]));
      for (int64_t k = 0; k < inputs; ++k)
        add_scaled(data<T>(planes) + (i / outputs * inputs + k) * count, data<float>(weight)[i % outputs * inputs + k], count, sum);
    }
  });
}

}  // namespace

Tensor exact_linear_cpu(const Tensor& planes, const Tensor& weight, const Tensor& bias) {
  const Tensor out = empty_on(planes, {planes.size(0), weight.size(0), planes.size(2)}, ScalarType::Double);
  const auto kernel = planes.scalar_type() == ScalarType::Double ? linear<double> : linear<float>;
  kernel(planes, weight, bias, out);
  return out;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("exact_linear", TORCH_BOX(&dht::exact_linear_cpu)); }
