// CPU kernels of the projection's forward: blocks and rows of contiguous doubles, so that the inner loops become vector code.
#include "../common/fold_norm.h"
#include "../common/projection.h"

#include <algorithm>
#include <vector>

#include "simd.h"

namespace dht {
namespace {

constexpr int64_t kBlock = 64;  // cells, or pixels, that go through the layers together

using Row = std::vector<double>;

// Patches of one of the 2 x 2 positions in a row of cells, [4 C, padded]; the image goes on with its last row and column.
void gather_patches(const float* image, const ProjectionSize& size, int64_t row, int64_t tap, int64_t padded, double* out) {
  for (int64_t c = 0; c < size.in_channels; ++c) {
    for (int64_t k = 0; k < 4; ++k, out += padded) {
      const int64_t y = std::min<int64_t>(4 * row + tap / 2 * 2 + k / 2, size.height - 1);
      const float* line = image + (c * size.height + y) * size.width;
      for (int64_t x = 0; x < size.coarse_width; ++x) out[x] = line[std::min<int64_t>(4 * x + tap % 2 * 2 + k % 2, size.width - 1)];
    }
  }
}

// Adds the share of one position to the sums, [d][kBlock], of `count` cells.
DHT_SIMD void add_position(const Linear& first, const Linear& second, const ProjectionSize& size, const double* patches, int64_t padded,
                           int64_t tap, int64_t count, double* sums) {
  const int64_t wide = 4 * size.channels, inputs = 4 * size.in_channels;
  for (int64_t o = 0; o < wide; ++o) {
    double hidden[kBlock];
    for (int64_t i = 0; i < count; ++i) hidden[i] = first.bias[o];
    for (int64_t k = 0; k < inputs; ++k) {
      const double weight = first.weight[o * inputs + k];
      for (int64_t i = 0; i < count; ++i) hidden[i] += patches[k * padded + i] * weight;
    }
    for (int64_t i = 0; i < count; ++i) hidden[i] = silu(hidden[i]);
    for (int64_t out = 0; out < size.channels; ++out) {
      const double weight = second.weight[(out * wide + o) * 4 + tap];
      double* sum = sums + out * kBlock;
      for (int64_t i = 0; i < count; ++i) sum[i] += hidden[i] * weight;
    }
  }
}

// One row of the coarse features, with planes `plane` apart.
void coarse_row(const float* image, const ProjectionSize& size, const Linear& first, const Linear& second, int64_t row, double* out,
                int64_t plane) {
  const int64_t padded = (size.coarse_width + 7) / 8 * 8, of_position = 4 * size.in_channels * padded;
  Row patches(4 * of_position), sums(4 * size.channels * kBlock);
  for (int64_t tap = 0; tap < 4; ++tap) gather_patches(image, size, row, tap, padded, &patches[tap * of_position]);
  for (int64_t begin = 0; begin < size.coarse_width; begin += kBlock) {
    const int64_t count = std::min(kBlock, padded - begin);
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t tap = 0; tap < 4; ++tap)
      add_position(first, second, size, &patches[tap * of_position + begin], padded, tap, count, &sums[tap * size.channels * kBlock]);
    const int64_t of_tap = size.channels * kBlock;
    for (int64_t o = 0; o < size.channels; ++o) {
      const double* sum = &sums[o * kBlock];
      for (int64_t i = 0; i < std::min(kBlock, size.coarse_width - begin); ++i)
        out[o * plane + begin + i] = second.bias[o] + ((sum[i] + sum[of_tap + i]) + (sum[2 * of_tap + i] + sum[3 * of_tap + i]));
    }
  }
}

// Where the columns of the image lie between those of the cells.
struct Columns {
  std::vector<int32_t> low, high;
  Row way;
};

Columns columns_of(const ProjectionSize& size) {
  Columns columns{std::vector<int32_t>(size.width), std::vector<int32_t>(size.width), Row(size.width)};
  for (int32_t low = 0; low < size.coarse_width; ++low) {
    const int32_t end = std::min(first_between(low + 1, size.coarse_width), size.width);
    for (int32_t x = first_between(low, size.coarse_width); x < end; ++x) {
      columns.low[x] = low;
      columns.high[x] = std::min(low + 1, size.coarse_width - 1);
      columns.way[x] = way_between(x, low, size.coarse_width);
    }
  }
  return columns;
}

DHT_SIMD void upsample_row(const double* coarse, const Columns& columns, int64_t count, double* out) {
  for (int64_t x = 0; x < count; ++x) out[x] = lerp(coarse[columns.low[x]], coarse[columns.high[x]], columns.way[x]);
}

// A row of one feature: the coarse branch between rows `low` and `high`, plus the fine layer of `pixels` [C, count].
DHT_SIMD void feature_row(const double* low, const double* high, double way, const double* pixels, const double* weight, double bias,
                          int64_t inputs, int64_t count, float* out) {
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    double sum[kBlock];
    for (int64_t x = 0; x < n; ++x) sum[x] = (low[begin + x] + bias) + (high[begin + x] - low[begin + x]) * way;
    for (int64_t c = 0; c < inputs; ++c) {
      const double w = weight[c];
      const double* pixel = pixels + c * count + begin;
      for (int64_t x = 0; x < n; ++x) sum[x] += pixel[x] * w;
    }
    for (int64_t x = 0; x < n; ++x) out[begin + x] = static_cast<float>(silu(sum[x]));
  }
}

