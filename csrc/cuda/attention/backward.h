// What the kernels of attention's backward share: their arguments, tiles, and the two gradients of a tile.
//
//   P = exp(scores - lse)   dS = P * (Z * dO V^T + dW - delta)   delta = rowsum(dO * O) + rowsum(P * dW) - dlse
//   dC = dS * cap'(score)                                        (Z: dropout, dW: of the weights that went out)
#pragma once

#include "cuda/attention/backward_weights.h"
#include "cuda/attention/recompute.h"

namespace fastattn::cuda::attention {

// kBlockM rows of what a block owns (queries for dQ, keys for dK and dV), kBlockN of what it goes over; kSlices warps
// have the same rows, and kOut columns of each gradient. Four tiles stay under 99 KB.
template <class T, int kDim>
struct BackwardTiles {
  static constexpr bool kFloat = sizeof(T) == 4;
  static constexpr int kBlockM = kFloat && kDim == 256 ? 32 : 64;
  static constexpr int kBlockN = kDim == 256 ? 16 : 32;
  static constexpr int kOut = kDim == 256 && !kFloat ? 128 : 64, kSlices = kDim / kOut;
  static constexpr int kThreads = kBlockM / 16 * 32 * kSlices;
  static constexpr int kBytes = (2 * kBlockM + 2 * kBlockN) * kDim * static_cast<int>(sizeof(T));
  static_assert(kBytes <= 99 << 10);
};

// Per row (B, H, T) in the workspace, for the kernels after that of dQ.
struct RowTerms {
  float *lse, *rest, *delta;
};

template <class T>
struct BackwardProblem {
  Heads<T> query, key, value, out, dout;
  RowNumbers lse, dlse;
  T *dquery, *dkey, *dvalue;  // or nullptr
  int64_t dquery_strides[3], dkey_strides[3], dvalue_strides[3];
  fa_tensor dmask;
  WeightsGradient dweights;
  RowTerms terms;
  float* slope_parts;  // (B, H, m_blocks), or nullptr
  int num_batches, num_heads, num_kv_heads, group, m_blocks, n_blocks;
  Options options;
};

struct Terms {
  float lse, rest, delta;
};

// Those of row i, lse inf and the others 0 past the last.
template <class T>
__device__ inline Terms load_terms(const BackwardProblem<T>& p, int batch, int head, int i) {
  if (i >= p.options.seqlen_q) return {kInf, 0.0f, 0.0f};
  const int64_t at = (int64_t{batch} * p.num_heads + head) * p.options.seqlen_q + i;
  return {p.terms.lse[at], p.terms.rest[at], p.terms.delta[at]};
}

// From product = query . key and dp = dO . V of a pair to the weight that meets dO (by dropout's factor) and dC, which
// meets K and Q. Returns dS.
template <class T, bool kGeneral>
__device__ inline float gradient(const BackwardProblem<T>& problem, const Head<T, kGeneral>& view, int i, int j,
                                 bool inside, const Terms& row, float product, float dp, float& weight, float& dc) {
  float derivative = 1.0f;
  const float s = view.score(i, j, product, inside, &derivative);
  const float p = exp_score(s - row.lse - row.rest);
  const float kept = view.kept(i, j);
  weight = p * kept;
  float others = -row.delta;
  if constexpr (kGeneral) {
    if (p != 0.0f) others += weight_gradient<T>(problem.dweights, view.batch, view.head, i, j);
  }
  const float ds = p == 0.0f ? 0.0f : p * (kept == 0.0f ? others : fmaf(kept, dp, others));
  dc = ds == 0.0f ? 0.0f : ds * derivative;
  return ds;
}

}  // namespace fastattn::cuda::attention
