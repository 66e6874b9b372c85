// Attention of a few queries to many keys, as decoding asks for it: the keys are split over blocks, and read once for
// all query heads of their head.
//
//   row = head of the group x query, group * T of them     part = sum(exp(score - row_max) value), row_max, row_sum
//
//   split_kernel     A block owns kRows rows of a key/value head and kSplit keys of them, kBlockN at a time; a warp
//                    kKeys of each tile, with a softmax and kOut columns of an O of its own. Copies hide as in the
//                    kernel of blocks of queries. The warps' parts add up through shared memory, in their order, to the
//                    split's part in the workspace: Dv + 2 floats a row.
//   combine_kernel   A block owns a row: the parts in the order of the splits, then the sink, lse and out.
//
// Where splits begin depends on nothing, so that neither the batch nor hidden keys behind the last one change a bit.
// Work: 2 (D + Dv) flops a pair of 16 rows; bound by reading K and V once. Source: Dao et al., "Flash-Decoding for
// long-context inference" (2023).
#pragma once

#include "cuda/attention/forward.h"

namespace fastattn::cuda::attention {

inline constexpr int kMaxSplitQueries = 16;  // T; from there on a block of queries of one head is as full
inline constexpr int kSplit = 256;

template <class T, int kDim>
struct SplitTiles {
  static constexpr int kRows = 16, kKeys = 16, kWarps = kDim == 256 && sizeof(T) == 4 ? 2 : 4;
  static constexpr int kOut = kDim == 64 ? 64 : 128, kSlices = kDim / kOut;
  static constexpr int kBlockN = kKeys * kWarps, kThreads = 32 * kWarps * kSlices;
  static constexpr int kBytes = (kRows + 2 * kBlockN) * kDim * static_cast<int>(sizeof(T));
  static_assert(kBytes <= 99 << 10 && kSplit % kBlockN == 0);
  static_assert(kWarps * kRows * kDim * 4 <= kBytes);  // the warps' parts, at the end
};

template <int kDim, bool kGeneral>
inline constexpr const char* kSplitDimName = kDim == 64    ? (kGeneral ? "split_general_d64" : "split_d64")
                                             : kDim == 128 ? (kGeneral ? "split_general_d128" : "split_d128")
                                                           : (kGeneral ? "split_general_d256" : "split_d256");

template <class T>
struct SplitProblem {
  Heads<T> query, key, value, out;
  float* lse;  // or nullptr
  int64_t lse_strides[3];
  int num_kv_heads, group, row_tiles, splits;
  float* parts;          // (B, H, T, splits, Dv)
  SoftmaxState* states;  // (B, H, T, splits)
  Options options;
};

// A split that a row has seen nothing of has no part: its place is not written.
__device__ inline bool is_empty(const SoftmaxState& s) { return s.row_max == -kInf && s.row_sum == 0.0f; }

template <class T, int kDim, bool kGeneral>
__global__ void __launch_bounds__(SplitTiles<T, kDim>::kThreads, 1) split_kernel(SplitProblem<T> p) {
  using Tile = SplitTiles<T, kDim>;
  constexpr int kRows = Tile::kRows, kKeys = Tile::kKeys, kWarps = Tile::kWarps, kBlockN = Tile::kBlockN,
                kOut = Tile::kOut, kThreads = Tile::kThreads;
  SHARED_DYN(T, sQ);
  T* const sK = sQ + kRows * kDim;
  T* const sV = sK + kBlockN * kDim;
  SHARED_ARRAY(SoftmaxState, sStates, 16, kWarps * kRows);
  const int warp_idx = static_cast<int>(threadIdx.x) / 32 % kWarps, lane_idx = static_cast<int>(threadIdx.x) % 32;
  const int column0 = static_cast<int>(threadIdx.x) / 32 / kWarps * kOut;
  const Options& o = p.options;
  int block = static_cast<int>(blockIdx.x);
  const int row_tile = block % p.row_tiles;  // together, for the keys that they share
  block /= p.row_tiles;
  const int split = block % p.splits, kv_head = block / p.splits % p.num_kv_heads,
            batch = block / p.splits / p.num_kv_heads;
  const int num_rows = p.group * o.seqlen_q;
  const int64_t row0 = (int64_t{batch} * p.num_kv_heads + kv_head) * num_rows + row_tile * kRows;
  const int rows_here = num_rows - row_tile * kRows < kRows ? num_rows - row_tile * kRows : kRows;
  // Rows past the last one are that one again, so that nothing is hidden for their sake.
  auto row_of = [&](int r) { return row_tile * kRows + (r < rows_here ? r : rows_here - 1); };
  const int mine[2] = {row_of(lane_idx / 4), row_of(lane_idx / 4 + 8)};
  const int queries[2] = {mine[0] % o.seqlen_q, mine[1] % o.seqlen_q};
  const Head<T, kGeneral> view[2] = {{o, batch, kv_head * p.group + mine[0] / o.seqlen_q},
                                     {o, batch, kv_head * p.group + mine[1] / o.seqlen_q}};
  const Matrix<T> key = p.key.of(batch, kv_head), value = p.value.of(batch, kv_head);
  const int seen = o.first_key(0) / kBlockN * kBlockN, end_seen = o.end_key(o.seqlen_q - 1);
  const int first_key = split * kSplit > seen ? split * kSplit : seen;
  const int end_key = (split + 1) * kSplit < end_seen ? (split + 1) * kSplit : end_seen;

  float rO[kOut / 8][4];
  set_zero(rO);
  SoftmaxState state[2] = {SoftmaxState::init(), SoftmaxState::init()};
  if (first_key < end_key) {
    load_rows<kRows, kDim, kThreads>(sQ, p.query.of(0, 0), [&](int r) {
      const int row = row_of(r), head = kv_head * p.group + row / o.seqlen_q;
      return p.query.data + batch * p.query.batch + head * p.query.head + row % o.seqlen_q * p.query.row;
    });
    load_tile<kBlockN, kDim, kThreads>(sK, key, first_key);
  }
  ptx::cp_async_commit();
#pragma unroll 1
  for (int k0 = first_key; k0 < end_key; k0 += kBlockN) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // K is there for all, and all have done with V
    load_tile<kBlockN, kDim, kThreads>(sV, value, k0);
    ptx::cp_async_commit();

    float rS[kKeys / 8][4];
    products<kKeys, kDim>(rS, sQ, sK + warp_idx * kKeys * kDim);
    const bool inside = o.sees_all(0, o.seqlen_q, k0, k0 + kBlockN);
    const int key0 = k0 + warp_idx * kKeys;
    visit_tile<kKeys>([&](int n, int i, int, int column) {
      rS[n][i] = view[i / 2].score(queries[i / 2], key0 + column, rS[n][i], inside);
    });
    online_softmax<kKeys, kOut>(rS, rO, state);
    if constexpr (kGeneral) {  // of what meets V, not of row_sum
      if (o.drops) {
        visit_tile<kKeys>(
            [&](int n, int i, int, int column) { rS[n][i] *= view[i / 2].kept(queries[i / 2], key0 + column); });
      }
    }
    ptx::cp_async_wait<0>();
    bool nonfinite = false;
    if (inside && !view[0].hides()) {
      __syncthreads();  // V is there for all, and all have done with K
    } else {
      nonfinite = __syncthreads_or(has_nonfinite<kBlockN, kDim, kThreads>(sV));
    }
    if (k0 + kBlockN < end_key) load_tile<kBlockN, kDim, kThreads>(sK, key, k0 + kBlockN);
    ptx::cp_async_commit();
    if (nonfinite) take_nonfinite<kKeys, kDim, kOut, kThreads, kBlockN>(rO, rS, sV, column0, warp_idx * kKeys);
    accumulate<kKeys, kDim, kOut>(rO, rS, sV + warp_idx * kKeys * kDim, column0);
  }
  ptx::cp_async_wait<0>();

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state[half].row_sum = reduce_lanes<4>(state[half].row_sum, SumOp());
    if (column0 == 0 && lane_idx % 4 == 0) sStates[warp_idx * kRows + lane_idx / 4 + half * 8] = state[half];
  }
  __syncthreads();  // and all have done with Q, K and V
  float* const sParts = reinterpret_cast<float*>(sQ);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane_idx / 4 + half * 8;
    SoftmaxState total = SoftmaxState::init();
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total.row_max = fmaxf(total.row_max, sStates[w * kRows + row].row_max);
    const float factor = exp_score(state[half].row_max - total.base());