// Features of the rows between coarse row `low_row` and the next. `coarse` is [d, coarse_height, coarse_width] of one image.
void feature_rows(const float* image, const double* coarse, const ProjectionSize& size, const Linear& fine, const Columns& columns,
                  int32_t low_row, float* out) {
  const int64_t plane = int64_t(size.height) * size.width, width = size.width;
  const int32_t high_row = std::min(low_row + 1, size.coarse_height - 1), begin = first_between(low_row, size.coarse_height);
  const int32_t end = std::min(first_between(low_row + 1, size.coarse_height), size.height);
  Row pixels(size.in_channels * width), low(size.channels * width), high(size.channels * width);
  for (int64_t o = 0; o < size.channels; ++o) {
    const double* cells = coarse + o * size.coarse_height * size.coarse_width;
    upsample_row(cells + low_row * size.coarse_width, columns, width, &low[o * width]);
    upsample_row(cells + high_row * size.coarse_width, columns, width, &high[o * width]);
  }
  for (int32_t y = begin; y < end; ++y) {
    for (int64_t c = 0; c < size.in_channels; ++c) std::copy_n(image + c * plane + y * width, width, &pixels[c * width]);
    const double way = way_between(y, low_row, size.coarse_height);
    for (int64_t o = 0; o < size.channels; ++o)
      feature_row(&low[o * width], &high[o * width], way, pixels.data(), fine.weight + o * size.in_channels, fine.bias[o], size.in_channels,
                  width, out + o * plane + y * width);
  }
}

}  // namespace

Tensor coarse_features_cpu(const Tensor& image, const Tensor& weight1, const Tensor& bias1, const Tensor& weight2, const Tensor& bias2) {
  const ProjectionSize size = projection_size(image, bias2.size(0));
  const Linear first = linear_of(weight1, bias1), second = linear_of(weight2, bias2);
  const Tensor coarse = empty_on(image, {size.batch, size.channels, size.coarse_height, size.coarse_width}, ScalarType::Double);
  const int64_t plane = int64_t(size.coarse_height) * size.coarse_width, of_image = int64_t(size.in_channels) * size.height * size.width;
  torch::stable::parallel_for(0, int64_t(size.batch) * size.coarse_height, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / size.coarse_height, row = i % size.coarse_height;
      coarse_row(data<float>(image) + b * of_image, size, first, second, row,
                 mutable_data<double>(coarse) + b * size.channels * plane + row * size.coarse_width, plane);
    }
  });
  return coarse;
}

Tensor pixel_features_cpu(const Tensor& image, const Tensor& coarse, const Tensor& weight, const Tensor& bias) {
  const ProjectionSize size = projection_size(image, bias.size(0));
  const Linear fine = linear_of(weight, bias);
  const Tensor features = empty_on(image, {size.batch, size.channels, size.height, size.width}, ScalarType::Float);
  const int64_t plane = int64_t(size.height) * size.width, cells = int64_t(size.coarse_height) * size.coarse_width;
  const Columns columns = columns_of(size);
  torch::stable::parallel_for(0, int64_t(size.batch) * size.coarse_height, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / size.coarse_height;
      feature_rows(data<float>(image) + b * size.in_channels * plane, data<double>(coarse) + b * size.channels * cells, size, fine, columns,
                   static_cast<int32_t>(i % size.coarse_height), mutable_data<float>(features) + b * size.channels * plane);
    }
  });
  return features;
}

Tensor project_cpu(const Tensor& image, std::vector<Tensor> layers, std::vector<double> eps) {
  return project(image, layers, eps, fold_norm_cpu, coarse_features_cpu, pixel_features_cpu);
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) {
  m.impl("coarse_features", TORCH_BOX(&dht::coarse_features_cpu));
  m.impl("pixel_features", TORCH_BOX(&dht::pixel_features_cpu));
  m.impl("project", TORCH_BOX(&dht::project_cpu));
}
