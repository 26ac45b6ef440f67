// Statistics of parents from their children, in fixed point: additions in any order give the same bits.
#pragma once

#include "components.cuh"
#include "pick.cuh"

namespace dht {

__device__ __forceinline__ void add(int64_t* to, int64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

__device__ __forceinline__ void add_box(Box* to, const Box& box) {
  if (box.ymin < to->ymin) atomicMin(&to->ymin, box.ymin);
  if (box.xmin < to->xmin) atomicMin(&to->xmin, box.xmin);
  if (box.ymax > to->ymax) atomicMax(&to->ymax, box.ymax);
  if (box.xmax > to->xmax) atomicMax(&to->xmax, box.xmax);
}

// Atomic minimum of a double: for non-negative values the bits order as integers, for negative ones in reverse.
__device__ __forceinline__ void lower(double* to, double value) {
  if (value >= *to) return;
  if (value >= 0.0)
    atomicMin(reinterpret_cast<long long*>(to), __double_as_longlong(value));
  else
    atomicMax(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(__double_as_longlong(value)));
}

// Parents of a level start out empty.
__global__ void open_parents(Forest forest, Shape shape, const Counters* counters, int level) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level + 1);
  for (int64_t p = grid_thread(); p < range.count; p += grid_size()) {
    const int64_t row = range.start - shape.pixels + p;
    forest.size[row] = 0;
    forest.box[row] = Box{INT32_MAX, INT32_MAX, -1, -1};
    forest.lowest[row] = level == 0 ? -sqrt(static_cast<double>(shape.num_pixels)) : __longlong_as_double(0x7FF0000000000000);
  }
}

// Adds the moments of one child; channels are spread over `lanes` neighbouring threads, so that atomics of a parent lie side by side.
__device__ __forceinline__ void add_moments(const Sums& sums, int64_t p, int channels, int lane, int lanes, double alpha, const float* mean,
                                            const float* variance, const Units& units) {
  for (int c = lane; c < channels; c += lanes) {
    add(sums.first + p * channels + c, first_moment(alpha, mean[c], units));
    add(sums.second + p * channels + c, second_moment(alpha, mean[c], variance == nullptr ? 0.0f : variance[c], units));
  }
}

constexpr int kLanes = 8;  // threads that share a child

template <int D>
__global__ void sum_pixels(Forest forest, Shape shape, Rules rules, const Images images, const Counters* counters, const int32_t* root,
                           const int32_t* smallest, const int32_t* number, Sums sums) {
  if (counters->overflow) return;
  const int32_t start = counters->level_start[1];
  const int lane = threadIdx.x % kLanes;
  for (int64_t i = grid_thread(); i < shape.pixels * kLanes; i += grid_size()) {
    const int64_t u = i / kLanes;
    const int32_t p = number[smallest[root[u]]];
    const double weight = pixel_weight<D>(forest.features, u, forest.pick[u], shape.channels, rules);
    const Units units = image_units(images, static_cast<int32_t>(u / shape.num_pixels), shape.num_pixels);
    const double alpha = alpha_of(1, weight);
    add_moments(sums, p, shape.channels, lane, kLanes, alpha, forest.features + u * shape.channels, nullptr, units);
    if (lane != 0) continue;
    forest.parent[u] = start + p;
    add(sums.alpha + p, round_to_int64(alpha * units.alpha));
    atomicAdd(forest.size + start - shape.pixels + p, 1);
    add_box(forest.box + start - shape.pixels + p, pixel_box(u, shape));
  }
}

__global__ void sum_regions(Forest forest, Shape shape, Rules rules, const Images images, const Counters* counters, int level,
                            const float* slope, const float* bias, const int32_t* root, const int32_t* smallest, const int32_t* number,
                            Sums sums) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  const int32_t next = range.start + range.count;
  const int lane = threadIdx.x % kLanes, d = shape.channels;
  for (int64_t i = grid_thread(); i < int64_t(range.count) * kLanes; i += grid_size()) {
    const int32_t u = static_cast<int32_t>(i / kLanes);
    const int64_t row = range.start - shape.pixels + u, pick = forest.pick[range.start + u] - shape.pixels;
    const int32_t p = number[smallest[root[u]]];
    const double weight = pick == row ? self_weight(forest, row, slope, bias, d, rules) : node_weight(forest, row, pick, d, rules);
    const Units units = image_units(images, forest.first_pixel[row] / shape.num_pixels, shape.num_pixels);
    const double alpha = alpha_of(forest.size[row], weight);
    add_moments(sums, p, d, lane, kLanes, alpha, forest.mean + row * d, forest.variance + row * d, units);
    if (lane != 0) continue;
    const int64_t above = next - shape.pixels + p;
    forest.parent[range.start + u] = next + p;
    add(sums.alpha + p, round_to_int64(alpha * units.alpha));
    atomicAdd(sums.children + p, 1);
    sums.only_child[p] = static_cast<int32_t>(row);
    atomicAdd(forest.size + above, forest.size[row]);
    add_box(forest.box + above, forest.box[row]);
    lower(forest.lowest + above, forest.lowest[row]);
  }
}

