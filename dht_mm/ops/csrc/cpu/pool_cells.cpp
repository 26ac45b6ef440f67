// CPU kernels of pool_cells: cells in parallel forward, images in parallel backward.
#include "../common/cells.h"

#include "regions.h"

namespace dht {
namespace {

// A region's pixels in a cell.
struct Share {
  int32_t label, pixels;
};

// The regions of a cell, in the order of their first pixels.
void collect_shares(const Cells& cells, const Cell& cell, std::vector<Share>& shares) {
  shares.clear();
  const int32_t* line = cells.regions.labels + cell.image * cells.regions.num_pixels + cell.first_pixel;
  size_t at = 0;
  for (int32_t y = 0; y < cell.height; ++y, line += cells.regions.width) {
    for (int32_t x = 0; x < cell.width; ++x) {
      if (at == shares.size() || shares[at].label != line[x])
        at = std::find_if(shares.begin(), shares.end(), [&](const Share& share) { return share.label == line[x]; }) - shares.begin();
      if (at == shares.size()) shares.push_back({line[x], 0});
      ++shares[at].pixels;
    }
  }
}

DHT_SIMD void pool_cell(const Cell& cell, const std::vector<Share>& shares, const float* tokens, int64_t dims, double* sums, float* out) {
  std::fill(sums, sums + dims, 0.0);
  for (const Share& share : shares) {
    const float* token = tokens + share.label * dims;
    for (int64_t d = 0; d < dims; ++d) sums[d] += share.pixels * static_cast<double>(token[d]);
  }
  const double area = static_cast<double>(cell.height) * cell.width;
  for (int64_t d = 0; d < dims; ++d) out[d] = static_cast<float>(sums[d] / area);
}

DHT_SIMD void add_share(const Share& share, const float* grad, int64_t dims, double area, double forward, int64_t* sums) {
  for (int64_t d = 0; d < dims; ++d)
    sums[d] = wrapping_sum(sums[d], round_to_int64(share.pixels * static_cast<double>(grad[d]) / area * forward));
}

}  // namespace

// [R, D] to [B, rows, columns, D].
Tensor pool_cells_cpu(const Tensor& tokens, const Tensor& labels, const Tensor& offsets, int64_t stride) {
  const Cells cells = cells_of(labels, offsets, tokens.size(0), stride);
  check_rows(cells.regions);
  const int64_t dims = tokens.size(1), count = cells.regions.batch * cells_per_image(cells);
  const Tensor pooled = empty_on(tokens, {cells.regions.batch, cells.rows, cells.columns, dims}, ScalarType::Float);
  torch::stable::parallel_for(0, count, 16, [&](int64_t begin, int64_t end) {
    std::vector<Share> shares;
    std::vector<double> sums(dims);
    for (int64_t index = begin; index < end; ++index) {
      const Cell cell = cell_at(cells, index);
      collect_shares(cells, cell, shares);
      pool_cell(cell, shares, data<float>(tokens) + cells.regions.offsets[cell.image] * dims, dims, sums.data(),
                mutable_data<float>(pooled) + index * dims);
    }
  });
  return pooled;
}

// Gradient [B, rows, columns, D] of the cells to that of the tokens.
Tensor pool_cells_backward_cpu(const Tensor& grad, const Tensor& labels, const Tensor& offsets, int64_t total_regions, int64_t stride) {
  const Cells cells = cells_of(labels, offsets, total_regions, stride);
  const Regions& regions = cells.regions;
  check_rows(regions);
  const int64_t dims = grad.size(3), count = cells_per_image(cells);
  const Tensor result = torch::stable::new_zeros(grad, {total_regions, dims});
  for_each_image(regions, [&](int64_t image) {
    const float* grads = data<float>(grad) + image * count * dims;
    const FixedPoint units = cell_units(cells, largest_magnitude(grads, count * dims));
    std::vector<int64_t> sums(num_regions(regions, image) * dims);
    std::vector<Share> shares;
    for (int64_t index = 0; index < count; ++index) {
      const Cell cell = cell_at(cells, image * count + index);
      collect_shares(cells, cell, shares);
      const double area = static_cast<double>(cell.height) * cell.width;
      for (const Share& share : shares)
        add_share(share, grads + index * dims, dims, area, units.forward, &sums[share.label * dims]);
    }
    float* out = mutable_data<float>(result) + regions.offsets[image] * dims;
    for (size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<float>(static_cast<double>(sums[i]) * units.back);
  });
  return result;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) {
  m.impl("pool_cells", TORCH_BOX(&dht::pool_cells_cpu));
  m.impl("pool_cells_backward", TORCH_BOX(&dht::pool_cells_backward_cpu));
}
