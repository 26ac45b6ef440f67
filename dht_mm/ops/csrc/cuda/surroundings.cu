// CUDA kernel of surroundings: a thread goes through the squares around one pixel. Neighbours read the same values, which caches hold.
#include "../common/regions.h"
#include "launch.cuh"

namespace dht {
namespace {

struct Surroundings {
  const float* image;  // [B, channels, height, width]
  const int64_t *rows, *columns;
  int32_t channels, height, width, lines, places, near, wide;
};

// Mean and standard deviation of a square around a pixel, of what lies in the image. Reckoned from how values differ from the pixel's own:
// even surroundings then deviate by exactly 0.
__device__ __forceinline__ float2 look_around(const Surroundings& scene, const float* plane, int32_t y, int32_t x, int32_t side) {
  const int32_t reach = side / 2, top = max(y - reach, 0), bottom = min(y + reach, scene.height - 1);
  const int32_t left = max(x - reach, 0), right = min(x + reach, scene.width - 1);
  const float own = plane[int64_t(y) * scene.width + x];
  float sum = 0.0f, squares = 0.0f;
  for (int32_t i = top; i <= bottom; ++i) {
    const float* row = plane + int64_t(i) * scene.width;
    for (int32_t j = left; j <= right; ++j) {
      const float away = row[j] - own;
      sum += away;
      squares = fmaf(away, away, squares);
    }
  }
  const float number = static_cast<float>((bottom - top + 1) * (right - left + 1)), mean = sum / number;
  return {own + mean, sqrtf(fmaxf(squares / number - mean * mean, 0.0f))};
}

__global__ void describe(Surroundings scene, int64_t count, float* out) {
  const int64_t area = int64_t(scene.lines) * scene.places, plane = int64_t(scene.height) * scene.width;
  const int32_t channels = scene.channels;
  for (int64_t pixel = grid_thread(); pixel < count; pixel += grid_size()) {
    const int64_t image = pixel / area, index = pixel - image * area;
    const auto y = static_cast<int32_t>(scene.rows[index / scene.places]), x = static_cast<int32_t>(scene.columns[index % scene.places]);
    assert(y >= 0 && y < scene.height && x >= 0 && x < scene.width);
    float* to = out + image * channels * (scene.wide > 0 ? 5 : 2) * area + index;
    for (int32_t c = 0; c < channels; ++c) {
      const float* from = scene.image + (image * channels + c) * plane;
      const float2 near = look_around(scene, from, y, x, scene.near);
      to[c * area] = from[int64_t(y) * scene.width + x];
      to[(channels + c) * area] = near.x;
      if (scene.wide == 0) continue;
      const float2 wide = look_around(scene, from, y, x, scene.wide);
      to[(2 * channels + c) * area] = wide.x;
      to[(3 * channels + c) * area] = near.y;
      to[(4 * channels + c) * area] = wide.y;
    }
  }
}

}  // namespace

Tensor surroundings_cuda(const Tensor& image, const Tensor& rows, const Tensor& columns, int64_t near, int64_t wide) {
  const torch::stable::accelerator::DeviceGuard guard(image.get_device_index());
  const int64_t batch = image.size(0), channels = image.size(1), lines = rows.size(0), places = columns.size(0);
  const Tensor out = empty_on(image, {batch, channels * (wide > 0 ? 5 : 2), lines, places}, ScalarType::Float);
  const int64_t count = batch * lines * places;
  if (count * channels == 0) return out;
  const Surroundings scene{data<float>(image), data<int64_t>(rows), data<int64_t>(columns), static_cast<int32_t>(channels),
                           static_cast<int32_t>(image.size(2)), static_cast<int32_t>(image.size(3)), static_cast<int32_t>(lines),
                           static_cast<int32_t>(places), static_cast<int32_t>(near), static_cast<int32_t>(wide)};
  describe<<<one_wave(describe, count), kThreads, 0, current_stream(image)>>>(scene, count, mutable_data<float>(out));
  check(cudaGetLastError(), "launching a kernel");
  return out;
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("surroundings", TORCH_BOX(&dht::surroundings_cuda)); }
