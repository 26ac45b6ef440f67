// CUDA kernel of project: coarse cells first, then pixels; features leave as [B, H, W, d], which the hierarchy reads.
#include "../common/projection.h"

#include "launch.cuh"

namespace dht {
namespace {

struct Size {
  int64_t batch, in_channels, height, width, channels, coarse_height, coarse_width;
};

__device__ __forceinline__ double apply_norm(const Layer& layer, int output, double eps, double sum) {
  return normalize(sum, layer.mean[output], norm_scale(layer, output, eps), layer.beta[output]);
}

// One thread a hidden value of the coarse branch: [B, 2h, 2w, 4d].
__global__ void hidden_cells(const float* image, Size size, Layer layer, double eps, double* hidden) {
  const int64_t height = 2 * size.coarse_height, width = 2 * size.coarse_width, total = size.batch * height * width * layer.outputs;
  for (int64_t i = grid_thread(); i < total; i += grid_size()) {
    const int o = static_cast<int>(i % layer.outputs);
    const int64_t cell = i / layer.outputs, x = cell % width, y = cell / width % height, b = cell / width / height;
    const float* weight = layer.weight + int64_t(o) * layer.inputs;
    double sum = layer.bias[o];
    for (int64_t c = 0; c < size.in_channels; ++c) {
      const float* plane = image + (b * size.in_channels + c) * size.height * size.width;
      for (int k = 0; k < 4; ++k) {
        const int64_t py = min(2 * y + k / 2, size.height - 1), px = min(2 * x + k % 2, size.width - 1);
        sum += static_cast<double>(plane[py * size.width + px]) * static_cast<double>(weight[c * 4 + k]);
      }
    }
    hidden[i] = silu(apply_norm(layer, o, eps, sum));
  }
}

// One thread a coarse value: [B, h, w, d].
__global__ void coarse_cells(const double* hidden, Size size, Layer layer, double eps, double* coarse) {
  const int64_t total = size.batch * size.coarse_height * size.coarse_width * layer.outputs, wide = layer.inputs / 4;
  for (int64_t i = grid_thread(); i < total; i += grid_size()) {
    const int o = static_cast<int>(i % layer.outputs);
    const int64_t cell = i / layer.outputs, x = cell % size.coarse_width, row = cell / size.coarse_width;
    const float* weight = layer.weight + int64_t(o) * layer.inputs;
    double sum = layer.bias[o];
    for (int64_t c = 0; c < wide; ++c)
      for (int k = 0; k < 4; ++k)
        sum += hidden[((row * 2 + k / 2) * 2 * size.coarse_width + 2 * x + k % 2) * wide + c] * static_cast<double>(weight[c * 4 + k]);
    coarse[i] = apply_norm(layer, o, eps, sum);
  }
}

// One thread a feature value: [B, H, W, d].
__global__ void pixel_features(const float* image, const double* coarse, Size size, Layer layer, double eps, float* features) {
  const int64_t plane = size.height * size.width, total = size.batch * plane * size.channels;
  for (int64_t i = grid_thread(); i < total; i += grid_size()) {
    const int o = static_cast<int>(i % size.channels);
    const int64_t pixel = i / size.channels, b = pixel / plane, within = pixel % plane;
    const Between y = upsample4_position(within / size.width, size.coarse_height), x = upsample4_position(within % size.width, size.coarse_width);
    const double* map = coarse + b * size.coarse_height * size.coarse_width * size.channels + o;
    const auto at = [&](int64_t row, int64_t column) { return map[(row * size.coarse_width + column) * size.channels]; };
    const double left = lerp(at(y.low, x.low), at(y.high, x.low), y.fraction), right = lerp(at(y.low, x.high), at(y.high, x.high), y.fraction);
    double sum = layer.bias[o];
    for (int64_t c = 0; c < size.in_channels; ++c)
      sum += static_cast<double>(image[(b * size.in_channels + c) * plane + within]) * static_cast<double>(layer.weight[o * layer.inputs + c]);
    features[i] = static_cast<float>(silu(apply_norm(layer, o, eps, sum) + lerp(left, right, x.fraction)));
  }
}

}  // namespace

Tensor project_cuda(const Tensor& image, const Tensor& parameters, int64_t channels, double eps) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const Size size{image.size(0), image.size(1), image.size(2), image.size(3), channels, (image.size(2) + 3) / 4, (image.size(3) + 3) / 4};
  const Projection layers = take_projection(data<float>(parameters), static_cast<int>(size.in_channels), static_cast<int>(channels));
  const int64_t cells = size.batch * size.coarse_height * size.coarse_width, pixels = size.batch * size.height * size.width;
  const Tensor hidden = empty_on(image, {cells * 16 * channels}, ScalarType::Double);
  const Tensor coarse = empty_on(image, {cells * channels}, ScalarType::Double);
  const Tensor features = empty_on(image, {size.batch, size.height, size.width, channels}, ScalarType::Float);
  const cudaStream_t stream = current_stream(image);
  const float* pixels_in = data<float>(image);
  hidden_cells<<<blocks_for(cells * 16 * channels), kThreads, 0, stream>>>(pixels_in, size, layers.coarse1, eps, mutable_data<double>(hidden));
  coarse_cells<<<blocks_for(cells * channels), kThreads, 0, stream>>>(data<double>(hidden), size, layers.coarse2, eps,
                                                                      mutable_data<double>(coarse));
  pixel_features<<<blocks_for(pixels * channels), kThreads, 0, stream>>>(pixels_in, data<double>(coarse), size, layers.fine, eps,
                                                                         mutable_data<float>(features));
  check(cudaGetLastError(), "launching the projection");
  return features;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("project", TORCH_BOX(&dht::project_cuda)); }
