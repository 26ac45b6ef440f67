// CUDA kernels of pool_cells: a block looks at one cell, a thread at some channels of its tokens.
#include "../common/cells.h"
#include "fixed_point.cuh"
#include "regions.cuh"

namespace dht {
namespace {

// Regions of a tile of up to kThreads pixels of a cell, in the order of their first pixels.
struct Shares {
  int32_t label[kThreads];  // of every pixel
  int64_t row[kThreads];    // of every region
  int32_t pixels[kThreads], firsts[kThreads / 32];  // of every region; of every warp
};

// Regions among the pixels from `begin` on. Every pixel looks for its equals; the first of each region writes it down.
__device__ __forceinline__ int32_t collect_shares(const Cells& cells, const Cell& cell, int32_t begin, Shares& shares) {
  const int32_t pixel = begin + threadIdx.x, count = min(kThreads, cell.height * cell.width - begin), warp = threadIdx.x / 32;
  const int32_t* labels = cells.regions.labels + cell.image * cells.regions.num_pixels + cell.first_pixel;
  const int32_t mine = threadIdx.x < count ? labels[int64_t(pixel / cell.width) * cells.regions.width + pixel % cell.width] : -1;
  __syncthreads();
  shares.label[threadIdx.x] = mine;
  __syncthreads();
  int32_t equals = 0, earlier = 0;
  for (int k = 0; k < count; ++k) {
    const bool equal = shares.label[k] == mine;
    equals += equal;
    earlier += equal && k < threadIdx.x;
  }
  const bool first = threadIdx.x < count && earlier == 0;
  const unsigned firsts = __ballot_sync(0xFFFFFFFFu, first);
  if (threadIdx.x % 32 == 0) shares.firsts[warp] = __popc(firsts);
  __syncthreads();
  int32_t place = __popc(firsts & ((1u << (threadIdx.x % 32)) - 1)), total = 0;
  for (int w = 0; w < kThreads / 32; ++w) {
    place += w < warp ? shares.firsts[w] : 0;
    total += shares.firsts[w];
  }
  if (first) {
    shares.row[place] = row_of(cells.regions, cell.image, mine);
    shares.pixels[place] = equals;
  }
  __syncthreads();
  return total;
}

__global__ void average_tokens(Cells cells, const float* tokens, int64_t dims, float* pooled) {
  __shared__ Shares shares;
  const Cell cell = cell_at(cells, blockIdx.x);
  const int32_t area = cell.height * cell.width;
  int32_t regions = 0;
  for (int64_t first = 0; first < dims; first += kThreads) {
    const int64_t d = first + threadIdx.x;
    double sum = 0.0;
    for (int32_t begin = 0; begin < area; begin += kThreads) {
      if (first == 0 || area > kThreads) regions = collect_shares(cells, cell, begin, shares);
      for (int32_t i = 0; i < (d < dims ? regions : 0); ++i)
        sum += shares.pixels[i] * static_cast<double>(tokens[shares.row[i] * dims + d]);
    }
    if (d < dims) pooled[blockIdx.x * dims + d] = static_cast<float>(sum / area);
  }
}

__global__ void spread_to_tokens(Cells cells, const float* grad, int64_t dims, const float* largest, int64_t* sums) {
  __shared__ Shares shares;
  const Cell cell = cell_at(cells, blockIdx.x);
  const int32_t area = cell.height * cell.width;
  const double forward = cell_units(cells, largest[cell.image]).forward;
  for (int32_t begin = 0; begin < area; begin += kThreads) {
    const int32_t regions = collect_shares(cells, cell, begin, shares);
    for (int64_t d = threadIdx.x; d < dims; d += kThreads) {
      const double value = grad[blockIdx.x * dims + d];
      for (int32_t i = 0; i < regions; ++i)
        add_atomically(sums + shares.row[i] * dims + d, round_to_int64(shares.pixels[i] * value / area * forward));
    }
  }
}

__global__ void write_token_gradients(Cells cells, int64_t dims, const float* largest, const int64_t* sums, float* gradient) {
  for (int64_t i = grid_thread(); i < cells.regions.total * dims; i += grid_size()) {
    const int32_t image = image_of(cells.regions, i / dims);
    gradient[i] = static_cast<float>(static_cast<double>(sums[i]) * cell_units(cells, largest[image]).back);
  }
}

}  // namespace

// [R, D] to [B, rows, columns, D].
Tensor pool_cells_cuda(const Tensor& tokens, const Tensor& labels, const Tensor& offsets, int64_t stride) {
  const torch::stable::accelerator::DeviceGuard guard(tokens.get_device_index());
  const Cells cells = cells_of(labels, offsets, tokens.size(0), stride);
  const int64_t dims = tokens.size(1), count = cells.regions.batch * cells_per_image(cells);
  const Tensor pooled = empty_on(tokens, {cells.regions.batch, cells.rows, cells.columns, dims}, ScalarType::Float);
  if (count == 0) return pooled;
  average_tokens<<<blocks_of_one(count), kThreads, 0, current_stream(tokens)>>>(cells, data<float>(tokens), dims,
                                                                                     mutable_data<float>(pooled));
  check(cudaGetLastError(), "launching a kernel");
  return pooled;
}

// Gradient [B, rows, columns, D] of the cells to that of the tokens.
Tensor pool_cells_backward_cuda(const Tensor& grad, const Tensor& labels, const Tensor& offsets, int64_t total_regions, int64_t stride) {
  const torch::stable::accelerator::DeviceGuard guard(grad.get_device_index());
  const Cells cells = cells_of(labels, offsets, total_regions, stride);
  const int64_t dims = grad.size(3), count = cells.regions.batch * cells_per_image(cells);
  const Tensor gradient = empty_on(grad, {total_regions, dims}, ScalarType::Float);
  if (count == 0 || total_regions * dims == 0) return gradient;
  const Tensor sums = zeros_on(grad, {total_regions, dims}, ScalarType::Long);
  const Tensor largest = largest_magnitudes(grad, nullptr, cells.regions.batch, cells_per_image(cells), dims);
  const cudaStream_t stream = current_stream(grad);
  spread_to_tokens<<<blocks_of_one(count), kThreads, 0, stream>>>(cells, data<float>(grad), dims, data<float>(largest),
                                                                        mutable_data<int64_t>(sums));
  write_token_gradients<<<blocks_for(total_regions * dims), kThreads, 0, stream>>>(cells, dims, data<float>(largest), data<int64_t>(sums),
                                                                                 mutable_data<float>(gradient));
  check(cudaGetLastError(), "launching a kernel");
  return gradient;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) {
  m.impl("pool_cells", TORCH_BOX(&dht::pool_cells_cuda));
  m.impl("pool_cells_backward", TORCH_BOX(&dht::pool_cells_backward_cuda));
}
