// CUDA kernels of build_hierarchy and its form of a fixed length: a fixed sequence of launches over buffers of some capacity. The first reads
// its counters back once, at the end; the second never does. The definition is reference/hierarchy.py.
#include <array>
#include <tuple>

#include "arena.cuh"
#include "components.cuh"
#include "edges.cuh"
#include "select.cuh"

namespace dht {
namespace {

int num_levels(int64_t num_pixels) {
  int levels = 0;
  while ((int64_t(1) << (2 * levels)) < num_pixels) ++levels;
  return levels;
}

// How many nodes, parents of one level and edges fit.
struct Capacity {
  int64_t nodes, parents, edges;
};

// Room as a share of the pixels. Photographs need about 0.3 pixels in parents and 0.4 in nodes; noise more, never more than half the
// pixels a level.
Capacity capacity_for(const Shape& shape, double share) {
  const int64_t pixels = shape.pixels;
  return {static_cast<int64_t>(pixels * share * 1.3) + kMaxLevels * shape.batch,
          std::min(static_cast<int64_t>(pixels * share), pixels / 2) + shape.batch,
          std::min(static_cast<int64_t>(pixels * share * 5.0), 2 * pixels) + 64};
}

// A call's arguments.
struct Call {
  const Tensor &features, &slope, &bias;
  Shape shape;
  Rules rules;
};

Call call_of(const Tensor& features, const Tensor& slope, const Tensor& bias, int64_t kernel, double compactness, int64_t criterion,
             double iota, int64_t min_regions) {
  const int64_t batch = features.size(0), height = features.size(1), width = features.size(2), d = features.size(3);
  // The sides first: their product with the batch could overflow.
  STD_TORCH_CHECK(batch < (1 << 29) && height < (1 << 29) && width < (1 << 29) && batch * height < (1 << 29) && batch * height * width < (1 << 29),
                  "features must have fewer than 2^29 pixels in a batch, got ", batch, " images of ", height, " x ", width);
  const Shape shape{static_cast<int32_t>(batch), static_cast<int32_t>(height), static_cast<int32_t>(width),
                    static_cast<int32_t>(height * width), static_cast<int32_t>(d), batch * height * width,
                    Divider(static_cast<int32_t>(height * width)), Divider(static_cast<int32_t>(width))};
  return {features, slope, bias, shape,
          {static_cast<Kernel>(kernel), compactness, static_cast<Criterion>(criterion), iota,
           static_cast<int32_t>(std::min<int64_t>(min_regions, INT32_MAX))}};
}

using Result = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

class Run {
 public:
  Run(const Call& call, const Capacity& capacity)
      : like_(call.features), slope_(data<float>(call.slope)), bias_(data<float>(call.bias)), shape_(call.shape), rules_(call.rules),
        capacity_(capacity), stream_(current_stream(call.features)), levels_(num_levels(call.shape.num_pixels)),
        eight_(call.shape.channels == 8 && reinterpret_cast<uintptr_t>(call.features.data_ptr()) % sizeof(float4) == 0) {
    if (shape_.num_pixels <= rules_.min_regions) levels_ = 0;
    const int64_t pixels = shape_.pixels, nodes = capacity.nodes, d = shape_.channels;
    pick_ = empty_on(like_, {pixels + nodes}, ScalarType::Int);
    parent_ = empty_on(like_, {pixels + nodes}, ScalarType::Int);
    mean_ = empty_on(like_, {nodes, d}, ScalarType::Float);
    variance_ = empty_on(like_, {nodes, d}, ScalarType::Float);
    size_ = empty_on(like_, {nodes}, ScalarType::Int);
    box_ = empty_on(like_, {nodes, 4}, ScalarType::Int);
    score_ = empty_on(like_, {nodes}, ScalarType::Double);
    alpha_ = empty_on(like_, {nodes}, ScalarType::Double);
    forest_ = {data<float>(like_), mutable_data<int32_t>(pick_), mutable_data<int32_t>(parent_), mutable_data<float>(mean_),
               mutable_data<float>(variance_), mutable_data<int32_t>(size_), mutable_data<Box>(box_), mutable_data<double>(score_),
               mutable_data<double>(alpha_)};
    forest_.capacity = static_cast<int32_t>(nodes - shape_.batch);
    family_.capacity = static_cast<int32_t>(capacity.parents);
    Arena measure(nullptr);
    lay_out(measure);
    scratch_ = empty_on(like_, {measure.used()}, ScalarType::Byte);
    Arena arena(mutable_data<char>(scratch_));
    check(cudaMemsetAsync(scratch_.data_ptr(), 0, lay_out(arena), stream_), "clearing the counters");
    build();
  }

