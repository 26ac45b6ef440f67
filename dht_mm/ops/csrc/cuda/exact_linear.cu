// CUDA kernel of exact_linear: one thread an output, summed in the order of the columns, bias first.
#include <optional>

#include "launch.cuh"

namespace dht {
namespace {

template <class T>
__global__ void exact_linear(const T* rows, const float* weight, const float* bias, const int32_t* used, int64_t count, int64_t inputs,
                             int64_t outputs, T* out) {
  for (int64_t i = grid_thread(); i < count * outputs; i += grid_size()) {
    const int64_t row = i / outputs, o = i % outputs;
    double sum = used == nullptr || row < *used ? bias[o] : 0.0f;
    for (int64_t k = 0; k < inputs; ++k) sum += static_cast<double>(rows[row * inputs + k]) * static_cast<double>(weight[o * inputs + k]);
    out[i] = static_cast<T>(sum);
  }
}

template <class T>
Tensor run(const Tensor& rows, const Tensor& weight, const Tensor& bias, const std::optional<Tensor>& used, ScalarType dtype) {
  const int64_t count = rows.size(0), outputs = weight.size(0);
  const Tensor out = empty_on(rows, {count, outputs}, dtype);
  exact_linear<<<blocks_for(count * outputs), kThreads, 0, current_stream(rows)>>>(
      data<T>(rows), data<float>(weight), data<float>(bias), used ? data<int32_t>(*used) : nullptr, count, rows.size(1), outputs,
      mutable_data<T>(out));
  check(cudaGetLastError(), "launching exact_linear");
  return out;
}

}  // namespace

Tensor exact_linear_cuda(const Tensor& rows, const Tensor& weight, const Tensor& bias, const std::optional<Tensor>& used) {
  const torch::stable::accelerator::DeviceGuard guard(rows.get_device_index());
  if (rows.scalar_type() == ScalarType::Double) return run<double>(rows, weight, bias, used, ScalarType::Double);
  return run<float>(rows, weight, bias, used, ScalarType::Float);
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("exact_linear", TORCH_BOX(&dht::exact_linear_cuda)); }
