// CPU kernel of build_hierarchy: images run in parallel, each its own pass; then all their nodes become one forest.
#include <limits>
#include <optional>
#include <tuple>

#include "image_hierarchy.h"
#include "regions.h"

namespace dht {
namespace {

using Images = std::vector<ImageHierarchy>;

int64_t num_levels(int64_t num_pixels) {
  int64_t levels = 0;
  while ((int64_t(1) << (2 * levels)) < num_pixels) ++levels;
  return levels;
}

template <class F>
void for_each_image(Images& images, const F& step) {
  torch::stable::parallel_for(0, static_cast<int64_t>(images.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) step(images[i]);
  });
}

// Start of every image's nodes in every level of the forest: [levels][images], and the number of all nodes.
struct Numbering {
  std::vector<std::vector<int64_t>> start;
  int64_t total = 0;
};

Numbering number_nodes(const Images& images, int64_t num_pixels) {
  Numbering numbering;
  for (size_t level = 0; level <= images[0].levels.size(); ++level) {
    numbering.start.emplace_back();
    for (const ImageHierarchy& image : images) {
      numbering.start.back().push_back(numbering.total);
      numbering.total += level == 0 ? num_pixels : image.levels[level - 1].count();
    }
  }
  return numbering;
}

void shift_into(const std::vector<int32_t>& values, int64_t shift, int32_t* out) {
  for (size_t i = 0; i < values.size(); ++i) out[i] = static_cast<int32_t>(values[i] < 0 ? -1 : values[i] + shift);
}

using Result = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// The tensors of the result; each image fills in its rows.
struct Forest {
  Forest(const Tensor& like, int64_t batch, int64_t d, int64_t height, int64_t width, int64_t regions, int64_t nodes, int64_t levels);
  void add_regions(const ImageHierarchy& image, const Numbering& numbering, int64_t i, int64_t row);
  void add_nodes(const ImageHierarchy& image, const Numbering& numbering, int64_t i);

