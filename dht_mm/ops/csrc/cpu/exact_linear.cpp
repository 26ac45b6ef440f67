// CPU kernel of exact_linear: sums in the order of the columns, bias first.
#include <optional>

#include "../common/tensors.h"

namespace dht {
namespace {

template <class T>
void linear(const Tensor& rows, const Tensor& weight, const Tensor& bias, int64_t used, const Tensor& out) {
  const int64_t inputs = rows.size(1), outputs = weight.size(0);
  torch::stable::parallel_for(0, rows.size(0), 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * outputs; i < end * outputs; ++i) {
      const T* row = data<T>(rows) + i / outputs * inputs;
      const float* column = data<float>(weight) + i % outputs * inputs;
      double sum = i / outputs < used ? data<float>(bias)[i % outputs] : 0.0;
      for (int64_t k = 0; k < inputs; ++k) sum += static_cast<double>(row[k]) * static_cast<double>(column[k]);
      mutable_data<T>(out)[i] = static_cast<T>(sum);
    }
  });
}

}  // namespace

Tensor exact_linear_cpu(const Tensor& rows, const Tensor& weight, const Tensor& bias, const std::optional<Tensor>& used) {
  const bool wide = rows.scalar_type() == ScalarType::Double;
  const Tensor out = empty_on(rows, {rows.size(0), weight.size(0)}, wide ? ScalarType::Double : ScalarType::Float);
  const auto kernel = wide ? linear<double> : linear<float>;
  kernel(rows, weight, bias, used ? *data<int32_t>(*used) : rows.size(0), out);
  return out;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("exact_linear", TORCH_BOX(&dht::exact_linear_cpu)); }
