// Components of a graph as trees whose root is their smallest node.
#pragma once

#include <cstdint>
#include <vector>

namespace dht {

// Smallest index of the component, with path halving; roots point at themselves and are the smallest of their tree.
inline int32_t find_root(std::vector<int32_t>& root, int32_t node) {
  while (root[node] != node) {
    root[node] = root[root[node]];
    node = root[node];
  }
  return node;
}

inline void join(std::vector<int32_t>& root, int32_t a, int32_t b) {
  a = find_root(root, a);
  b = find_root(root, b);
  if (a < b) root[b] = a;
  if (b < a) root[a] = b;
}

// Replaces every entry by the consecutive number of its component; returns the number of components.
inline int32_t number_roots(std::vector<int32_t>& root) {
  int32_t count = 0;
  for (int32_t node = 0; node < static_cast<int32_t>(root.size()); ++node) {
    const int32_t above = root[node];
    // Entries before `node` are numbers already; a root is found before its members because it is the smallest.
    root[node] = above == node ? count++ : root[above];
  }
  return count;
}

}  // namespace dht
