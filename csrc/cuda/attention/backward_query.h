// dQ = scale * dC K, by blocks of queries; and lse, rest and delta of their rows for the kernels that follow.
#pragma once

#include "cuda/attention/backward.h"

namespace fastattn::cuda::attention {

// lse and delta (but for what dW adds) of the block's rows, to shared memory. A warp goes over its rows one by one, a
// lane over columns.
template <int kBlockM, int kThreads, class T>
__device__ inline void begin_rows(const BackwardProblem<T>& p, int batch, int head, int q0, Terms* sRows) {
  const int warp_idx = static_cast<int>(threadIdx.x) / 32, lane_idx = static_cast<int>(threadIdx.x) % 32;
  const Matrix<T> out = p.out.of(batch, head), dout = p.dout.of(batch, head);
  for (int r = warp_idx; r < kBlockM; r += kThreads / 32) {
    const int row = q0 + r;
    Terms terms{kInf, 0.0f, 0.0f};
    if (row < p.options.seqlen_q) {
      float sum = 0;
      bool any = false;
      for (int d = lane_idx; d < out.columns; d += 32) {
        const float x = to_float(out.data[row * out.row + d * out.column]);
        sum = fmaf(x, to_float(dout.data[row * dout.row + d * dout.column]), sum);
        any |= x != 0.0f;
      }
      terms.delta = reduce_lanes<32>(sum, SumOp());
      // Of a row that saw nothing only the sink's weight meets delta, and its dO may be anything.
      if (p.options.sinks_used && __ballot_sync(0xffffffff, any) == 0) terms.delta = 0.0f;
      if (p.dlse.data != nullptr) terms.delta -= p.dlse.at(batch, head, row);
      terms.lse = lse_or_inf(p.lse, batch, head, row);
    }
    if (lane_idx == 0) sRows[r] = terms;
  }
}

template <class T, int kDim, bool kGeneral>
__global__ void __launch_bounds__(BackwardTiles<T, kDim>::kThreads, 1) dquery_kernel(BackwardProblem<T> p) {
  using Tile = BackwardTiles<T, kDim>;
  constexpr int kBlockM = Tile::kBlockM, kBlockN = Tile::kBlockN, kThreads = Tile::kThreads, kOut = Tile::kOut;
  SHARED_DYN(T, sQ);
  T* const sDout = sQ + kBlockM * kDim;
  T* const sK = sDout + kBlockM * kDim;
  T* const sV = sK + kBlockN * kDim;
  SHARED_ARRAY(Terms, sRows, 16, kBlockM);
  SHARED_ARRAY(float, sSlope, 16, 32);
  const int warp_idx = static_cast<int>(threadIdx.x) / 32 % (kBlockM / 16);
  const int lane_idx = static_cast<int>(threadIdx.x) % 32;
  const int column0 = static_cast<int>(threadIdx.x) / (2 * kBlockM) * kOut;
  const Options& o = p.options;
  const int m_block = p.m_blocks - 1 - static_cast<int>(blockIdx.x) % p.m_blocks, q0 = m_block * kBlockM;
  const int batch = static_cast<int>(blockIdx.x) / p.m_blocks / p.num_heads;
  const int head = static_cast<int>(blockIdx.x) / p.m_blocks % p.num_heads;
  const int local = warp_idx * 16 + lane_idx / 4, row0 = q0 + warp_idx * 16;
  const Matrix<T> key = p.key.of(batch, head / p.group), value = p.value.of(batch, head / p.group);
  const Head<T, kGeneral> view(o, batch, head);
  const int last = (q0 + kBlockM < o.seqlen_q ? q0 + kBlockM : o.seqlen_q) - 1;
  const int first_key = o.first_key(q0) / kBlockN * kBlockN, end_key = o.end_key(last);

  load_tile<kBlockM, kDim, kThreads>(sQ, p.query.of(batch, head), q0);
  load_tile<kBlockM, kDim, kThreads>(sDout, p.dout.of(batch, head), q0);
  ptx::cp_async_commit();
  begin_rows<kBlockM, kThreads>(p, batch, head, q0, sRows);
  __syncthreads();
  Terms rows[2] = {sRows[local], sRows[local + 8]};
  const int my_rows[2] = {q0 + local, q0 + local + 8};
  const float lse[2] = {rows[0].lse, rows[1].lse};
  float rest[2];
  const T* const sMine = sQ + warp_idx * 16 * kDim;
  find_rest<kBlockN, kDim, kThreads>(lse, rest, sMine, sK, key, view, head, my_rows, first_key, end_key);
#pragma unroll
  for (int half = 0; half < 2; ++half) rows[half].rest = rest[half];
  if constexpr (kGeneral) {
    if (p.dweights.active()) {
      float sums[2] = {0.0f, 0.0f};
      visit_scores<kBlockN, kDim, kThreads>(
          sMine, sK, key, view, my_rows, first_key, end_key, [&](int half, int column, float score) {
            const float weight = exp_score(score - lse[half] - rest[half]);
            if (weight != 0.0f)
              sums[half] = fmaf(weight, weight_gradient<T>(p.dweights, batch, head, my_rows[half], column), sums[half]);
          });
#pragma unroll
      for (int half = 0; half < 2; ++half) rows[half].delta += reduce_lanes<4>(sums[half], SumOp());
    }
  }
  if (column0 == 0 && lane_idx % 4 == 0) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = q0 + local + half * 8;
      if (row >= o.seqlen_q) continue;
      const int64_t at = (int64_t{batch} * p.num_heads + head) * o.seqlen_q + row;
      p.terms.lse[at] = rows[half].lse;
      p.terms.rest[at] = rows[half].rest;
      p.terms.delta[at] = rows[half].delta;
    }
  }

  float rDQ[kOut / 8][4], slope_sum = 0.0f;
  set_zero(rDQ);
  const bool wanted = p.dquery != nullptr || p.slope_parts != nullptr;
