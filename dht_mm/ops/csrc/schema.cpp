// Schemas of the compiled kernels. The public ops, their checks, fakes and gradients are Python's (dht_mm/ops/*.py).
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(dht_mm_ext, m) {
  m.def("project(Tensor image, Tensor parameters, int channels, float eps) -> Tensor");
  m.def(
      "build_hierarchy(Tensor features, Tensor slope, Tensor bias, int kernel, float compactness, int criterion, float iota, "
      "int min_regions) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}