#pragma unroll
    for (int d = 0; d < kOut / 8; ++d) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        sParts[(warp_idx * kRows + row) * kDim + column0 + d * 8 + lane_idx % 4 * 2 + i] = rO[d][half * 2 + i] * factor;
      }
    }
    if (threadIdx.x < 32 && lane_idx % 4 == 0 && row < rows_here) {
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const SoftmaxState& s = sStates[w * kRows + row];
        total.row_sum = fmaf(s.row_sum, exp_score(s.row_max - total.base()), total.row_sum);
      }
      p.states[(row0 + row) * p.splits + split] = total;
    }
  }
  if (first_key >= end_key) return;
  __syncthreads();
  const int columns = p.value.columns;
  for (int item = static_cast<int>(threadIdx.x); item < rows_here * kDim; item += kThreads) {
    const int row = item / kDim, column = item % kDim;
    if (column >= columns) continue;
    float sum = sParts[row * kDim + column];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) sum += sParts[(w * kRows + row) * kDim + column];
    p.parts[((row0 + row) * p.splits + split) * columns + column] = sum;
  }
}

inline constexpr int kCombineThreads = 128;

template <class T>
__global__ void __launch_bounds__(kCombineThreads) combine_kernel(SplitProblem<T> p) {
  const Options& o = p.options;
  const int64_t row = blockIdx.x;
  const int query = static_cast<int>(row % o.seqlen_q), head = static_cast<int>(row / o.seqlen_q % o.num_heads),
            batch = static_cast<int>(row / o.seqlen_q / o.num_heads);
  const SoftmaxState* const states = p.states + row * p.splits;
  const int columns = p.value.columns, mine = static_cast<int>(threadIdx.x);
  SoftmaxState total = SoftmaxState::init();
  for (int i = 0; i < p.splits; ++i) total.row_max = fmaxf(total.row_max, states[i].row_max);
  float sums[2] = {0.0f, 0.0f};
#pragma unroll 4
  for (int i = 0; i < p.splits; ++i) {
    const SoftmaxState s = states[i];
    if (is_empty(s)) continue;
    const float factor = exp_score(s.row_max - total.base());
    total.row_sum = fmaf(s.row_sum, factor, total.row_sum);
    const float* const part = p.parts + (row * p.splits + i) * columns;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int column = mine + c * kCombineThreads;
      if (column < columns) sums[c] = fmaf(part[column], factor, sums[c]);
    }
  }
  const float factor = finish<true>(total, o, head);
  if (p.lse != nullptr && mine == 0) {
    p.lse[batch * p.lse_strides[0] + head * p.lse_strides[1] + query * p.lse_strides[2]] = total.lse();
  }
  T* const out = p.out.data + batch * p.out.batch + head * p.out.head + query * p.out.row;
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const int column = mine + c * kCombineThreads;
    if (column < columns) out[column] = from_float<T>(sums[c] * factor);
  }
}

}  // namespace fastattn::cuda::attention