#pragma unroll 1
  for (int k0 = first_key; wanted && k0 < end_key; k0 += kBlockN) {
    load_tile<kBlockN, kDim, kThreads>(sK, key, k0);
    load_tile<kBlockN, kDim, kThreads>(sV, value, k0);
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    const bool inside = o.sees_all(q0, q0 + kBlockM, k0, k0 + kBlockN);
    bool nonfinite = false;
    if (inside && !view.hides()) {
      __syncthreads();
    } else {
      nonfinite = __syncthreads_or(has_nonfinite<kBlockN, kDim, kThreads>(sK));
    }
    float rS[kBlockN / 8][4], rDP[kBlockN / 8][4];
    products<kBlockN, kDim>(rS, sMine, sK);
    products<kBlockN, kDim>(rDP, sDout + warp_idx * 16 * kDim, sV);
    visit_tile<kBlockN>([&](int n, int i, int r, int column) {
      float weight, dc;
      const float ds = gradient(p, view, row0 + r, k0 + column, inside, rows[i / 2], rS[n][i], rDP[n][i], weight, dc);
      if constexpr (kGeneral) slope_sum = fmaf(ds, view.distance(row0 + r, k0 + column), slope_sum);
      rS[n][i] = dc;
    });
    if (nonfinite) take_nonfinite<kBlockN, kDim, kOut, kThreads>(rDQ, rS, sK, column0);
    accumulate<kBlockN, kDim, kOut>(rDQ, rS, sK, column0);
    __syncthreads();  // all have done with K and V
  }
  ptx::cp_async_wait<0>();
  if constexpr (kGeneral) {
    if (p.slope_parts != nullptr) {
      const float total = reduce_threads<kThreads>(column0 == 0 ? slope_sum : 0.0f, SumOp(), sSlope);
      if (threadIdx.x == 0) {
        p.slope_parts[(int64_t{batch} * p.num_heads + head) * p.m_blocks + m_block] = total;
      }
    }
  }
  if (p.dquery != nullptr) {
    const float factor[2] = {o.scale, o.scale};
    store_rows<kOut>(p.dquery + batch * p.dquery_strides[0] + head * p.dquery_strides[1], p.dquery_strides[2],
                     o.seqlen_q, p.query.columns, row0, column0, rDQ, factor);
  }
}

}  // namespace fastattn::cuda::attention
