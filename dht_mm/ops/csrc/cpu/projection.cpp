// CPU kernel of project: rows of pixels at a time, so that the inner loops run over contiguous doubles.
#include "../common/projection.h"

#include <algorithm>
#include <vector>

#include "../common/tensors.h"
#include "simd.h"

namespace dht {
namespace {

struct Size {
  int64_t batch, in_channels, height, width, channels, coarse_height, coarse_width;
};

using Row = std::vector<double>;

// out[x] = bias + sum over k of weight[k] * inputs[k][x], in the order of k, then batch norm.
DHT_SIMD void linear_row(const Layer& layer, int output, double eps, const double* inputs, int64_t count, double* out) {
  const float* weight = layer.weight + int64_t(output) * layer.inputs;
  const double bias = layer.bias[output], mean = layer.mean[output], beta = layer.beta[output], scale = norm_scale(layer, output, eps);
  constexpr int64_t kBlock = 64;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    double sum[kBlock];
    std::fill(sum, sum + n, bias);
    for (int k = 0; k < layer.inputs; ++k) {
      const double w = weight[k];
      const double* input = inputs + k * count + begin;
      for (int64_t x = 0; x < n; ++x) sum[x] += input[x] * w;
    }
    for (int64_t x = 0; x < n; ++x) out[begin + x] = normalize(sum[x], mean, scale, beta);
  }
}

DHT_SIMD void silu_row(double* row, int64_t count) {
  for (int64_t x = 0; x < count; ++x) row[x] = silu(row[x]);
}

// Patches of one row of the first coarse layer, [4 C, 2 * coarse_width]; the image continues with its last row and column.
void gather_patches(const float* image, const Size& size, int64_t row, double* out) {
  const int64_t count = 2 * size.coarse_width;
  for (int64_t c = 0; c < size.in_channels; ++c) {
    for (int64_t ky = 0; ky < 2; ++ky) {
      const float* line = image + (c * size.height + std::min(2 * row + ky, size.height - 1)) * size.width;
      for (int64_t kx = 0; kx < 2; ++kx, out += count)
        for (int64_t x = 0; x < count; ++x) out[x] = line[std::min(2 * x + kx, size.width - 1)];
    }
  }
}

// One row of the coarse features, [d, coarse_width].
void coarse_row(const float* image, const Size& size, const Projection& layers, double eps, int64_t row, double* out, int64_t out_stride) {
  const int64_t wide = 4 * size.channels, half = 2 * size.coarse_width, count = size.coarse_width;
  Row patches(4 * size.in_channels * half), hidden(half), inputs(4 * wide * count);
  for (int64_t ky = 0; ky < 2; ++ky) {
    gather_patches(image, size, 2 * row + ky, patches.data());
    for (int64_t o = 0; o < wide; ++o) {
      linear_row(layers.coarse1, static_cast<int>(o), eps, patches.data(), half, hidden.data());
      silu_row(hidden.data(), half);
      for (int64_t kx = 0; kx < 2; ++kx)
        for (int64_t x = 0; x < count; ++x) inputs[((o * 2 + ky) * 2 + kx) * count + x] = hidden[2 * x + kx];
    }
  }
  for (int64_t o = 0; o < size.channels; ++o) linear_row(layers.coarse2, static_cast<int>(o), eps, inputs.data(), count, out + o * out_stride);
}

// One row of the pixel features, written to `out` with planes `plane` apart. `coarse` is [d, coarse_height, coarse_width].
void feature_row(const float* image, const double* coarse, const Size& size, const Projection& layers, double eps, int64_t y,
                 const std::vector<Between>& columns, float* out) {
  const int64_t plane = size.height * size.width, coarse_plane = size.coarse_height * size.coarse_width;
  const Between between = upsample4_position(y, size.coarse_height);
  Row pixels(size.in_channels * size.width), sum(size.width), across(size.coarse_width);
  for (int64_t c = 0; c < size.in_channels; ++c)
    for (int64_t x = 0; x < size.width; ++x) pixels[c * size.width + x] = image[c * plane + y * size.width + x];
  for (int64_t o = 0; o < size.channels; ++o) {
    linear_row(layers.fine, static_cast<int>(o), eps, pixels.data(), size.width, sum.data());
    const double* low = coarse + o * coarse_plane + between.low * size.coarse_width;
    const double* high = coarse + o * coarse_plane + between.high * size.coarse_width;
    for (int64_t x = 0; x < size.coarse_width; ++x) across[x] = lerp(low[x], high[x], between.fraction);
    for (int64_t x = 0; x < size.width; ++x)
      sum[x] = sum[x] + lerp(across[columns[x].low], across[columns[x].high], columns[x].fraction);
    silu_row(sum.data(), size.width);
    for (int64_t x = 0; x < size.width; ++x) out[o * plane + y * size.width + x] = static_cast<float>(sum[x]);
  }
}

}  // namespace

Tensor project_cpu(const Tensor& image, const Tensor& parameters, int64_t channels, double eps) {
  const Size size{image.size(0), image.size(1), image.size(2), image.size(3), channels, (image.size(2) + 3) / 4, (image.size(3) + 3) / 4};
  const Projection layers = take_projection(data<float>(parameters), static_cast<int>(size.in_channels), static_cast<int>(channels));
  const Tensor features = empty_on(image, {size.batch, channels, size.height, size.width}, ScalarType::Float);
  const int64_t coarse_size = channels * size.coarse_height * size.coarse_width, plane = size.height * size.width;
  Row coarse(size.batch * coarse_size);
  torch::stable::parallel_for(0, size.batch * size.coarse_height, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / size.coarse_height, row = i % size.coarse_height;
      coarse_row(data<float>(image) + b * size.in_channels * plane, size, layers, eps, row,
                 &coarse[b * coarse_size + row * size.coarse_width], size.coarse_height * size.coarse_width);
    }
  });
  std::vector<Between> columns(size.width);
  for (int64_t x = 0; x < size.width; ++x) columns[x] = upsample4_position(x, size.coarse_width);
  torch::stable::parallel_for(0, size.batch * size.height, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / size.height;
      feature_row(data<float>(image) + b * size.in_channels * plane, &coarse[b * coarse_size], size, layers, eps, i % size.height, columns,
                  mutable_data<float>(features) + b * channels * plane);
    }
  });
  return features;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("project", TORCH_BOX(&dht::project_cpu)); }
