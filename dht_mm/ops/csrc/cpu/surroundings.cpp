// CPU kernel of surroundings: rows of pixels in parallel; for each, sums of columns and then sums of these.
#include "../common/edge_weight.h"
#include "regions.h"

namespace dht {
namespace {

// Values and squares of some rows, added up column by column.
DHT_SIMD void sum_columns(const float* rows, int32_t count, int32_t width, float* sums, float* squares) {
  std::fill_n(sums, width, 0.0f);
  std::fill_n(squares, width, 0.0f);
  for (const float* end = rows + int64_t(count) * width; rows < end; rows += width)
    for (int32_t x = 0; x < width; ++x) {
      sums[x] += rows[x];
      squares[x] += rows[x] * rows[x];
    }
}

// Sums from `reach` before a place to as far behind it. There is room for zeros on both sides.
DHT_SIMD void sum_along(const float* values, int32_t width, int32_t reach, float* sums) {
  std::fill_n(sums, width, 0.0f);
  for (int32_t step = -reach; step <= reach; ++step)
    for (int32_t x = 0; x < width; ++x) sums[x] += values[x + step];
}

// Means and deviations of squares around the pixels of one row.
class Row {
 public:
  Row(int32_t height, int32_t width, int32_t side)
      : height_(height), width_(width), reach_(side / 2), columns_(2, std::vector<float>(width + 2 * (side / 2), 0.0f)),
        sums_(2, std::vector<float>(width)) {}

  // Adds up what `mean` and `deviation` are taken from.
  void look(const float* plane, int32_t y) {
    const int32_t top = larger(y - reach_, 0), rows = smaller(y + reach_, height_ - 1) - top + 1;
    sum_columns(plane + int64_t(top) * width_, rows, width_, columns_[0].data() + reach_, columns_[1].data() + reach_);
    for (int part = 0; part < 2; ++part) sum_along(columns_[part].data() + reach_, width_, reach_, sums_[part].data());
    rows_ = rows;
  }

  float mean(int32_t x) const { return sums_[0][x] / number(x); }

  float deviation(int32_t x) const {
    const float variance = sums_[1][x] / number(x) - mean(x) * mean(x);
    return variance > 0.0f || variance != variance ? std::sqrt(variance) : 0.0f;
  }

 private:
  float number(int32_t x) const {
    return static_cast<float>(rows_ * (smaller(x + reach_, width_ - 1) - larger(x - reach_, 0) + 1));
  }

  int32_t height_, width_, reach_, rows_ = 0;
  std::vector<std::vector<float>> columns_, sums_;  // of values and of squares
};

}  // namespace

Tensor surroundings_cpu(const Tensor& image, const Tensor& rows, const Tensor& columns, int64_t near_side, int64_t wide_side) {
  const int64_t batch = image.size(0), channels = image.size(1), lines = rows.size(0), places = columns.size(0), area = lines * places;
  const auto height = static_cast<int32_t>(image.size(2)), width = static_cast<int32_t>(image.size(3));
  const int64_t *row = data<int64_t>(rows), *column = data<int64_t>(columns);
  const Tensor out = empty_on(image, {batch, channels * (wide_side > 0 ? 5 : 2), lines, places}, ScalarType::Float);
  torch::stable::parallel_for(0, batch * lines, 1, [&](int64_t begin, int64_t end) {
    Row near(height, width, static_cast<int32_t>(near_side)), wide(height, width, static_cast<int32_t>(wide_side));
    for (int64_t line = begin; line < end; ++line) {
      const int64_t from = line / lines;
      const auto y = static_cast<int32_t>(row[line % lines]);
      float* to = mutable_data<float>(out) + from * out.size(1) * area + line % lines * places;
      for (int64_t c = 0; c < channels; ++c) {
        const float* plane = data<float>(image) + (from * channels + c) * height * width;
        near.look(plane, y);
        if (wide_side > 0) wide.look(plane, y);
        for (int64_t place = 0; place < places; ++place) {
          const auto x = static_cast<int32_t>(column[place]);
          to[c * area + place] = plane[int64_t(y) * width + x];
          to[(channels + c) * area + place] = near.mean(x);
          if (wide_side == 0) continue;
          to[(2 * channels + c) * area + place] = wide.mean(x);
          to[(3 * channels + c) * area + place] = near.deviation(x);
          to[(4 * channels + c) * area + place] = wide.deviation(x);
        }
      }
    }
  });
  return out;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("surroundings", TORCH_BOX(&dht::surroundings_cpu)); }
