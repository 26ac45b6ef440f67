// Edges between the regions of an image in a hash table with open addressing, which the threads of a GPU fill together.
#pragma once

#include <cassert>

#include "launch.cuh"

namespace dht {

constexpr unsigned long long kNoEdge = ~0ull;
constexpr uint32_t kUnknownCost = ~0u;

// The place of an edge depends on chance, its values do not.
struct EdgeTable {
  unsigned long long* key;  // smaller label in the high half, larger one in the low half
  int32_t* length;          // pixel sides between the two
  uint32_t* cost;           // of merging, where it is known
  int32_t capacity;
};

// A planar graph has fewer than three edges a node.
__host__ __device__ __forceinline__ int64_t edge_capacity(int64_t regions) { return 4 * regions; }

__device__ __forceinline__ int32_t first_end(unsigned long long key) { return static_cast<int32_t>(key >> 32); }
__device__ __forceinline__ int32_t second_end(unsigned long long key) { return static_cast<int32_t>(key); }

// Adds to the length of an edge; a known cost is that of an edge which nobody else adds to.
__device__ __forceinline__ void add_edge(const EdgeTable& table, int32_t u, int32_t v, int32_t length, uint32_t cost) {
  const unsigned long long key = (static_cast<unsigned long long>(min(u, v)) << 32) | static_cast<uint32_t>(max(u, v));
  const uint32_t hash = static_cast<uint32_t>((key * 0x9E3779B97F4A7C15ull) >> 32);
  int32_t at = static_cast<int32_t>((uint64_t(hash) * table.capacity) >> 32);
  for (int32_t probes = 0; probes < table.capacity; ++probes) {
    unsigned long long seen = table.key[at];
    if (seen == kNoEdge) seen = atomicCAS(table.key + at, kNoEdge, key);
    if (seen == kNoEdge || seen == key) {
      atomicAdd(table.length + at, length);
      if (cost != kUnknownCost) table.cost[at] = cost;
      return;
    }
    at = at + 1 == table.capacity ? 0 : at + 1;
  }
  assert(false && "regions must be connected: the image has more edges than a planar graph");
}

}  // namespace dht