  // Packs what there probably is and waits for the counters. Returns whether the forest fitted; then `hierarchy` has the result.
  bool read_back();
  Result hierarchy();
  // The same in fields of a fixed length.
  Result fixed_hierarchy(int64_t capacity) {
    const Packed packed = pack(capacity);
    return {packed.labels, packed.num_regions, packed.offsets, packed.node, packed.bbox, packed.size, packed.mean, parent_,
            pick_, mean_, variance_, size_, box_, score_, alpha_, packed.level_starts};
  }

 private:
  struct Packed {
    Tensor labels, num_regions, offsets, node, bbox, size, mean, level_starts;
  };

  // Places the scratch buffers; those that start out as zero come first. Returns how many bytes these are.
  int64_t lay_out(Arena& arena) {
    const int64_t pixels = shape_.pixels, nodes = capacity_.nodes, parents = capacity_.parents, batch = shape_.batch;
    arena.give(counters_, 1);
    arena.give(images_.largest, batch);
    arena.give(images_.improved, (levels_ + 1) * batch);
    arena.give(tiles_, (levels_ + 1) * num_tiles(pixels));
    const int64_t cleared = arena.used();
    arena.give(images_.start, (levels_ + 2) * (batch + 1));
    arena.give(images_.active, (levels_ + 1) * batch);
    arena.give(forest_.lowest, nodes);
    arena.give(forest_.below, nodes);
    arena.give(forest_.first_pixel, nodes);
    arena.give(family_.child_start, parents + 1);
    arena.give(family_.long_parents, pixels / kLong + 1);
    for (int32_t** list : {&family_.root, &family_.rank, &family_.child}) arena.give(*list, pixels);
    arena.give(family_.component, std::max(pixels, parents));
    arena.give(family_.weight, pixels);
    arena.give(best_, parents);
    arena.give(outcome_.image_start, batch + 1);
    arena.give(edges_[0], levels_ > 1 ? capacity_.edges : 0);
    arena.give(edges_[1], levels_ > 2 ? capacity_.edges : 0);
    // Needed only when the forest is complete, and what lies there is not.
    outcome_.selection = reinterpret_cast<Selection*>(family_.component);
    outcome_.number = family_.rank;
    outcome_.pixel_number = family_.root;
    return cleared;
  }

  template <class... Parameters, class... Arguments>
  void launch(void (*kernel)(Parameters...), int64_t work, Arguments... arguments) {
    kernel<<<one_wave(kernel, work), kThreads, 0, stream_>>>(arguments...);
    check(cudaGetLastError(), "launching a kernel");
  }

  // Most regions a level can have: from level 1 on at most the parents that fit.
  int64_t level_work(int level) const { return level == 0 ? shape_.pixels : capacity_.parents; }
  unsigned long long* tiles_of(int level) const { return tiles_ + level * num_tiles(shape_.pixels); }
  Source source() const { return {forest_, shape_, rules_, slope_, bias_}; }

  void build();
  void pick(int level);
  void merge(int level);
  void find_edges(int level);
  void select();
  Packed pack(int64_t capacity);

