// What the threads of a block find out together.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace dht {

// Number of set flags before this thread in the block (x), and in the whole block (y).
__device__ __forceinline__ int2 place_in_block(bool flag) {
  __shared__ int32_t partial[32];
  const unsigned mask = __ballot_sync(0xFFFFFFFF, flag);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  __syncthreads();
  if (lane == 0) partial[warp] = __popc(mask);
  __syncthreads();
  int2 place{__popc(mask & ((1u << lane) - 1)), 0};
  for (int i = 0; i < warps; ++i) {
    place.x += i < warp ? partial[i] : 0;
    place.y += partial[i];
  }
  return place;
}

// Sum over the block of numbers modulo 2^64.
__device__ __forceinline__ uint64_t sum_in_block(uint64_t value) {
  __shared__ unsigned long long sum;
  __syncthreads();
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  atomicAdd(&sum, static_cast<unsigned long long>(value));
  __syncthreads();
  return sum;
}

// The smallest keys of a set: all below `key`, and of those equal to it the first `ties`, or all where that is kAllTies.
struct Cut {
  uint64_t key;
  int32_t ties;
};

constexpr int32_t kAllTies = INT32_MAX;

// Where the `rank`-th entry of a histogram lies. As large as its alignment: the compiler fetches it in one access, which must not reach
// into what lies beside it in shared memory and may be changing.
struct alignas(16) Bin {
  int32_t index, rank, entries;  // the bin, the entry's rank within it, and how many entries it has
};

// The bin of the `rank`-th entry (from 1) of a histogram of 256 bins, found by the first warp.
__device__ __forceinline__ Bin find_bin(const int32_t* histogram, int32_t rank) {
  const int lane = threadIdx.x;
  int32_t sum = 0;
  for (int i = 0; i < 8; ++i) sum += histogram[8 * lane + i];
  int32_t upto = sum;
  for (int step = 1; step < 32; step *= 2) {
    const int32_t before = __shfl_up_sync(0xFFFFFFFF, upto, step);
    if (lane >= step) upto += before;
  }
  const int owner = __ffs(__ballot_sync(0xFFFFFFFF, upto >= rank)) - 1;
  int32_t left = rank - (upto - sum), bin = 8 * lane;
  if (lane == owner)
    for (; histogram[bin] < left; ++bin) left -= histogram[bin];
  bin = __shfl_sync(0xFFFFFFFF, bin, owner);
  return {bin, __shfl_sync(0xFFFFFFFF, left, owner), histogram[bin]};
}

// Finds the `rank` smallest (at least 1) of the keys key(0) to key(count - 1), byte by byte from the highest.
template <class Key>
__device__ Cut smallest_keys(int32_t count, int32_t rank, const Key& key) {
  __shared__ int32_t histogram[256];
  __shared__ Bin found;
  uint64_t prefix = 0, known = 0;
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < 256; i += blockDim.x) histogram[i] = 0;
    __syncthreads();
    for (int32_t i = threadIdx.x; i < count; i += blockDim.x) {
      const uint64_t mine = key(i);
      if ((mine & known) == prefix) atomicAdd(histogram + ((mine >> shift) & 255), 1);
    }
    __syncthreads();
    if (threadIdx.x < 32) {
      const Bin bin = find_bin(histogram, rank);
      if (threadIdx.x == 0) found = bin;
    }
    __syncthreads();
    const Bin bin = found;
    prefix |= static_cast<uint64_t>(bin.index) << shift;
    known |= uint64_t(255) << shift;
    rank = bin.rank;
    if (bin.entries == rank) return {prefix | ~known, kAllTies};
  }
  return {prefix, rank};
}

}  // namespace dht
