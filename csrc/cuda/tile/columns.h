// Rows whose elements are a stride apart and that lie side by side: kColumns neighbours, 32 bytes, belong to a block of
// 32 lanes a row, so that a warp reads whole sectors. The lanes read a row again for each pass; 8 KB of 256 elements
// stay in L1.
//
// A sum has the bits of a row that row_threads threads share (tile/reduce.h): the lanes stand for 32 of them at a time.
#pragma once

#include "cuda/platform.h"
#include "cuda/tile/reduce.h"

namespace fastattn::cuda {

template <class T>
inline constexpr int kColumns = 32 / sizeof(T);
template <class T>
inline constexpr int kColumnThreads = 32 * kColumns<T>;

// Of the 32 lanes of a row, whose elements of sPart lie kCount apart: the tree of reduce_lanes.
template <int kCount, class Op>
__device__ inline float reduce_column(float x, Op op, float* sPart) {
  const int thread = static_cast<int>(threadIdx.x);
  sPart[thread] = x;
  for (int half = 16 * kCount; half >= kCount; half /= 2) {
    __syncthreads();
    if (thread < half) sPart[thread] = op(sPart[thread], sPart[thread + half]);
  }
  __syncthreads();
  x = sPart[thread % kCount];
  __syncthreads();  // before sPart is written again
  return x;
}

// The sum of part(thread) of row_threads threads.
template <int kCount, class F>
__device__ inline float sum_column(int row_threads, F&& part, float* sPart) {
  const int lane = static_cast<int>(threadIdx.x) / kCount;
  if (row_threads == 32) return reduce_column<kCount>(part(lane), SumOp(), sPart);
  float of_warp = 0.0f;  // lane number w has that of warp number w
  for (int w = 0; w < row_threads / 32; ++w) {
    const float sum = reduce_column<kCount>(part(32 * w + lane), SumOp(), sPart);
    if (lane == w) of_warp = sum;
  }
  return reduce_column<kCount>(of_warp, SumOp(), sPart);
}

}  // namespace fastattn::cuda
