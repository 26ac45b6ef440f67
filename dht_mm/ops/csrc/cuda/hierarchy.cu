// CUDA kernel of build_hierarchy: a fixed sequence of launches over buffers of estimated capacity, with one read-back at the end.
// The definition is reference/hierarchy.py.
#include <array>
#include <tuple>

#include "select.cuh"

namespace dht {
namespace {

int num_levels(int64_t num_pixels) {
  int levels = 0;
  while ((int64_t(1) << (2 * levels)) < num_pixels) ++levels;
  return levels;
}

// Hands out pieces of one buffer. Laid out twice: the first time without memory, to find the size.
class Arena {
 public:
  explicit Arena(char* base) : base_(base) {}
  template <class T>
  void give(T*& pointer, int64_t count) {
    pointer = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

// How many nodes, parents of one level and edges fit, as shares of the pixels.
struct Capacity {
  int64_t nodes, parents, edges;
};

using Result = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

class Run {
 public:
  Run(const Tensor& features, const Tensor& slope, const Tensor& bias, const Shape& shape, const Rules& rules, const Capacity& capacity)
      : like_(features), slope_(data<float>(slope)), bias_(data<float>(bias)), shape_(shape), rules_(rules), capacity_(capacity),
        stream_(current_stream(features)), levels_(num_levels(shape.num_pixels)) {
    if (shape.num_pixels <= rules.min_regions) levels_ = 0;
    const int64_t pixels = shape.pixels, nodes = capacity.nodes, d = shape.channels;
    pick_ = empty_on(like_, {pixels + nodes}, ScalarType::Int);
    parent_ = empty_on(like_, {pixels + nodes}, ScalarType::Int);
    mean_ = empty_on(like_, {nodes, d}, ScalarType::Float);
    variance_ = empty_on(like_, {nodes, d}, ScalarType::Float);
    size_ = empty_on(like_, {nodes}, ScalarType::Int);
    box_ = empty_on(like_, {nodes, 4}, ScalarType::Int);
    score_ = empty_on(like_, {nodes}, ScalarType::Double);
    alpha_ = empty_on(like_, {nodes}, ScalarType::Double);
    forest_.features = data<float>(features);
    forest_.pick = mutable_data<int32_t>(pick_);
    forest_.parent = mutable_data<int32_t>(parent_);
    forest_.mean = mutable_data<float>(mean_);
    forest_.variance = mutable_data<float>(variance_);
    forest_.size = mutable_data<int32_t>(size_);
    forest_.box = mutable_data<Box>(box_);
    forest_.score = mutable_data<double>(score_);
    forest_.alpha = mutable_data<double>(alpha_);
    forest_.capacity = static_cast<int32_t>(nodes - shape.batch);
    family_.capacity = static_cast<int32_t>(capacity.parents);
    Arena measure(nullptr);
    lay_out(measure);
    scratch_ = empty_on(like_, {measure.used()}, ScalarType::Byte);
    Arena arena(mutable_data<char>(scratch_));
    check(cudaMemsetAsync(scratch_.data_ptr(), 0, lay_out(arena), stream_), "clearing the counters");
  }

  // Whether everything fitted; then `pack` has the result.
  bool run() {
    begin();
    if (levels_ > 0) first_level();
    for (int level = 1; level < levels_; ++level) next_level(level);
    add_images();
    select();
    check(cudaMemcpyAsync(&host_, counters_, sizeof host_, cudaMemcpyDeviceToHost, stream_), "reading the counters");
    check(cudaStreamSynchronize(stream_), "building the hierarchy");
    STD_TORCH_CHECK(!host_.not_finite, "features must be finite: the images or the weights hold NaN or infinite values");
    return !host_.overflow;
  }

  Result pack();

 private:
  // Places the scratch buffers; those that start out as zero come first. Returns how many bytes these are.
  int64_t lay_out(Arena& arena) {
    const int64_t pixels = shape_.pixels, nodes = capacity_.nodes, parents = capacity_.parents, batch = shape_.batch;
    arena.give(counters_, 1);
    arena.give(images_.largest, batch);
    arena.give(images_.improved, (levels_ + 1) * batch);
    // A parent of more than kListed children leaves at least kListed fewer nodes, so that slots never run out.
    arena.give(family_.sums, (pixels / kListed + batch) * (1 + 2 * shape_.channels));
    const int64_t cleared = arena.used();
    arena.give(images_.start, (levels_ + 2) * (batch + 1));
    arena.give(images_.active, (levels_ + 1) * batch);
    arena.give(forest_.lowest, nodes);
    arena.give(forest_.below, nodes);
    arena.give(forest_.first_pixel, nodes);
    for (int32_t** list : {&family_.children, &family_.head, &family_.slot}) arena.give(*list, parents);
    for (int32_t** list : {&family_.next, &root_, &smallest_, &number_}) arena.give(*list, pixels);
    arena.give(block_sums_, kMaxBlocks);
    arena.give(region_start_, batch + 1);
    for (int2*& list : edges_) arena.give(list, levels_ > 0 ? capacity_.edges : 0);
    return cleared;
  }

  template <class... Parameters, class... Arguments>
  void launch(void (*kernel)(Parameters...), int64_t work, Arguments... arguments) {
    kernel<<<blocks_for(work), kThreads, 0, stream_>>>(arguments...);
    check(cudaGetLastError(), "launching a kernel");
  }

  // Most regions a level can have: from level 1 on at most the parents that fit.
  int64_t level_work(int level) const { return level == 0 ? shape_.pixels : capacity_.parents; }

  void begin();
  void first_level();
  void next_level(int level);
  void connect(int level);
  template <int D, Weighting W>
  void close(int level);
  template <int D>
  void add_images();
  void add_images() { shape_.channels == 8 ? add_images<8>() : add_images<0>(); }
  Source source(bool pixels) const { return {forest_, shape_, rules_, slope_, bias_, 0, pixels}; }
  void select();

  Tensor like_;
  const float *slope_, *bias_;
  Shape shape_;
  Rules rules_;
  Capacity capacity_;
  cudaStream_t stream_;
  int levels_;
  Tensor scratch_, pick_, parent_, mean_, variance_, size_, box_, score_, alpha_;
  Forest forest_{};
  Family family_{};
  Images images_{};
  Counters* counters_ = nullptr;
  Counters host_;
  int32_t *root_, *smallest_, *number_, *block_sums_, *region_start_;
  std::array<int2*, 2> edges_{};
  int32_t *choice_ = nullptr, *first_ = nullptr;
};

__global__ void begin_counters(Shape shape, Images images, Counters* counters, bool has_levels) {
  for (int64_t i = grid_thread(); i <= shape.batch; i += grid_size()) {
    images.start[i] = static_cast<int32_t>(i) * shape.num_pixels;
    if (i < shape.batch) images.active[i] = has_levels;
  }
  if (grid_thread() == 0) counters->level_start[1] = static_cast<int32_t>(shape.pixels);
}

void Run::begin() {
  const int64_t values = int64_t(shape_.num_pixels) * shape_.channels;
  const int blocks = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>((values + 16 * kThreads - 1) / (16 * kThreads), 64)));
  largest_feature<<<dim3(blocks, shape_.batch), kThreads, 0, stream_>>>(forest_, shape_, images_, counters_);
  check(cudaGetLastError(), "launching a kernel");
  launch(begin_counters, shape_.batch + 1, shape_, images_, counters_, levels_ > 0);
}

// Components of the picks of `level`, numbered.
void Run::connect(int level) {
  const int64_t work = level_work(level);
  launch(plant_roots, work, forest_, counters_, level, root_, smallest_);
  launch(chase_roots, work, counters_, level, root_, smallest_);
  launch(count_firsts, work, counters_, level, root_, smallest_, block_sums_);
  launch(number_firsts, work, forest_, shape_, images_, counters_, level, root_, smallest_, block_sums_, family_.capacity, number_);
  launch(open_parents, level_work(level + 1), forest_, shape_, counters_, level, family_);
}

// Statistics of the parents of `level`, which becomes level + 1.
template <int D, Weighting W>
void Run::close(int level) {
  launch(add_spilled<D, W>, level_work(level), source(level == 0), images_, counters_, level, family_);
  launch(close_level<D, W>, level_work(level + 1), source(level == 0), images_, counters_, level + 1, family_);
  launch(update_active, shape_.batch, shape_, images_, counters_, level + 1, rules_.min_regions);
}

template <int D>
void Run::add_images() {
  launch(open_images, shape_.batch, shape_, counters_, levels_, family_);
  launch(adopt_for_images, level_work(levels_), forest_, shape_, counters_, levels_, family_);
  launch(add_spilled<D, Weighting::kBySize>, level_work(levels_), source(levels_ == 0), images_, counters_, levels_, family_);
  launch(close_images<D>, shape_.batch, source(levels_ == 0), images_, counters_, levels_, family_);
}

void Run::first_level() {
  const bool eight = shape_.channels == 8;
  launch(eight ? pick_pixels<8> : pick_pixels<0>, shape_.pixels, forest_, shape_, rules_);
  connect(0);
  launch(adopt, shape_.pixels, forest_, counters_, 0, root_, smallest_, number_, family_);
  eight ? close<8, Weighting::kPixels>(0) : close<0, Weighting::kPixels>(0);
  launch(collect_edges, shape_.pixels, forest_, shape_, images_, counters_, edges_[0], static_cast<int32_t>(capacity_.edges));
}

void Run::next_level(int level) {
  // The keys of the picks share memory with the numbers of the level before, which nobody needs any more.
  auto* best = reinterpret_cast<unsigned long long*>(smallest_);
  const int2* edges = edges_[(level - 1) % 2];
  launch(offer_self, level_work(level), forest_, shape_, rules_, counters_, level, slope_, bias_, best);
  launch(shape_.channels == 8 ? offer_edges<8> : offer_edges<0>, capacity_.edges, forest_, shape_, rules_, counters_, level, edges, best);
  launch(decode_picks, level_work(level), forest_, counters_, level, best);
  connect(level);
  launch(adopt, level_work(level), forest_, counters_, level, root_, smallest_, number_, family_);
  shape_.channels == 8 ? close<8, Weighting::kRegions>(level) : close<0, Weighting::kRegions>(level);
  launch(lift_edges, capacity_.edges, forest_, shape_, images_, counters_, level, edges, edges_[level % 2],
         static_cast<int32_t>(capacity_.edges));
}

void Run::select() {
  // Lists of children and their parents' numbers are done with; their memory holds the choices.
  choice_ = smallest_;
  first_ = family_.next;
  launch(choose_nodes, level_work(1), forest_, shape_, counters_, choice_, root_);
  launch(join_choices, shape_.pixels, forest_, shape_, counters_, choice_, root_);
  launch(flatten_choices, level_work(1), forest_, shape_, counters_, root_, first_);
  launch(count_regions, shape_.pixels, forest_, shape_, counters_, choice_, first_, block_sums_);
  launch(number_regions, shape_.pixels, forest_, shape_, counters_, choice_, first_, block_sums_, number_, region_start_);
}

Tensor rows(const Tensor& buffer, int64_t count) { return torch::stable::narrow(const_cast<Tensor&>(buffer), 0, 0, count); }

Result Run::pack() {
  const int64_t total = host_.num_regions, nodes = host_.level_start[levels_ + 2], merged = nodes - shape_.pixels;
  const Tensor labels = empty_on(like_, {shape_.batch, shape_.height, shape_.width}, ScalarType::Int);
  const Tensor num_regions = empty_on(like_, {shape_.batch}, ScalarType::Int), node = empty_on(like_, {total}, ScalarType::Int);
  const Tensor bbox = empty_on(like_, {total, 4}, ScalarType::Int), size = empty_on(like_, {total}, ScalarType::Int);
  const Tensor mean = empty_on(like_, {total, shape_.channels}, ScalarType::Float);
  const Regions regions{mutable_data<int32_t>(labels), mutable_data<int32_t>(num_regions), mutable_data<int32_t>(node), mutable_data<Box>(bbox),
                        mutable_data<int32_t>(size), mutable_data<float>(mean), static_cast<int32_t>(total)};
  launch(open_regions, std::max<int64_t>(total, shape_.batch), shape_, region_start_, regions);
  launch(write_regions, shape_.pixels, forest_, shape_, counters_, choice_, first_, number_, region_start_, regions);
  const Tensor starts = torch::stable::empty({levels_ + 3}, ScalarType::Long);
  for (int level = 0; level < levels_ + 3; ++level) mutable_data<int64_t>(starts)[level] = host_.level_start[level];
  return {labels, num_regions, node, bbox, size, mean, rows(parent_, nodes), rows(pick_, nodes), rows(mean_, merged), rows(variance_, merged),
          rows(size_, merged), rows(box_, merged), rows(score_, merged), rows(alpha_, merged), starts};
}

}  // namespace

Result build_hierarchy_cuda(const Tensor& features, const Tensor& slope, const Tensor& bias, int64_t kernel, double compactness,
                            int64_t criterion, double iota, int64_t min_regions) {
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  const int64_t batch = features.size(0), height = features.size(1), width = features.size(2), d = features.size(3);
  const int64_t pixels = batch * height * width;
  STD_TORCH_CHECK(pixels < (int64_t(1) << 29), "features must have fewer than 2^29 pixels in a batch, got ", pixels);
  const Shape shape{static_cast<int32_t>(batch), static_cast<int32_t>(height), static_cast<int32_t>(width),
                    static_cast<int32_t>(height * width), static_cast<int32_t>(d), pixels};
  const Rules rules{static_cast<Kernel>(kernel), compactness, static_cast<Criterion>(criterion), iota,
                    static_cast<int32_t>(std::min<int64_t>(min_regions, INT32_MAX))};
  // Photographs need about 0.3 pixels in parents and 0.4 in nodes; noise more, never more than half the pixels a level.
  for (double share : {0.34, 0.5, 1.0, 4.0}) {
    const int64_t parents = std::min(static_cast<int64_t>(pixels * share), pixels / 2) + batch;
    const Capacity capacity{static_cast<int64_t>(pixels * share * 1.3) + kMaxLevels * batch, parents,
                            std::min(static_cast<int64_t>(pixels * share * 5.0) + 64, 2 * pixels + 64)};
    Run attempt(features, slope, bias, shape, rules, capacity);
    if (attempt.run()) return attempt.pack();
  }
  STD_TORCH_CHECK(false, "the hierarchy has more regions than 32-bit buffers can hold");
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CUDA, m) { m.impl("build_hierarchy", TORCH_BOX(&dht::build_hierarchy_cuda)); }
