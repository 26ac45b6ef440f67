// Connected components found by many threads at once, in a forest whose roots point at themselves and are the smallest of their tree.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace dht {

// `above(node)` is a reference to the node's entry; paths are shortened on the way.
template <class Above>
__device__ __forceinline__ int32_t find_root(const Above& above, int32_t node) {
  int32_t parent = static_cast<volatile int32_t&>(above(node));
  while (parent != node) {
    const int32_t next = static_cast<volatile int32_t&>(above(parent));
    if (next != parent) static_cast<volatile int32_t&>(above(node)) = next;
    node = parent;
    parent = next;
  }
  return node;
}

template <class Above>
__device__ __forceinline__ void join(const Above& above, int32_t a, int32_t b) {
  while (true) {
    a = find_root(above, a);
    b = find_root(above, b);
    if (a == b) return;
    const int32_t low = min(a, b), high = max(a, b), seen = atomicCAS(&above(high), high, low);
    if (seen == high) return;
    a = low;
    b = seen;
  }
}

}  // namespace dht
