// dK = scale * dC^T Q and dV = (Z * P)^T dO, by blocks of keys of one key/value head: the block goes over the query
// heads of its group, then over tiles of queries, so that the order of the sums is fixed. Products are those of the
// forward with the operands changed, S^T = K Q^T: what comes out lies as the A operand of the next product.
#pragma once

#include "cuda/attention/backward.h"

namespace fastattn::cuda::attention {

template <class T, int kDim, bool kGeneral>
__global__ void __launch_bounds__(BackwardTiles<T, kDim>::kThreads, 1) dkey_kernel(BackwardProblem<T> p) {
  using Tile = BackwardTiles<T, kDim>;
  constexpr int kBlockM = Tile::kBlockM, kBlockN = Tile::kBlockN, kThreads = Tile::kThreads, kOut = Tile::kOut;
  SHARED_DYN(T, sK);
  T* const sV = sK + kBlockM * kDim;
  T* const sQ = sV + kBlockM * kDim;
  T* const sDout = sQ + kBlockN * kDim;
  SHARED_ARRAY(Terms, sRows, 16, kBlockN);
  const int warp_idx = static_cast<int>(threadIdx.x) / 32 % (kBlockM / 16);
  const int column0 = static_cast<int>(threadIdx.x) / (2 * kBlockM) * kOut;
  const Options& o = p.options;
  const int k0 = static_cast<int>(blockIdx.x) % p.n_blocks * kBlockM;
  const int batch = static_cast<int>(blockIdx.x) / p.n_blocks / p.num_kv_heads;
  const int kv_head = static_cast<int>(blockIdx.x) / p.n_blocks % p.num_kv_heads;
  const int row0 = k0 + warp_idx * 16;
  const int first_query = o.first_query(k0) / kBlockN * kBlockN;
  const int end_query = o.end_query(k0 + kBlockM < o.seqlen_k ? k0 + kBlockM : o.seqlen_k);

  float rDK[kOut / 8][4], rDV[kOut / 8][4];
  set_zero(rDK);
  set_zero(rDV);
  load_tile<kBlockM, kDim, kThreads>(sK, p.key.of(batch, kv_head), k0);
  load_tile<kBlockM, kDim, kThreads>(sV, p.value.of(batch, kv_head), k0);
  ptx::cp_async_commit();
#pragma unroll 1
  for (int head = kv_head * p.group; head < (kv_head + 1) * p.group; ++head) {
    const Matrix<T> query = p.query.of(batch, head), dout = p.dout.of(batch, head);
    const Head<T, kGeneral> view(o, batch, head);
#pragma unroll 1
    for (int q0 = first_query; q0 < end_query; q0 += kBlockN) {
      load_tile<kBlockN, kDim, kThreads>(sQ, query, q0);
      load_tile<kBlockN, kDim, kThreads>(sDout, dout, q0);
      ptx::cp_async_commit();
      for (int r = static_cast<int>(threadIdx.x); r < kBlockN; r += kThreads) {
        sRows[r] = load_terms(p, batch, head, q0 + r);
      }
      ptx::cp_async_wait<0>();
      const bool inside = o.sees_all(q0, q0 + kBlockN, k0, k0 + kBlockM);
      bool query_nonfinite = false, dout_nonfinite = false;
      if (inside && !view.hides()) {
        __syncthreads();
      } else {
        query_nonfinite = __syncthreads_or(has_nonfinite<kBlockN, kDim, kThreads>(sQ));
        dout_nonfinite = __syncthreads_or(has_nonfinite<kBlockN, kDim, kThreads>(sDout));
      }
      float rS[kBlockN / 8][4], rDP[kBlockN / 8][4];
      products<kBlockN, kDim>(rS, sK + warp_idx * 16 * kDim, sQ);
      products<kBlockN, kDim>(rDP, sV + warp_idx * 16 * kDim, sDout);
      visit_tile<kBlockN>([&](int n, int i, int r, int column) {
        float weight, dc;
        gradient(p, view, q0 + column, row0 + r, inside, sRows[column], rS[n][i], rDP[n][i], weight, dc);
        rS[n][i] = weight;
        rDP[n][i] = dc;
      });
      if (dout_nonfinite) take_nonfinite<kBlockN, kDim, kOut, kThreads>(rDV, rS, sDout, column0);
      accumulate<kBlockN, kDim, kOut>(rDV, rS, sDout, column0);
      if (query_nonfinite) take_nonfinite<kBlockN, kDim, kOut, kThreads>(rDK, rDP, sQ, column0);
      accumulate<kBlockN, kDim, kOut>(rDK, rDP, sQ, column0);
      __syncthreads();  // all have done with the tile
    }
  }
  ptx::cp_async_wait<0>();
  if (p.dkey != nullptr) {
    const float factor[2] = {o.scale, o.scale};
    store_rows<kOut>(p.dkey + batch * p.dkey_strides[0] + kv_head * p.dkey_strides[1], p.dkey_strides[2], o.seqlen_k,
                     p.key.columns, row0, column0, rDK, factor);
  }
  if (p.dvalue != nullptr) {
    const float factor[2] = {1.0f, 1.0f};
    store_rows<kOut>(p.dvalue + batch * p.dvalue_strides[0] + kv_head * p.dvalue_strides[1], p.dvalue_strides[2],
                     o.seqlen_k, p.value.columns, row0, column0, rDV, factor);
  }
}

}  // namespace fastattn::cuda::attention
