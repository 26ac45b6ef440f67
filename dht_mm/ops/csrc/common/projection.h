// Layout of the projection's parameters in one vector, and the steps that CPU and CUDA share.
#pragma once

#include <initializer_list>

#include "exact_math.h"

namespace dht {

// One linear map of patches followed by batch norm with running statistics.
struct Layer {
  const float *weight, *bias, *gamma, *beta, *mean, *variance;
  int outputs, inputs;
};

struct Projection {
  Layer fine, coarse1, coarse2;
};

inline Layer take_layer(const float*& at, int outputs, int inputs) {
  Layer layer{at, nullptr, nullptr, nullptr, nullptr, nullptr, outputs, inputs};
  at += int64_t(outputs) * inputs;
  for (const float** field : {&layer.bias, &layer.gamma, &layer.beta, &layer.mean, &layer.variance}) {
    *field = at;
    at += outputs;
  }
  return layer;
}

// The vector holds weight, bias, gamma, beta, mean and variance of the fine, the first and the second coarse layer.
inline Projection take_projection(const float* parameters, int in_channels, int channels) {
  const Layer fine = take_layer(parameters, channels, in_channels);
  const Layer coarse1 = take_layer(parameters, 4 * channels, 4 * in_channels);
  return {fine, coarse1, take_layer(parameters, channels, 16 * channels)};
}

DHT_HD double norm_scale(const Layer& layer, int output, double eps) {
  return static_cast<double>(layer.gamma[output]) / std::sqrt(static_cast<double>(layer.variance[output]) + eps);
}

DHT_HD double normalize(double x, double mean, double scale, double beta) { return (x - mean) * scale + beta; }

DHT_HD double silu(double x) { return x * sigmoid(x); }

// Where an output row or column of the x4 upsampling with aligned corners lies between its two inputs.
struct Between {
  int32_t low, high;
  double fraction;
};

// Sides below 2^15 cells keep the products within 32 bits.
DHT_HD Between upsample4_position(uint32_t output, uint32_t inputs) {
  const uint32_t position = output * (inputs - 1), steps = 4 * inputs - 1, low = position / steps;
  return {static_cast<int32_t>(low), static_cast<int32_t>(low + 1 < inputs ? low + 1 : inputs - 1),
          static_cast<double>(position - low * steps) / static_cast<double>(steps)};
}

DHT_HD double lerp(double low, double high, double fraction) { return low * (1.0 - fraction) + high * fraction; }

}  // namespace dht
