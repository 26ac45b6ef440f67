// CPU kernels of the projection's gradients. They decide nothing: float32, added up in parts that the shapes alone give.
#include "../common/projection.h"

#include <algorithm>
#include <vector>

#include "simd.h"

namespace dht {
namespace {

using Floats = std::vector<float>;

// Sum of products in 16 lanes, which are added at the end.
DHT_SIMD float dot(const float* a, const float* b, int64_t count) {
  float lanes[16] = {};
  const int64_t whole = count / 16 * 16;
  for (int64_t n = 0; n < whole; n += 16)
    for (int i = 0; i < 16; ++i) lanes[i] += a[n + i] * b[n + i];
  for (int64_t n = whole; n < count; ++n) lanes[n - whole] += a[n] * b[n];
  float sum = 0.0f;
  for (int i = 0; i < 16; ++i) sum += lanes[i];
  return sum;
}

DHT_SIMD void add_scaled(const float* input, float weight, int64_t count, float* sum) {
  for (int64_t n = 0; n < count; ++n) sum[n] += input[n] * weight;
}

// From activations x and gradients to silu(x) to the gradients to x, in place; `hidden` becomes silu(x).
DHT_SIMD void silu_backward(const float* x, int64_t count, float* grad, float* hidden) {
  for (int64_t n = 0; n < count; ++n) {
    const float share = static_cast<float>(sigmoid(x[n]));
    hidden[n] = x[n] * share;
    grad[n] *= share + hidden[n] * (1.0f - share);
  }
}

constexpr int64_t kRows = 4;  // rows of cells of a part

// Rows of cells of one image.
struct Part {
  int64_t image, begin, end;
};

// Patches of one of the 2 x 2 positions in the cells of a part, [4 C, cells].
void gather_part(const float* image, const ProjectionSize& size, const Part& part, int64_t tap, float* out) {
  for (int64_t c = 0; c < size.in_channels; ++c)
    for (int64_t k = 0; k < 4; ++k)
      for (int64_t row = part.begin; row < part.end; ++row, out += size.coarse_width) {
        const int64_t y = std::min<int64_t>(4 * row + tap / 2 * 2 + k / 2, size.height - 1);
        const float* line = image + (c * size.height + y) * size.width;
        for (int64_t x = 0; x < size.coarse_width; ++x) out[x] = line[std::min<int64_t>(4 * x + tap % 2 * 2 + k % 2, size.width - 1)];
      }
}

// Sums of one position of the cells of a part: a row of [d second weights | 4 C first weights | first bias | unused] for every channel.
void add_position(const ProjectionSize& size, const Linear& first, const double* weight2, const Floats& patches, const Floats& grad,
                  int64_t count, int64_t tap, double* sums) {
  const int64_t wide = 4 * size.channels, inputs = 4 * size.in_channels, columns = size.channels + inputs + 2;
  Floats sum(count), hidden(count), to_hidden(count), ones(count, 1.0f);
  for (int64_t o = 0; o < wide; ++o) {
    std::fill(sum.begin(), sum.end(), static_cast<float>(first.bias[o]));
    std::fill(to_hidden.begin(), to_hidden.end(), 0.0f);
    for (int64_t k = 0; k < inputs; ++k) add_scaled(&patches[k * count], static_cast<float>(first.weight[o * inputs + k]), count, sum.data());
    for (int64_t out = 0; out < size.channels; ++out)
      add_scaled(&grad[out * count], static_cast<float>(weight2[(out * wide + o) * 4 + tap]), count, to_hidden.data());
    silu_backward(sum.data(), count, to_hidden.data(), hidden.data());
    double* row = sums + (o * 4 + tap) * columns;
    for (int64_t out = 0; out < size.channels; ++out) row[out] += dot(&grad[out * count], hidden.data(), count);
    for (int64_t k = 0; k < inputs; ++k) row[size.channels + k] += dot(&patches[k * count], to_hidden.data(), count);
    row[size.channels + inputs] += dot(ones.data(), to_hidden.data(), count);
  }
}

void add_part(const float* image, const double* grad, const ProjectionSize& size, const Linear& first, const double* weight2,
              const Part& part, double* sums) {
  const int64_t count = (part.end - part.begin) * size.coarse_width, plane = int64_t(size.coarse_height) * size.coarse_width;
  const int64_t columns = size.channels + 4 * size.in_channels + 2;
  Floats patches(4 * size.in_channels * count), grads(size.channels * count), ones(count, 1.0f);
  for (int64_t o = 0; o < size.channels; ++o) {
    const double* from = grad + o * plane + part.begin * size.coarse_width;
    std::copy(from, from + count, &grads[o * count]);
    sums[(o + 1) * columns - 1] += dot(ones.data(), &grads[o * count], count);
  }
  for (int64_t tap = 0; tap < 4; ++tap) {
    gather_part(image, size, part, tap, patches.data());
    add_position(size, first, weight2, patches, grads, count, tap, sums);
  }
}

// Adds up parts, [parts, count], in their order.
Tensor sum_of_parts(const Tensor& like, const std::vector<double>& parts, int64_t rows, int64_t columns) {
  const Tensor sums = torch::stable::new_zeros(like, {rows, columns}, ScalarType::Double);
  for (size_t i = 0; i < parts.size(); ++i) mutable_data<double>(sums)[i % (rows * columns)] += parts[i];
  return sums;
}

// Gradients to the activations of one row of one feature, and their shares for the upper and the lower row of cells.
void pixel_row(const float* grad, const Floats& x, float way, int64_t count, float* to_x, float* low, float* high) {
  Floats unused(count);
  std::copy_n(grad, count, to_x);
  silu_backward(x.data(), count, to_x, unused.data());
  add_scaled(to_x, 1.0f - way, count, low);
  add_scaled(to_x, way, count, high);
}

// From the columns of an image to those of its cells.
void gather_columns(const float* from, const ProjectionSize& size, double* to) {
  for (int32_t low = 0; low < size.coarse_width; ++low) {
    const int32_t end = std::min(first_between(low + 1, size.coarse_width), size.width), next = std::min(low + 1, size.coarse_width - 1);
    for (int32_t x = first_between(low, size.coarse_width); x < end; ++x) {
      const double way = way_between(x, low, size.coarse_width);
      to[low] += from[x] * (1.0 - way);
      to[next] += from[x] * way;
    }
  }
}

DHT_SIMD void between_rows(const float* low, const float* high, float way, float bias, int64_t count, float* out) {
  for (int64_t x = 0; x < count; ++x) out[x] = low[x] + (high[x] - low[x]) * way + bias;
}

void upsample_columns(const double* coarse, const ProjectionSize& size, float* out) {
  for (int32_t low = 0; low < size.coarse_width; ++low) {
    const int32_t end = std::min(first_between(low + 1, size.coarse_width), size.width), next = std::min(low + 1, size.coarse_width - 1);
    for (int32_t x = first_between(low, size.coarse_width); x < end; ++x)
      out[x] = static_cast<float>(lerp(coarse[low], coarse[next], way_between(x, low, size.coarse_width)));
  }
}

// Gradient of feature `o` in the rows between a row of cells and the next: to the cells of both, and sums of [C weights | bias].
void add_feature(const float* grad, const float* image, const double* coarse, const ProjectionSize& size, const Linear& fine, int64_t o,
                 int32_t low_row, double* to_low, double* to_high, double* sums) {
  const int64_t width = size.width, plane = size.height * width;
  const int32_t high_row = std::min(low_row + 1, size.coarse_height - 1);
  const int32_t end = std::min(first_between(low_row + 1, size.coarse_height), size.height);
  Floats above(width), below(width), x(width), to_x(width), low(width, 0.0f), high(width, 0.0f), ones(width, 1.0f);
  upsample_columns(coarse + low_row * size.coarse_width, size, above.data());
  upsample_columns(coarse + high_row * size.coarse_width, size, below.data());
  for (int32_t y = first_between(low_row, size.coarse_height); y < end; ++y) {
    const float way = static_cast<float>(way_between(y, low_row, size.coarse_height));
    between_rows(above.data(), below.data(), way, static_cast<float>(fine.bias[o]), width, x.data());
    for (int64_t c = 0; c < size.in_channels; ++c)
      add_scaled(image + c * plane + y * width, static_cast<float>(fine.weight[o * size.in_channels + c]), width, x.data());
    pixel_row(grad + y * width, x, way, width, to_x.data(), low.data(), high.data());
    for (int64_t c = 0; c < size.in_channels; ++c) sums[c] += dot(image + c * plane + y * width, to_x.data(), width);
    sums[size.in_channels] += dot(ones.data(), to_x.data(), width);
  }
  gather_columns(low.data(), size, to_low);
  gather_columns(high.data(), size, to_high);
}

}  // namespace

Tensor coarse_features_backward_cpu(const Tensor& grad, const Tensor& image, const Tensor& weight1, const Tensor& bias1,
                                    const Tensor& weight2) {
  const ProjectionSize size = projection_size(image, weight2.size(0));
  const Linear first = linear_of(weight1, bias1);
  const int64_t of_image = (size.coarse_height + kRows - 1) / kRows, rows = 16 * size.channels;
  const int64_t columns = size.channels + 4 * size.in_channels + 2, of_cells = int64_t(size.channels) * size.coarse_height * size.coarse_width;
  std::vector<double> parts(size.batch * of_image * rows * columns, 0.0);
  torch::stable::parallel_for(0, size.batch * of_image, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Part part{i / of_image, i % of_image * kRows, std::min<int64_t>((i % of_image + 1) * kRows, size.coarse_height)};
      add_part(data<float>(image) + part.image * size.in_channels * size.height * size.width, data<double>(grad) + part.image * of_cells, size,
               first, data<double>(weight2), part, &parts[i * rows * columns]);
    }
  });
  return sum_of_parts(image, parts, rows, columns);
}

