// Weights made again from lse, as the backward and the weights themselves need them:
//
//   P = exp(score - lse - rest)     rest = log(sum(exp(scores - lse))) where lse is large, else 0
//
// lse of float has an ulp of 1e-3 at 1e4, and of the most negative number, which masks are made of, none at all: what
// is missing from it is summed once more. lse is inf for a row that saw nothing, whose weights are then exp(-inf).
#pragma once

#include "cuda/attention/scores.h"

namespace fastattn::cuda::attention {

inline constexpr float kLargeLse = 32;

// Numbers of rows (B, H, T): lse and its gradient.
struct RowNumbers {
  const float* data;  // or nullptr
  int64_t strides[3];
  explicit RowNumbers(const fa_tensor& t)
      : data(static_cast<const float*>(t.data)), strides{t.strides[0], t.strides[1], t.strides[2]} {}
  __device__ float at(int batch, int head, int row) const {
    return data[batch * strides[0] + head * strides[1] + row * strides[2]];
  }
};

__device__ inline float lse_or_inf(const RowNumbers& numbers, int batch, int head, int row) {
  const float lse = numbers.at(batch, head, row);
  return lse == -kInf ? kInf : lse;
}

// f(half, key, score) for the pairs of a warp's queries with the keys of [first_key, end_key), by tiles of kBlockN.
// rows: of this lane's two, in sQ, the warp's 16. All threads of the block; sK is free before and after.
template <int kBlockN, int kDim, int kThreads, class T, bool kGeneral, class F>
__device__ inline void visit_scores(const T* sQ, T* sK, const Matrix<T>& key, const Head<T, kGeneral>& view,
                                    const int (&rows)[2], int first_key, int end_key, F&& f) {
#pragma unroll 1
  for (int k0 = first_key; k0 < end_key; k0 += kBlockN) {
    load_tile<kBlockN, kDim, kThreads>(sK, key, k0);
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncthreads();
    float rS[kBlockN / 8][4];
    products<kBlockN, kDim>(rS, sQ, sK);
    visit_tile<kBlockN>([&](int n, int i, int, int column) {
      f(i / 2, k0 + column, view.score(rows[i / 2], k0 + column, rS[n][i], false));
    });
    __syncthreads();  // all have done with K
  }
}

// rest of this lane's two queries. Arguments as above.
template <int kBlockN, int kDim, int kThreads, class T, bool kGeneral>
__device__ inline void find_rest(const float (&lse)[2], float (&rest)[2], const T* sQ, T* sK, const Matrix<T>& key,
                                 const Head<T, kGeneral>& view, int head, const int (&rows)[2], int first_key,
                                 int end_key) {
  bool large[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    large[half] = fabsf(lse[half]) > kLargeLse && lse[half] != kInf;
    rest[half] = 0.0f;
  }
  if (!__syncthreads_or(large[0] || large[1])) return;
  float sums[2] = {0.0f, 0.0f};
  visit_scores<kBlockN, kDim, kThreads>(sQ, sK, key, view, rows, first_key, end_key, [&](int half, int, float score) {
    sums[half] += exp_score(score - lse[half]);
  });
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = reduce_lanes<4>(sums[half], SumOp());
    if constexpr (kGeneral) {
      if (view.o.sinks_used) sum += exp_score(view.o.sink(head) - lse[half]);
    }
    if (large[half] && sum > 0.0f) rest[half] = logf(sum);
  }
}

}  // namespace fastattn::cuda::attention
