// The gradients of attention's options: of an additive mask (dS, summed over the axes it is broadcast along), of ALiBi
// slopes (-sum(dS * distance)) and of sinks (-sum(exp(sink - lse) * delta)). Every sum has one owner and a fixed order.
#pragma once

#include "cuda/attention/backward.h"

namespace fastattn::cuda::attention {

template <class T, int kDim>
struct MaskTiles : BackwardTiles<T, kDim> {
  static constexpr int kThreads = BackwardTiles<T, kDim>::kBlockM / 16 * 32;
};

// A block owns a tile of dmask, one of queries and one of keys, or all of an axis that is summed; it makes dS of every
// tile that adds to it again, and sums in registers.
template <class T, int kDim>
__global__ void __launch_bounds__(MaskTiles<T, kDim>::kThreads, 1) dmask_kernel(BackwardProblem<T> p) {
  using Tile = MaskTiles<T, kDim>;
  constexpr int kBlockM = Tile::kBlockM, kBlockN = Tile::kBlockN, kThreads = Tile::kThreads;
  SHARED_DYN(T, sQ);
  T* const sDout = sQ + kBlockM * kDim;
  T* const sK = sDout + kBlockM * kDim;
  T* const sV = sK + kBlockN * kDim;
  SHARED_ARRAY(float, sSum, 16, kBlockM* kBlockN);
  const int warp_idx = static_cast<int>(threadIdx.x) / 32, lane_idx = static_cast<int>(threadIdx.x) % 32;
  const Options& o = p.options;

  // Along each axis the positions [begin, end) that this block sums.
  const int sizes[4] = {p.num_batches, p.num_heads, p.m_blocks, (o.seqlen_k + kBlockN - 1) / kBlockN};
  int begin[4], end[4], rest = static_cast<int>(blockIdx.x);
#pragma unroll
  for (int d = 3; d >= 0; --d) {
    const bool summed = p.dmask.strides[d] == 0;
    begin[d] = summed ? 0 : rest % sizes[d];
    end[d] = summed ? sizes[d] : begin[d] + 1;
    rest /= summed ? 1 : sizes[d];
  }

  float acc[kBlockN / 8][4];
  set_zero(acc);
#pragma unroll 1
  for (int batch = begin[0]; batch < end[0]; ++batch) {
#pragma unroll 1
    for (int head = begin[1]; head < end[1]; ++head) {
      const Head<T, true> view(o, batch, head);
#pragma unroll 1
      for (int q0 = begin[2] * kBlockM; q0 < end[2] * kBlockM; q0 += kBlockM) {
        const int last = (q0 + kBlockM < o.seqlen_q ? q0 + kBlockM : o.seqlen_q) - 1;
        load_tile<kBlockM, kDim, kThreads>(sQ, p.query.of(batch, head), q0);
        load_tile<kBlockM, kDim, kThreads>(sDout, p.dout.of(batch, head), q0);
        ptx::cp_async_commit();
        Terms rows[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          rows[half] = load_terms(p, batch, head, q0 + warp_idx * 16 + lane_idx / 4 + half * 8);
        }
#pragma unroll 1
        for (int k0 = begin[3] * kBlockN; k0 < end[3] * kBlockN; k0 += kBlockN) {
          if (k0 + kBlockN <= o.first_key(q0) || k0 >= o.end_key(last)) continue;
          load_tile<kBlockN, kDim, kThreads>(sK, p.key.of(batch, head / p.group), k0);
          load_tile<kBlockN, kDim, kThreads>(sV, p.value.of(batch, head / p.group), k0);
          ptx::cp_async_commit();
          ptx::cp_async_wait<0>();
          __syncthreads();
          float rS[kBlockN / 8][4], rDP[kBlockN / 8][4];
          products<kBlockN, kDim>(rS, sQ + warp_idx * 16 * kDim, sK);
          products<kBlockN, kDim>(rDP, sDout + warp_idx * 16 * kDim, sV);
          visit_tile<kBlockN>([&](int n, int i, int r, int column) {
            const int row = q0 + warp_idx * 16 + r;
            float weight, dc;
            acc[n][i] += gradient(p, view, row, k0 + column, false, rows[i / 2], rS[n][i], rDP[n][i], weight, dc);
          });
          __syncthreads();  // all have done with the tiles
        }
        ptx::cp_async_wait<0>();  // where no tile was seen
        __syncthreads();
      }
    }
  }
  visit_tile<kBlockN>(
      [&](int n, int i, int r, int column) { sSum[(warp_idx * 16 + r) * kBlockN + column] = acc[n][i]; });
  __syncthreads();
  const bool all_rows = p.dmask.strides[2] == 0, all_keys = p.dmask.strides[3] == 0;
  const int rows = all_rows ? 1 : kBlockM, keys = all_keys ? 1 : kBlockN;
  T* const to = static_cast<T*>(p.dmask.data) + begin[0] * p.dmask.strides[0] + begin[1] * p.dmask.strides[1];
  for (int item = static_cast<int>(threadIdx.x); item < rows * keys; item += kThreads) {
    const int r = item / keys, c = item % keys, row = begin[2] * kBlockM + r, column = begin[3] * kBlockN + c;
    if (row >= o.seqlen_q || column >= o.seqlen_k) continue;
    float sum = 0;
    for (int i = r; i < (all_rows ? kBlockM : r + 1); ++i) {
      for (int j = c; j < (all_keys ? kBlockN : c + 1); ++j) sum += sSum[i * kBlockN + j];
    }
    to[row * p.dmask.strides[2] + column * p.dmask.strides[3]] = from_float<T>(sum);
  }
}

// A thread to a gradient: parts in the order of batches, heads and blocks.
static __global__ void dslopes_kernel(fa_tensor gradient, int num_batches, int num_heads, int m_blocks,
                                      const float* parts) {
  const bool all_batches = gradient.strides[0] == 0, all_heads = gradient.strides[1] == 0;
  const int heads = all_heads ? 1 : num_heads, n = (all_batches ? 1 : num_batches) * heads;
  const int item = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (item >= n) return;
  const int b = item / heads, h = item % heads;
  float sum = 0;
  for (int batch = b; batch < (all_batches ? num_batches : b + 1); ++batch) {
    for (int head = h; head < (all_heads ? num_heads : h + 1); ++head) {
      float part = 0;
      for (int i = 0; i < m_blocks; ++i) part += parts[(int64_t{batch} * num_heads + head) * m_blocks + i];
      sum += part;
    }
  }
  store_number(gradient, b * gradient.strides[0] + h * gradient.strides[1], -sum);
}

inline constexpr int kSinkThreads = 256;

// A block to a head. A sink that is broadcast over heads (stride 0) has one block, which goes over all of them.
static __global__ void __launch_bounds__(kSinkThreads)
    dsinks_kernel(fa_tensor gradient, fa_tensor sinks, int num_batches, int num_heads, int seqlen_q, RowTerms terms) {
  SHARED_ARRAY(float, sSums, 16, 32);
  const bool all = gradient.strides[0] == 0;
  const int first = all ? 0 : static_cast<int>(blockIdx.x), end = all ? num_heads : first + 1;
  float sum = 0;
  for (int head = first; head < end; ++head) {
    const float sink = load_number<float>(sinks, head * sinks.strides[0]);
    for (int batch = 0; batch < num_batches; ++batch) {
      const int64_t row0 = (int64_t{batch} * num_heads + head) * seqlen_q;
      for (int i = static_cast<int>(threadIdx.x); i < seqlen_q; i += kSinkThreads) {
        const float weight = exp_score(sink - terms.lse[row0 + i] - terms.rest[row0 + i]);
        sum += weight == 0.0f ? 0.0f : weight * terms.delta[row0 + i];
      }
    }
  }
  sum = reduce_threads<kSinkThreads>(sum, SumOp(), sSums);
  if (threadIdx.x == 0) store_number(gradient, first * gradient.strides[0], -sum);
}

}  // namespace fastattn::cuda::attention
