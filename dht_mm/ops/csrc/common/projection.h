// Shapes, parameters and steps of the projection that CPU and CUDA share.
#pragma once

#include "exact_math.h"
#include "tensors.h"

namespace dht {

// The largest side: products of an output row and a coarse side stay within 32 bits.
constexpr int64_t kLargestSide = 120000;

struct ProjectionSize {
  int32_t batch, in_channels, height, width, channels, coarse_height, coarse_width;
};

inline ProjectionSize projection_size(const Tensor& image, int64_t channels) {
  const int64_t height = image.size(2), width = image.size(3), cells = image.size(0) * ((height + 3) / 4) * ((width + 3) / 4);
  require(height <= kLargestSide && width <= kLargestSide, "the sides of an image must be up to ", kLargestSide, ", got ", height,
                  " x ", width);
  require(cells <= INT32_MAX, "the batch is too large, it has ", cells, " cells of 4 x 4 pixels");
  return {static_cast<int32_t>(image.size(0)), static_cast<int32_t>(image.size(1)), static_cast<int32_t>(height), static_cast<int32_t>(width),
          static_cast<int32_t>(channels), static_cast<int32_t>((height + 3) / 4), static_cast<int32_t>((width + 3) / 4)};
}

// A linear map of patches, batch norm folded in.
struct Linear {
  const double *weight, *bias;
};

inline Linear linear_of(const Tensor& weight, const Tensor& bias) { return {data<double>(weight), data<double>(bias)}; }

// The projection in evaluation, by a device's kernels: batch norm is folded into the layers (fine, coarse1, coarse2), each of them
// weight, bias, gamma, beta, mean and variance.
template <class Fold, class Coarse, class Pixels>
Tensor project(const Tensor& image, const std::vector<Tensor>& layers, const std::vector<double>& eps, Fold fold, Coarse coarse_of,
               Pixels pixels_of) {
  const auto folded = [&](size_t i) {
    const Tensor *layer = &layers[6 * i], &weight = layer[0];
    return fold(beginning_of(weight, {weight.size(0), weight.numel() / weight.size(0)}), layer[1], layer[2], layer[3], layer[4], layer[5],
                eps[i]);
  };
  const auto [weight1, bias1] = folded(1);
  const auto [weight2, bias2] = folded(2);
  const Tensor coarse = coarse_of(image, weight1, bias1, weight2, bias2);
  const auto [weight, bias] = folded(0);
  return pixels_of(image, coarse, weight, bias);
}

DHT_HD double silu(double x) { return x * sigmoid(x); }

DHT_HD double lerp(double low, double high, double fraction) { return low + (high - low) * fraction; }

// First row (or column) of the x4 upsampling with aligned corners that lies between coarse row `low` and the next.
DHT_HD int32_t first_between(uint32_t low, uint32_t coarse) {
  return static_cast<int32_t>(coarse == 1 ? 4 * low : (low * (4 * coarse - 1) + coarse - 2) / (coarse - 1));
}

// How far output row `row`, which lies between coarse row `low` and the next, is on its way.
DHT_HD double way_between(uint32_t row, uint32_t low, uint32_t coarse) {
  const uint32_t steps = 4 * coarse - 1;
  return static_cast<double>(row * (coarse - 1) - low * steps) * (1.0 / static_cast<double>(steps));
}

}  // namespace dht
