// The hierarchy of one image on the CPU: a sequential pass over its regions, level by level, and the selection of the best ones.
// The definition is reference/hierarchy.py; the steps carry the same names.
#pragma once

#include <cmath>

#include "../common/criterion.h"
#include "level.h"

namespace dht {

struct HierarchyOptions {
  Kernel kernel;
  double compactness;
  Criterion criterion;
  double iota;
  int64_t min_regions;
};

class ImageHierarchy {
 public:
  ImageHierarchy(const Pixels& pixels, const float* slope, float bias, const HierarchyOptions& options);

  bool active() const { return active_; }
  bool finite() const { return finite_; }

  // One more level over the regions of the last one. A level of an image that has stopped repeats the one before it.
  void next_level();

  // The last candidate: the whole image, with means weighted by size.
  void add_whole_image();

  // Selects the best ancestor of every pixel and numbers the connected components of equal choices.
  void label();

  // Mean of the node that region `r` selected.
  void copy_mean(int64_t r, float* out) const;

  std::vector<int32_t> pixel_pick, pixel_parent;
  std::vector<Level> levels;  // level 1 and up, the whole image last; level 0 are the pixels

  std::vector<int32_t> labels;           // [N]
  std::vector<int32_t> selected_level;   // [R], 0 for a pixel
  std::vector<int32_t> selected_region;  // [R], within its level
  std::vector<int64_t> region_size;
  std::vector<Box> region_box;

 private:
  struct Neighbours {
    int32_t first, second;
  };

  // A node that somebody selected.
  struct Choice {
    int32_t level, region;
    double score;
    bool operator==(const Choice& other) const { return level == other.level && region == other.region; }
  };

  void first_level();
  void pick_pixels(std::vector<double>& weight);
  void pick_edges(Level& level, std::vector<double>& weight);
  void measure_edge(const Level& level, const Neighbours& edge, double& distance, double& shape) const;
  double self_weight(const Level& level, int64_t u) const;
  void collect_edges();
  void lift_edges(const std::vector<int32_t>& parent);
  void finish_level(Level level);
  void append_whole(Level whole);
  double score_of(const Level& level, int64_t u) const;
  std::vector<Choice> select() const;
  void join_equal_choices(const std::vector<Choice>& choice);
  void describe_regions(const std::vector<Choice>& choice);

  Pixels pixels_;
  int64_t num_pixels_;
  const float* slope_;
  float bias_;
  HierarchyOptions options_;
  Units units_;
  bool active_, finite_;
  std::vector<Neighbours> edges_;
  std::vector<double> lowest_;  // smallest best score of the pixels in each region of the last level
};

}  // namespace dht