std::tuple<Tensor, Tensor> pixel_features_backward_cpu(const Tensor& grad, const Tensor& image, const Tensor& coarse, const Tensor& weight,
                                                       const Tensor& bias) {
  const ProjectionSize size = projection_size(image, bias.size(0));
  const Linear fine = linear_of(weight, bias);
  const int64_t plane = int64_t(size.height) * size.width, cells = int64_t(size.coarse_height) * size.coarse_width;
  const int64_t columns = size.in_channels + 1, of_part = size.channels * columns;
  // The share of the upper row of cells, and that of the lower one, which the part of the next row of cells must not touch.
  const Tensor to_coarse = torch::stable::new_zeros(coarse, {size.batch, size.channels, size.coarse_height, size.coarse_width});
  std::vector<double> parts(size.batch * size.coarse_height * of_part, 0.0), lower(coarse.numel(), 0.0);
  torch::stable::parallel_for(0, int64_t(size.batch) * size.coarse_height, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / size.coarse_height, row = i % size.coarse_height;
      for (int64_t o = 0; o < size.channels; ++o) {
        const int64_t at = (b * size.channels + o) * cells + row * size.coarse_width;
        add_feature(data<float>(grad) + (b * size.channels + o) * plane, data<float>(image) + b * size.in_channels * plane,
                    data<double>(coarse) + (b * size.channels + o) * cells, size, fine, o, static_cast<int32_t>(row),
                    mutable_data<double>(to_coarse) + at, &lower[at], &parts[i * of_part + o * columns]);
      }
    }
  });
  double* sum = mutable_data<double>(to_coarse);
  for (int64_t i = size.coarse_width; i < coarse.numel(); ++i)
    if (i / size.coarse_width % size.coarse_height > 0) sum[i] += lower[i - size.coarse_width];
  return {to_coarse, sum_of_parts(image, parts, size.channels, columns)};
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) {
  m.impl("coarse_features_backward", TORCH_BOX(&dht::coarse_features_backward_cpu));
  m.impl("pixel_features_backward", TORCH_BOX(&dht::pixel_features_backward_cpu));
}
