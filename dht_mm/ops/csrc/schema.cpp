// Schemas of the compiled kernels. The public ops, their checks, fakes and gradients are Python's (dht_mm/ops/*.py).
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(dht_mm_ext, m) {
  m.def(
      "fold_norm(Tensor weight, Tensor bias, Tensor gamma, Tensor beta, Tensor mean, Tensor variance, float eps) -> (Tensor, Tensor)");
  m.def(
      "fold_norm_backward(Tensor grad_weight, Tensor grad_bias, Tensor weight, Tensor bias, Tensor gamma, Tensor mean, Tensor variance, "
      "float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("linear_statistics(Tensor mean, Tensor second, Tensor weight, Tensor bias) -> (Tensor, Tensor)");
  m.def("coarse_features(Tensor image, Tensor weight1, Tensor bias1, Tensor weight2, Tensor bias2) -> Tensor");
  m.def("coarse_features_backward(Tensor grad, Tensor image, Tensor weight1, Tensor bias1, Tensor weight2) -> Tensor");
  m.def("pixel_features(Tensor image, Tensor coarse, Tensor weight, Tensor bias) -> Tensor");
  m.def("pixel_features_backward(Tensor grad, Tensor image, Tensor coarse, Tensor weight, Tensor bias) -> (Tensor, Tensor)");
  m.def("project(Tensor image, Tensor[] layers, float[] eps) -> Tensor");
  m.def("patch_moments(Tensor image, int stride) -> (Tensor, Tensor)");
  m.def("channel_moments(Tensor values) -> (Tensor, Tensor)");
  m.def(
      "build_hierarchy(Tensor features, Tensor slope, Tensor bias, int kernel, float compactness, int criterion, float iota, "
      "int min_regions) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, "
      "Tensor, Tensor)");
  m.def(
      "build_fixed_hierarchy(Tensor features, Tensor slope, Tensor bias, int kernel, float compactness, int criterion, float iota, "
      "int min_regions, int capacity) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, "
      "Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "tree_mean_backward(Tensor grad, Tensor features, Tensor slope, Tensor bias, Tensor offsets, Tensor node, Tensor parent, Tensor pick, "
      "Tensor node_mean, Tensor node_variance, Tensor node_size, Tensor node_bbox, Tensor node_alpha, Tensor level_starts, "
      "float compactness) -> (Tensor, Tensor, Tensor)");
  m.def("exact_linear(Tensor rows, Tensor weight, Tensor bias, Tensor? used) -> Tensor");
  m.def("region_mean(Tensor features, Tensor labels, Tensor offsets, Tensor size) -> Tensor");
  m.def(
      "region_pixels(Tensor image, Tensor labels, Tensor offsets, Tensor bbox, Tensor? shift, int patch_size) -> (Tensor, Tensor)");
  m.def("region_pixels_backward(Tensor grad, Tensor labels, Tensor offsets, Tensor bbox, bool per_region) -> Tensor");
  m.def("position_histogram(Tensor labels, Tensor offsets, int total_regions, int grid_y, int grid_x) -> Tensor");
  m.def("gradient_histogram(Tensor gradient, Tensor labels, Tensor offsets, int total_regions, int bins) -> Tensor");
  m.def(
      "soft_merge(Tensor labels, Tensor offsets, Tensor size, Tensor bbox, Tensor color, int target, int? seed, int kernel) "
      "-> (Tensor, Tensor)");
  m.def(
      "finer_cut(Tensor labels, Tensor offsets, Tensor node, Tensor bbox, Tensor size, Tensor parent, Tensor node_size, Tensor node_bbox, "
      "Tensor mean, Tensor node_mean, Tensor level_starts, int least, int target, int? rows) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "cut_regions(Tensor labels, Tensor offsets, int total_regions, int grid_y, int grid_x, int rows) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("hard_merge(Tensor image, Tensor labels, Tensor offsets, Tensor size, int target) -> (Tensor, Tensor)");
  m.def(
      "unite_regions(Tensor labels, Tensor offsets, Tensor size, Tensor bbox, Tensor parent, Tensor merged_offsets, int total) "
      "-> (Tensor, Tensor, Tensor)");
  m.def("united_mean(Tensor mean, Tensor offsets, Tensor size, Tensor parent, Tensor united_size, int num_pixels) -> Tensor");
  m.def(
      "decode_pixels(Tensor table, Tensor? kernel, Tensor labels, Tensor offsets, Tensor means, Tensor size, Tensor boxes, Tensor steps, "
      "Tensor colours, Tensor rows, Tensor columns, int side, int features, int centred) -> Tensor");
  m.def(
      "decode_pixels_backward(Tensor grad, Tensor table, Tensor? kernel, Tensor labels, Tensor offsets, Tensor means, Tensor size, "
      "Tensor boxes, Tensor steps, Tensor colours, Tensor rows, Tensor columns, int side, int features, int centred) -> (Tensor, Tensor)");
  m.def("surroundings(Tensor image, Tensor rows, Tensor columns, int near, int wide) -> Tensor");
  m.def("pool_cells(Tensor tokens, Tensor labels, Tensor offsets, int stride) -> Tensor");
  m.def("pool_cells_backward(Tensor grad, Tensor labels, Tensor offsets, int total_regions, int stride) -> Tensor");
}