  int64_t d, num_pixels, pixels;
  Tensor labels, num_regions, offsets, node, bbox, size, region_mean, parent, pick, mean, variance, node_size, node_box, score, alpha, starts;
};

Forest::Forest(const Tensor& like, int64_t batch, int64_t d, int64_t height, int64_t width, int64_t regions, int64_t nodes, int64_t levels)
    : d(d), num_pixels(height * width), pixels(batch * num_pixels) {
  const int64_t merged = nodes - pixels;
  labels = empty_on(like, {batch, height, width}, ScalarType::Int);
  num_regions = empty_on(like, {batch}, ScalarType::Int);
  offsets = empty_on(like, {batch + 1}, ScalarType::Int);
  node = empty_on(like, {regions}, ScalarType::Int);
  bbox = empty_on(like, {regions, 4}, ScalarType::Int);
  size = empty_on(like, {regions}, ScalarType::Int);
  region_mean = empty_on(like, {regions, d}, ScalarType::Float);
  parent = empty_on(like, {nodes}, ScalarType::Int);
  pick = empty_on(like, {nodes}, ScalarType::Int);
  mean = empty_on(like, {merged, d}, ScalarType::Float);
  variance = empty_on(like, {merged, d}, ScalarType::Float);
  node_size = empty_on(like, {merged}, ScalarType::Int);
  node_box = empty_on(like, {merged, 4}, ScalarType::Int);
  score = empty_on(like, {merged}, ScalarType::Double);
  alpha = empty_on(like, {merged}, ScalarType::Double);
  starts = empty_on(like, {levels + 1}, ScalarType::Long);
}

// The regions of image `i`, of which the first has the number `row` in the batch.
void Forest::add_regions(const ImageHierarchy& image, const Numbering& numbering, int64_t i, int64_t row) {
  const int64_t count = static_cast<int64_t>(image.region_size.size());
  std::copy(image.labels.begin(), image.labels.end(), mutable_data<int32_t>(labels) + i * num_pixels);
  mutable_data<int32_t>(num_regions)[i] = static_cast<int32_t>(count);
  mutable_data<int32_t>(offsets)[i + 1] = static_cast<int32_t>(row + count);
  for (int64_t r = 0; r < count; ++r) {
    mutable_data<int32_t>(node)[row + r] = static_cast<int32_t>(numbering.start[image.selected_level[r]][i] + image.selected_region[r]);
    mutable_data<int32_t>(size)[row + r] = static_cast<int32_t>(image.region_size[r]);
    mutable_data<Box>(bbox)[row + r] = image.region_box[r];
    image.copy_mean(r, mutable_data<float>(region_mean) + (row + r) * d);
  }
}

void Forest::add_nodes(const ImageHierarchy& image, const Numbering& numbering, int64_t i) {
  shift_into(image.pixel_pick, numbering.start[0][i], mutable_data<int32_t>(pick) + i * num_pixels);
  shift_into(image.pixel_parent, numbering.start[1][i], mutable_data<int32_t>(parent) + i * num_pixels);
  for (size_t k = 0; k < image.levels.size(); ++k) {
    const Level& level = image.levels[k];
    const int64_t start = numbering.start[k + 1][i], at = start - pixels;
    shift_into(level.pick, start, mutable_data<int32_t>(pick) + start);
    shift_into(level.parent, k + 2 < numbering.start.size() ? numbering.start[k + 2][i] : 0, mutable_data<int32_t>(parent) + start);
    std::copy(level.mean.begin(), level.mean.end(), mutable_data<float>(mean) + at * d);
    std::copy(level.variance.begin(), level.variance.end(), mutable_data<float>(variance) + at * d);
    std::copy(level.size.begin(), level.size.end(), mutable_data<int32_t>(node_size) + at);
    std::copy(level.box.begin(), level.box.end(), mutable_data<Box>(node_box) + at);
    std::copy(level.score.begin(), level.score.end(), mutable_data<double>(score) + at);
    std::copy(level.alpha.begin(), level.alpha.end(), mutable_data<double>(alpha) + at);
  }
}

Result pack(const Images& images, const Tensor& features) {
  const int64_t batch = features.size(0), d = features.size(1), height = features.size(2), width = features.size(3);
  const Numbering numbering = number_nodes(images, height * width);
  const int64_t levels = static_cast<int64_t>(numbering.start.size());
  STD_TORCH_CHECK(numbering.total <= std::numeric_limits<int32_t>::max(), "the batch has too many pixels for 32-bit region numbers");
  int64_t regions = 0;
  for (const ImageHierarchy& image : images) regions += static_cast<int64_t>(image.region_size.size());

  Forest forest(features, batch, d, height, width, regions, numbering.total, levels);
  for (int64_t k = 0; k < levels; ++k) mutable_data<int64_t>(forest.starts)[k] = numbering.start[k][0];
  mutable_data<int64_t>(forest.starts)[levels] = numbering.total;
  mutable_data<int32_t>(forest.offsets)[0] = 0;
  int64_t row = 0;
  for (int64_t i = 0; i < batch; ++i) {
    forest.add_regions(images[i], numbering, i, row);
    forest.add_nodes(images[i], numbering, i);
    row += static_cast<int64_t>(images[i].region_size.size());
  }
  return {forest.labels, forest.num_regions, forest.offsets, forest.node, forest.bbox, forest.size, forest.region_mean, forest.parent,
          forest.pick, forest.mean, forest.variance, forest.node_size, forest.node_box, forest.score, forest.alpha, forest.starts};
}

}  // namespace

Result build_hierarchy_cpu(const Tensor& features, const Tensor& slope, const Tensor& bias, int64_t kernel, double compactness,
                           int64_t criterion, double iota, int64_t min_regions) {
  const int64_t batch = features.size(0);
  const Pixels shape{data<float>(features), static_cast<int>(features.size(1)), static_cast<int>(features.size(2)),
                     static_cast<int>(features.size(3))};
  const HierarchyOptions options{static_cast<Kernel>(kernel), compactness, static_cast<Criterion>(criterion), iota, min_regions};
  std::vector<std::optional<ImageHierarchy>> built(batch);
  torch::stable::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Pixels pixels = shape;
      pixels.features += i * shape.d * shape.count();
      built[i].emplace(pixels, data<float>(slope), *data<float>(bias), options);
    }
  });
  Images images;
  for (auto& image : built) images.push_back(std::move(*image));
  STD_TORCH_CHECK(std::all_of(images.begin(), images.end(), [](const ImageHierarchy& image) { return image.finite(); }),
                  "features must be finite: the images or the weights hold NaN or infinite values");
  for (int64_t level = 2; level <= num_levels(shape.count()); ++level) {
    if (std::none_of(images.begin(), images.end(), [](const ImageHierarchy& image) { return image.active(); })) break;
    for_each_image(images, [](ImageHierarchy& image) { image.next_level(); });
  }
  for_each_image(images, [](ImageHierarchy& image) {
    image.add_whole_image();
    image.label();
  });
  return pack(images, features);
}

}  // namespace dht

STABLE_TORCH_LIBRARY_IMPL(dht_mm_ext, CPU, m) { m.impl("build_hierarchy", TORCH_BOX(&dht::build_hierarchy_cpu)); }
