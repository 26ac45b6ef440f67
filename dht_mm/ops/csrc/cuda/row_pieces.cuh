// Rows of channels, read and written in as few accesses as their number allows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../common/convert.h"

namespace dht {

// Rows are read and written in pieces: half a row of the published eight channels (D = 8), else one channel (D = 0).
template <int D>
constexpr int kPiece = D == 8 ? 4 : 1;

template <int D>
struct Piece {
  double at[kPiece<D>];
};

template <int D>
__device__ __forceinline__ Piece<D> read(const float* from) {
  if constexpr (D == 8) {
    const float4 x = *reinterpret_cast<const float4*>(from);
    return {widen(x.x), widen(x.y), widen(x.z), widen(x.w)};
  } else {
    return {widen(*from)};
  }
}

template <int D>
__device__ __forceinline__ Piece<D> read(const double* from) {
  if constexpr (D == 8) {
    const double2 low = reinterpret_cast<const double2*>(from)[0], high = reinterpret_cast<const double2*>(from)[1];
    return {low.x, low.y, high.x, high.y};
  } else {
    return {*from};
  }
}

template <int D>
__device__ __forceinline__ void write(double* to, const Piece<D>& x) {
  if constexpr (D == 8) {
    reinterpret_cast<double2*>(to)[0] = {x.at[0], x.at[1]};
    reinterpret_cast<double2*>(to)[1] = {x.at[2], x.at[3]};
  } else {
    *to = x.at[0];
  }
}

template <int D>
__device__ __forceinline__ void write(float* to, const Piece<D>& x) {
  if constexpr (D == 8) {
    *reinterpret_cast<float4*>(to) = {static_cast<float>(x.at[0]), static_cast<float>(x.at[1]), static_cast<float>(x.at[2]),
                                      static_cast<float>(x.at[3])};
  } else {
    *to = static_cast<float>(x.at[0]);
  }
}

// Turns fixed-point sums into values and leaves zero.
template <int D>
__device__ __forceinline__ Piece<D> take_sums(int64_t* sums, double back) {
  if constexpr (D == 8) {
    longlong2 *at = reinterpret_cast<longlong2*>(sums), low = at[0], high = at[1];
    if ((low.x | low.y | high.x | high.y) != 0) at[0] = at[1] = {0, 0};
    return {static_cast<double>(low.x) * back, static_cast<double>(low.y) * back, static_cast<double>(high.x) * back,
            static_cast<double>(high.y) * back};
  } else {
    const int64_t sum = *sums;
    if (sum != 0) *sums = 0;
    return {static_cast<double>(sum) * back};
  }
}

}  // namespace dht