// Turns the sums of a parent into its statistics and clears them for the next level.
__device__ __forceinline__ void close_parent(const Forest& forest, int64_t row, int64_t p, int channels, const Units& units, const Sums& sums,
                                             const float* only_mean, const float* only_variance) {
  const int64_t total = sums.alpha[p];
  for (int c = 0; c < channels; ++c) {
    const int64_t i = p * channels + c, o = row * channels + c;
    forest.mean[o] = only_mean != nullptr ? only_mean[c] : mean_of(sums.first[i], total, units);
    forest.variance[o] = only_mean == nullptr ? variance_of(sums.first[i], sums.second[i], total, units)
                         : only_variance != nullptr ? only_variance[c] : 0.0f;
    sums.first[i] = sums.second[i] = 0;
  }
  sums.alpha[p] = 0;
  sums.children[p] = 0;
}

__device__ __forceinline__ bool still_active(const Images& images, const Shape& shape, int level, int32_t image, int32_t min_regions) {
  const int32_t* start = images.start + level * (shape.batch + 1) + image;
  return images.active[(level - 1) * shape.batch + image] && images.improved[level * shape.batch + image] && start[1] - start[0] > min_regions;
}

__global__ void close_level(Forest forest, Shape shape, Rules rules, Images images, const Counters* counters, int level, Sums sums) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  const int d = shape.channels;
  for (int64_t p = grid_thread(); p < range.count; p += grid_size()) {
    const int64_t row = range.start - shape.pixels + p;
    const int32_t image = forest.first_pixel[row] / shape.num_pixels;
    const bool alone = sums.children[p] == 1;
    const int64_t child = alone ? sums.only_child[p] : 0;
    close_parent(forest, row, p, d, image_units(images, image, shape.num_pixels), sums, alone ? forest.mean + child * d : nullptr,
                 alone ? forest.variance + child * d : nullptr);
    const bool active = images.active[(level - 1) * shape.batch + image];
    const double score = active ? information_score(rules.criterion, forest.variance + row * d, d, forest.size[row], shape.num_pixels, rules.iota)
                                : -__longlong_as_double(0x7FF0000000000000);
    forest.score[row] = score;
    if (score >= forest.lowest[row]) images.improved[level * shape.batch + image] = 1;
    if (score > forest.lowest[row]) forest.lowest[row] = score;
  }
}

__global__ void update_active(Shape shape, Images images, const Counters* counters, int level, int32_t min_regions) {
  if (counters->overflow) return;
  for (int64_t image = grid_thread(); image < shape.batch; image += grid_size())
    images.active[level * shape.batch + image] = still_active(images, shape, level, static_cast<int32_t>(image), min_regions);
}

// The whole image as the last candidate: means weighted by size. `level` holds the children.
__global__ void sum_whole_images(Forest forest, Shape shape, const Images images, Counters* counters, int level, Sums sums) {
  if (counters->overflow) return;
  const Range range = level_range(counters, level);
  const int32_t next = range.start + range.count;
  const int lane = threadIdx.x % kLanes, d = shape.channels;
  for (int64_t i = grid_thread(); i < int64_t(range.count) * kLanes; i += grid_size()) {
    const int64_t u = i / kLanes, row = range.start - shape.pixels + u;
    const int32_t image = (level == 0 ? static_cast<int32_t>(u) : forest.first_pixel[row]) / shape.num_pixels;
    const double alpha = level == 0 ? 1.0 : static_cast<double>(forest.size[row]);
    const Units units = image_units(images, image, shape.num_pixels);
    const float* mean = level == 0 ? forest.features + u * d : forest.mean + row * d;
    add_moments(sums, image, d, lane, kLanes, alpha, mean, level == 0 ? nullptr : forest.variance + row * d, units);
    if (lane != 0) continue;
    forest.parent[range.start + u] = next + image;
    forest.pick[range.start + u] = range.start + static_cast<int32_t>(u);
    add(sums.alpha + image, round_to_int64(alpha * units.alpha));
    atomicAdd(sums.children + image, 1);
    sums.only_child[image] = static_cast<int32_t>(level == 0 ? u : row);
  }
}

__global__ void close_whole_images(Forest forest, Shape shape, Rules rules, Images images, Counters* counters, int level, Sums sums) {
  if (counters->overflow) return;
  const int32_t start = counters->level_start[level + 1];
  const int d = shape.channels;
  for (int64_t image = grid_thread(); image < shape.batch; image += grid_size()) {
    const int64_t row = start - shape.pixels + image;
    const bool alone = sums.children[image] == 1;
    const int64_t child = alone ? sums.only_child[image] : 0;
    const float* mean = level == 0 ? forest.features + child * d : forest.mean + child * d;
    close_parent(forest, row, image, d, image_units(images, static_cast<int32_t>(image), shape.num_pixels), sums, alone ? mean : nullptr,
                 alone && level > 0 ? forest.variance + child * d : nullptr);
    forest.size[row] = shape.num_pixels;
    forest.box[row] = Box{0, 0, shape.height - 1, shape.width - 1};
    forest.first_pixel[row] = static_cast<int32_t>(image * shape.num_pixels);
    forest.pick[start + image] = start + static_cast<int32_t>(image);
    forest.parent[start + image] = -1;
    forest.score[row] = information_score(rules.criterion, forest.variance + row * d, d, shape.num_pixels, shape.num_pixels, rules.iota);
  }
  if (grid_thread() == 0) counters->level_start[level + 2] = start + shape.batch;
}

}  // namespace dht
