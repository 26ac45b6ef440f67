// The selection of an image's regions from its hierarchy, and their labels.
#include "image_hierarchy.h"
#include "union_find.h"

namespace dht {

// Walks down from the whole image: a child wins only with a larger score than its best ancestor. Returns the pixels' choices.
std::vector<ImageHierarchy::Choice> ImageHierarchy::select() const {
  std::vector<Choice> above{{static_cast<int32_t>(levels.size()), 0, levels.back().score[0]}};
  for (int32_t k = static_cast<int32_t>(levels.size()) - 1; k >= 1; --k) {
    const Level& level = levels[k - 1];
    std::vector<Choice> here(level.count());
    for (int32_t u = 0; u < level.count(); ++u) {
      const Choice& inherited = above[level.parent[u]];
      here[u] = inherited.score >= level.score[u] ? inherited : Choice{k, u, level.score[u]};
    }
    above = std::move(here);
  }
  const double own = -std::sqrt(static_cast<double>(num_pixels_));
  std::vector<Choice> pixels(num_pixels_);
  for (int32_t u = 0; u < num_pixels_; ++u) {
    const Choice& inherited = above[pixel_parent[u]];
    pixels[u] = inherited.score >= own ? inherited : Choice{0, u, own};
  }
  return pixels;
}

void ImageHierarchy::label() {
  const std::vector<Choice> choice = select();
  join_equal_choices(choice);
  describe_regions(choice);
}

void ImageHierarchy::join_equal_choices(const std::vector<Choice>& choice) {
  labels.resize(num_pixels_);
  // A region of level 1 selects as one, so its pixels start out joined; a pixel that selects itself stays alone.
  std::vector<int32_t> first_pixel(levels[0].count(), -1);
  for (int32_t u = 0; u < num_pixels_; ++u) {
    int32_t& first = first_pixel[pixel_parent[u]];
    if (first < 0) first = u;
    labels[u] = choice[u].level == 0 || levels.size() == 1 ? u : first;
  }
  const int height = pixels_.height, width = pixels_.width;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const int32_t u = y * width + x;
      if (x + 1 < width && labels[u] != labels[u + 1] && choice[u] == choice[u + 1]) join(labels, u, u + 1);
      if (y + 1 < height && labels[u] != labels[u + width] && choice[u] == choice[u + width]) join(labels, u, u + width);
    }
  }
  for (int32_t u = 0; u < num_pixels_; ++u) labels[u] = find_root(labels, u);
}

void ImageHierarchy::describe_regions(const std::vector<Choice>& choice) {
  const int32_t count = number_roots(labels);
  region_size.assign(count, 0);
  region_box.assign(count, kNoBox);
  selected_level.resize(count);
  selected_region.resize(count);
  for (int32_t u = 0; u < num_pixels_; ++u) {
    const int32_t r = labels[u], y = u / pixels_.width, x = u % pixels_.width;
    region_size[r] += 1;
    region_box[r] = unite(region_box[r], Box{y, x, y, x});
    selected_level[r] = choice[u].level;
    selected_region[r] = choice[u].region;
  }
}

void ImageHierarchy::copy_mean(int64_t r, float* out) const {
  const int32_t level = selected_level[r], node = selected_region[r];
  for (int c = 0; c < pixels_.d; ++c)
    out[c] = level == 0 ? pixels_.features[c * num_pixels_ + node] : levels[level - 1].mean[int64_t(node) * pixels_.d + c];
}

}  // namespace dht
