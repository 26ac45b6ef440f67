// Prefix sums over a sequence in one pass: blocks take tiles by turns, and each looks back at the sums of the tiles before its own
// (decoupled look-back: Merrill and Garland, Single-pass Parallel Prefix Scan with Decoupled Look-back, 2016).
#pragma once

#include "launch.cuh"

namespace dht {

constexpr int kTileItems = 8;  // consecutive items of a thread
constexpr int kTile = kThreads * kTileItems;

inline int64_t num_tiles(int64_t count) { return (count + kTile - 1) / kTile; }

// Two sums that run side by side, each below 2^31.
struct Pair {
  int32_t first, second;
  __device__ __forceinline__ Pair& operator+=(const Pair& other) {
    first += other.first;
    second += other.second;
    return *this;
  }
};

// What a tile has told the others, in one word: nothing yet, its own sums, or the sums of all up to it.
constexpr unsigned long long kOwnSums = 1ULL << 62, kAllSums = 2ULL << 62;

__device__ __forceinline__ unsigned long long packed(const Pair& pair) {
  return static_cast<unsigned long long>(pair.first) << 31 | static_cast<unsigned long long>(pair.second);
}

__device__ __forceinline__ Pair unpacked(unsigned long long word) {
  return {static_cast<int32_t>(word >> 31 & 0x7FFFFFFF), static_cast<int32_t>(word & 0x7FFFFFFF)};
}

__device__ __forceinline__ Pair warp_sum(const Pair& pair) {
  return {__reduce_add_sync(kAllLanes, pair.first), __reduce_add_sync(kAllLanes, pair.second)};
}

// The sums of all tiles before `tile`, found by one warp while others are still at work.
__device__ __forceinline__ Pair look_back(volatile unsigned long long* tiles, int32_t tile) {
  const int lane = threadIdx.x % 32;
  Pair total{0, 0};
  for (int32_t last = tile - 1; last >= 0; last -= 32) {
    unsigned long long word = kAllSums;
    do {
      if (last >= lane) word = tiles[last - lane];
    } while (__any_sync(kAllLanes, word < kOwnSums));
    const unsigned complete = __ballot_sync(kAllLanes, word >= kAllSums);
    const int nearest = complete ? __ffs(complete) - 1 : 31;
    total += warp_sum(lane <= nearest ? unpacked(word) : Pair{0, 0});
    if (complete) break;
  }
  return total;
}

// A block's way through the tiles. All of its threads call every member together.
class TileScan {
 public:
  __device__ __forceinline__ TileScan(unsigned long long* tiles, int32_t* next_tile, int64_t count)
      : tiles_(tiles), next_tile_(next_tile), count_(static_cast<int32_t>((count + kTile - 1) / kTile)) {}

  // Takes the next tile; false when there are no more. The counter makes sure that tiles before it are in the hands of running blocks.
  __device__ __forceinline__ bool next() {
    __shared__ int32_t taken;
    __syncthreads();
    if (threadIdx.x == 0) taken = atomicAdd(next_tile_, 1);
    __syncthreads();
    tile_ = taken;
    return tile_ < count_;
  }

  __device__ __forceinline__ int32_t item(int i) const { return tile_ * kTile + static_cast<int32_t>(threadIdx.x) * kTileItems + i; }

  // Values of this thread's items in a list that starts at a multiple of 16 bytes; `rest` beyond its end.
  __device__ __forceinline__ void read(const int32_t* list, int64_t count, int32_t rest, int32_t (&values)[kTileItems]) const {
    if (item(kTileItems) <= count) {
#pragma unroll
      for (int i = 0; i < kTileItems; i += 4) {
        const int4 four = *reinterpret_cast<const int4*>(list + item(i));
        values[i] = four.x, values[i + 1] = four.y, values[i + 2] = four.z, values[i + 3] = four.w;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kTileItems; ++i) values[i] = item(i) < count ? list[item(i)] : rest;
    }
  }

  // Sums of everything before this thread's items, given the sums of its own.
  __device__ __forceinline__ Pair before(const Pair& own) {
    __shared__ Pair warps[kThreads / 32], ahead;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Pair up_to = own;
    for (int step = 1; step < 32; step *= 2) {
      const Pair other{__shfl_up_sync(kAllLanes, up_to.first, step), __shfl_up_sync(kAllLanes, up_to.second, step)};
      if (lane >= step) up_to += other;
    }
    if (lane == 31) warps[warp] = up_to;
    __syncthreads();
    if (warp == 0) {
      Pair total{0, 0};
      for (int i = 0; i < kThreads / 32; ++i) total += warps[i];
      if (lane == 0 && tile_ > 0) tell(kOwnSums | packed(total));
      Pair earlier = look_back(tiles_, tile_);
      if (lane == 0) ahead = earlier;
      earlier += total;
      if (lane == 0) tell(kAllSums | packed(earlier));
    }
    __syncthreads();
    Pair result = ahead;
    for (int i = 0; i < warp; ++i) result += warps[i];
    return {result.first + up_to.first - own.first, result.second + up_to.second - own.second};
  }

  __device__ __forceinline__ bool is_last_thread() const { return tile_ == count_ - 1 && threadIdx.x == kThreads - 1; }

 private:
  __device__ __forceinline__ void tell(unsigned long long word) { *static_cast<volatile unsigned long long*>(tiles_ + tile_) = word; }

  unsigned long long* tiles_;
  int32_t* next_tile_;
  int32_t count_, tile_ = 0;
};

}  // namespace dht
