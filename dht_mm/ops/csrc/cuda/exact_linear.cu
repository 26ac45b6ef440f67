// CUDA kernel of exact_linear: one thread an output, summed in the order of the channels, bias first.
#include "launch.cuh"

namespace dht {
namespace {

template <class T>
__global__ void exact_linear(const T* planes, const float* weight, const float* bias, int64_t batch, int64_t inputs, int64_t outputs,
                             int64_t count, double* out) {
  for (int64_t i = grid_thread(); i < batch * outputs * count; i += grid_size()) {
    const int64_t n = i % count, o = i / count % outputs, b = i / count / outputs;
    double sum = bias[o];
    for (int64_t k = 0; k < inputs; ++k)
      sum += static_cast<double>(planes[(b * inputs + k) * count + n]) * static_cast<double>(weight[o * inputs + k]);
    out[i] = sum;
  }
}

}  // namespace

Tensor exact_linear_cuda(const Tensor& planes, const Tensor& weight, const Tensor& bias) {
  const torch::stable::accelerator::DeviceGuard guard(planes.get_device_index());
  const int64_t batch = planes.size(0), inputs = planes.size(1), count = planes.size(2), outputs = weight.size(0);
  const Tensor out = empty_on(planes, {batch, outputs, count}, ScalarType::Double);
  const auto run = [&](auto* values) {
    exact_linear<<<blocks_for(batch * outputs * count), kThreads, 0, current_stream(planes)>>>(
        values, data<float>(weight), data<float>(bias), batch, inputs, outputs, count, mutable_data<double>(out));
  };
  if (planes.scalar_type() == ScalarType::Double)
    run(data<double>(planes));
  else
    run(data<float>(planes));
  check(cudaGetLastError(), "launching exact_linear");
  return out;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("exact_linear", TORCH_BOX(&dht::exact_linear_cuda)); }
