// Reductions over the threads that share a row: the lanes of a warp, then the warps of a block. Every thread gets the
// same result, in the same bits: the tree is fixed, and both sides of an exchange add the same two numbers.
#pragma once

#include "cuda/platform.h"

namespace fastattn::cuda {

struct MaxOp {
  static constexpr float kIdentity = -__builtin_inff();
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }  // of a number and a NaN the number
};
struct SumOp {
  static constexpr float kIdentity = 0.0f;
  __device__ float operator()(float a, float b) const { return a + b; }
};

template <int kLanes, class Op>
__device__ inline float reduce_lanes(float x, Op op) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) x = op(x, __shfl_xor_sync(0xffffffff, x, step));
  return x;
}

// sParts: a float for each warp, used by no other reduction of the kernel (which saves a second barrier).
template <int kThreads, class Op>
__device__ inline float reduce_threads(float x, Op op, float* sParts) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024);
  constexpr int kWarps = kThreads / 32;
  x = reduce_lanes<32>(x, op);
  if constexpr (kWarps > 1) {
    const int warp_idx = static_cast<int>(threadIdx.x) / 32, lane_idx = static_cast<int>(threadIdx.x) % 32;
    if (lane_idx == 0) sParts[warp_idx] = x;
    __syncthreads();
    x = reduce_lanes<32>(lane_idx < kWarps ? sParts[lane_idx] : Op::kIdentity, op);
  }
  return x;
}

}  // namespace fastattn::cuda