  Tensor like_;
  const float *slope_, *bias_;
  Shape shape_;
  Rules rules_;
  Capacity capacity_;
  cudaStream_t stream_;
  int levels_;
  bool eight_;  // eight channels in rows of 32 bytes, the published size, for which there are kernels of their own
  Tensor scratch_, pick_, parent_, mean_, variance_, size_, box_, score_, alpha_;
  Packed guess_;
  Forest forest_{};
  Family family_{};
  Images images_{};
  Outcome outcome_{};
  Counters* counters_ = nullptr;
  Counters host_;
  unsigned long long *tiles_ = nullptr, *best_ = nullptr;
  std::array<int2*, 2> edges_{};
};

__global__ void begin_counters(Shape shape, Images images, Counters* counters, bool has_levels) {
  for (int64_t i = grid_thread(); i <= shape.batch; i += grid_size()) {
    images.start[i] = static_cast<int32_t>(i * shape.num_pixels);
    if (i < shape.batch) images.active[i] = has_levels;
  }
  if (grid_thread() == 0) counters->level_start[1] = static_cast<int32_t>(shape.pixels);
}

// Bits of the largest |feature| of each image, where no pixel is ever picked.
__global__ void largest_features(Forest forest, Shape shape, Images images, Counters* counters) {
  for (int64_t i = grid_thread(); i < shape.pixels * shape.channels; i += grid_size()) {
    const uint32_t bits = __float_as_uint(forest.features[i]) & 0x7FFFFFFFu;
    if (bits >= 0x7F800000) counters->not_finite = 1;
    atomicMax(images.largest + shape.image_of(i / shape.channels), bits);
  }
}

void Run::build() {
  launch(begin_counters, shape_.batch + 1, shape_, images_, counters_, levels_ > 0);
  if (levels_ == 0) launch(largest_features, shape_.pixels * shape_.channels, forest_, shape_, images_, counters_);
  for (int level = 0; level < levels_; ++level) {
    pick(level);
    merge(level);
    if (level + 1 < levels_) find_edges(level);
  }
  launch(adopt_for_images, level_work(levels_), forest_, shape_, counters_, levels_);
  launch(levels_ == 0 ? close_images<true> : close_images<false>, shape_.batch * int64_t(kThreads), source(), images_, counters_, levels_);
  select();
}

int64_t num_strips(const Shape& shape, int32_t rows) {
  return int64_t(shape.batch) * ((shape.width - 1) / kStripColumns + 1) * ((shape.height - 1) / rows + 1);
}

// Rows of a strip of pixel picks, so that `warps` at once are done the soonest; each strip begins with a row of its own.
int32_t strip_rows(const Shape& shape, int64_t warps) {
  const auto row_steps = [&](int32_t rows) { return (num_strips(shape, rows) + warps - 1) / warps * (rows + 1); };
  int32_t best = 4;
  for (int32_t rows = best + 1; rows <= 32; ++rows)
    if (row_steps(rows) <= row_steps(best)) best = rows;
  return best;
}

void Run::pick(int level) {
  if (level > 0) {
    launch(eight_ ? decode_picks<8> : decode_picks<0>, level_work(level), forest_, shape_, rules_, images_, counters_, level, slope_, bias_,
           best_, family_);
  } else if (eight_) {
    const int32_t rows = strip_rows(shape_, int64_t(resident_blocks(pick_pixels<8>)) * (kThreads / 32));
    launch(pick_pixels<8>, num_strips(shape_, rows) * 32, forest_, shape_, rules_, family_, images_, counters_, rows);
  } else {
    launch(pick_pixels_any, shape_.pixels, forest_, shape_, rules_, family_, images_, counters_);
  }
  if (level == 0) launch(find_local_components, shape_.pixels / 4, forest_, shape_, family_);
}

// Components of the picks of `level` become the regions of the next.
void Run::merge(int level) {
  launch(find_components, level_work(level), counters_, level, family_);
  launch(number_components, num_tiles(level_work(level)) * kThreads, forest_, shape_, images_, counters_, level, family_, tiles_of(level));
  launch(adopt, level_work(level), forest_, counters_, level, family_);
  const auto close = level == 0 ? eight_ ? close_level<8, true> : close_level<0, true> : eight_ ? close_level<8, false> : close_level<0, false>;
  launch(close, level_work(level + 1), source(), images_, counters_, level + 1, family_);
  launch(level == 0 ? finish_level<true> : finish_level<false>, level_work(level + 1), source(), images_, counters_, level + 1, family_, best_);
}

// Edges between the regions of level + 1, offered to them.
void Run::find_edges(int level) {
  const auto capacity = static_cast<int32_t>(capacity_.edges);
  if (level == 0)
    launch(eight_ ? collect_edges<8> : collect_edges<0>, shape_.pixels / kEdgeItems, forest_, shape_, rules_, counters_, edges_[0], capacity,
           best_);
  else
    launch(eight_ ? lift_edges<8> : lift_edges<0>, capacity / kEdgeItems, forest_, shape_, rules_, counters_, level, edges_[(level - 1) % 2],
           edges_[level % 2], capacity, best_);
}

void Run::select() {
  launch(choose_nodes, level_work(1), forest_, shape_, counters_, outcome_);
  launch(join_choices, shape_.pixels, forest_, shape_, counters_, outcome_);
  launch(flatten_choices, level_work(1), counters_, outcome_);
  launch(number_regions, num_tiles(shape_.pixels) * kThreads, forest_, shape_, counters_, outcome_, tiles_of(levels_));
}

bool Run::read_back() {
  // More regions than this are rare; then they are packed again.
  guess_ = pack(shape_.pixels / 48 + 16 * shape_.batch);
  check(cudaMemcpyAsync(&host_, counters_, sizeof host_, cudaMemcpyDeviceToHost, stream_), "reading the counters");
  check(cudaStreamSynchronize(stream_), "building the hierarchy");
  STD_TORCH_CHECK(!host_.not_finite, "features must be finite: the images or the weights hold NaN or infinite values");
  return !host_.overflow;
}

Run::Packed Run::pack(int64_t capacity) {
  const Packed packed{empty_on(like_, {shape_.batch, shape_.height, shape_.width}, ScalarType::Int),
                      empty_on(like_, {shape_.batch}, ScalarType::Int), empty_on(like_, {shape_.batch + 1}, ScalarType::Int),
                      empty_on(like_, {capacity}, ScalarType::Int),
                      empty_on(like_, {capacity, 4}, ScalarType::Int), empty_on(like_, {capacity}, ScalarType::Int),
                      empty_on(like_, {capacity, shape_.channels}, ScalarType::Float), empty_on(like_, {levels_ + 3}, ScalarType::Long)};
  const Regions regions{mutable_data<int32_t>(packed.labels), mutable_data<int32_t>(packed.num_regions), mutable_data<int32_t>(packed.offsets),
                        mutable_data<int32_t>(packed.node), mutable_data<Box>(packed.bbox), mutable_data<int32_t>(packed.size), mutable_data<float>(packed.mean),
                        mutable_data<int64_t>(packed.level_starts), levels_ + 3, capacity};
  launch(open_regions, std::max<int64_t>(capacity, shape_.batch + 1), shape_, counters_, outcome_, regions);
  launch(write_regions, level_work(1), forest_, shape_, counters_, outcome_, regions);
  launch(paint_labels, shape_.pixels, forest_, shape_, counters_, outcome_, regions);
  return packed;
}

Result Run::hierarchy() {
  const int64_t nodes = host_.level_start[levels_ + 2], merged = nodes - shape_.pixels, count = host_.num_regions, d = shape_.channels;
  const Packed packed = count <= guess_.size.size(0) ? guess_ : pack(count);
  return {packed.labels, packed.num_regions, packed.offsets, beginning_of(packed.node, {count}), beginning_of(packed.bbox, {count, 4}),
          beginning_of(packed.size, {count}), beginning_of(packed.mean, {count, d}), beginning_of(parent_, {nodes}), beginning_of(pick_, {nodes}),
          beginning_of(mean_, {merged, d}), beginning_of(variance_, {merged, d}), beginning_of(size_, {merged}),
          beginning_of(box_, {merged, 4}), beginning_of(score_, {merged}), beginning_of(alpha_, {merged}), packed.level_starts};
}

}  // namespace

Result build_hierarchy_cuda(const Tensor& features, const Tensor& slope, const Tensor& bias, int64_t kernel, double compactness,
                            int64_t criterion, double iota, int64_t min_regions) {
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  const Call call = call_of(features, slope, bias, kernel, compactness, criterion, iota, min_regions);
  for (double share : {0.34, 0.5, 1.0, 4.0}) {
    Run attempt(call, capacity_for(call.shape, share));
    if (attempt.read_back()) return attempt.hierarchy();
  }
  STD_TORCH_CHECK(false, "the hierarchy has more regions than 32-bit buffers can hold");
}

Result build_fixed_hierarchy_cuda(const Tensor& features, const Tensor& slope, const Tensor& bias, int64_t kernel, double compactness,
                                  int64_t criterion, double iota, int64_t min_regions, int64_t capacity) {
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  const Call call = call_of(features, slope, bias, kernel, compactness, criterion, iota, min_regions);
  Capacity room = capacity_for(call.shape, 1.0);
  room.nodes = call.shape.pixels * 13 / 10 + kMaxLevels * call.shape.batch;  // as node_capacity in fixed_hierarchy.py has it
  return Run(call, room).fixed_hierarchy(capacity);
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) {
  m.impl("build_hierarchy", TORCH_BOX(&dht::build_hierarchy_cuda));
  m.impl("build_fixed_hierarchy", TORCH_BOX(&dht::build_fixed_hierarchy_cuda));
}
