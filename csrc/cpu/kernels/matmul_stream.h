// Products of few rows, in which b is read once from memory, as it lies.
//
//   b contiguous along N, up to kStreamRows rows:   a few rows of b at a time, in stretches of up to a page, are
//       multiplied into the sums of all columns of the item, which stay in L1.
//   b contiguous along K, up to kStreamTile rows:   a square of kLanes columns x kLanes steps is transposed in
//       registers on its way to the sums.
//
// Traffic: K N elements of b, once, for 2 M flops each. What a register tile would read, 192 bytes of every row, is too
// little at a time for the pages and the prefetchers of memory. Bits are those of the tiles: a chain in k order for
// each block of kBlockK, blocks added in order.
#pragma once

#include "matmul_pack.h"

namespace fastattn::cpu::FASTATTN_ISA {

inline constexpr int64_t kStreamTile = 4;

// Steps of k multiplied in one go. Their factors stay in registers; and rows of b that lie a page apart share a set of
// L1, where these, the ones that are prefetched and the sums have to find room.
template <class S, int kR>
inline constexpr int kGroup = (kR > 2 && sizeof(Vec<float>) < 64        ? 2
                               : kR == 1 && kIsHalf<S> && kStep<S> == 1 ? 8
                                                                        : 4) /
                              static_cast<int>(kStep<S>);

// sums[r][n] += a[r][step] * load(step, n) for kSteps steps.
template <class T, int kR, int kSteps, class F>
FASTATTN_INLINE void add_steps(const T* a, int64_t a_stride, T* sums, int64_t stride, int64_t cols, F&& load) {
  using V = Vec<T>;
  V factor[kSteps][kR];
#pragma GCC unroll 8
  for (int s = 0; s < kSteps; ++s) {
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) factor[s][r] = V::set(a[r * a_stride + s]);
  }
  auto add = [&](int64_t n, int lanes) __attribute__((always_inline)) {
    V acc[kR];
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) acc[r] = V::load(sums + r * stride + n);
#pragma GCC unroll 8
    for (int s = 0; s < kSteps; ++s) {
      const V x = load(s, n, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < kR; ++r) step_into(acc[r], factor[s][r], x);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) acc[r].store(sums + r * stride + n);
  };
  int64_t n = 0;
  for (; n + V::kLanes <= cols; n += V::kLanes) add(n, V::kLanes);
  if (n < cols) add(n, static_cast<int>(cols - n));
}

// f.template operator()<rows>() for 1 to kStreamTile rows.
template <class F>
FASTATTN_INLINE void visit_rows(int64_t rows, F&& f) {
  switch (rows) {
    case 1: return f.template operator()<1>();
    case 2: return f.template operator()<2>();
    case 3: return f.template operator()<3>();
    default: return f.template operator()<4>();
  }
}

// sums[r][n] += a[r][step] * b[k][n] for k_len k, at most kSteps steps of them, or half a pair.
template <class S, int kR, int kSteps>
__attribute__((noinline)) void stream_group(const S* b, int64_t b_k, int64_t k_len, int64_t cols, const compute_t<S>* a,
                                            int64_t a_stride, compute_t<S>* sums, int64_t stride) {
  using T = compute_t<S>;
  auto add = [&]<int kN>(int64_t s) __attribute__((always_inline)) {
    const S* from = b + s * kStep<S> * b_k;
    add_steps<T, kR, kN>(
        a + s, a_stride, sums, stride, cols, [&](int i, int64_t n, int lanes) __attribute__((always_inline)) {
          const S* at = from + i * kStep<S> * b_k + n;
#pragma GCC unroll 2
          for (int k = 0; k < kStep<S>; ++k) __builtin_prefetch(at + (kN * kStep<S> + k) * b_k);
          return packed_columns(at, b_k, lanes);
        });
  };
  const int64_t whole = k_len / kStep<S>;
  if (whole == kSteps) return add.template operator()<kSteps>(0);
  for (int64_t s = 0; s < whole; ++s) add.template operator()<1>(s);
  if (whole * kStep<S> < k_len) {  // half a pair
    const S* from = b + whole * kStep<S> * b_k;
    add_steps<T, kR, 1>(
        a + whole, a_stride, sums, stride, cols, [&](int, int64_t n, int lanes) __attribute__((always_inline)) {
          alignas(64) T last[Vec<T>::kLanes] = {};
          for (int i = 0; i < lanes; ++i) last[i] = packed_step(from + n + i, b_k, int64_t{1});
          return Vec<T>::load(last);
        });
  }
}

// sums[r][n] = a[r] . b[n] over k_len k of one block, b contiguous along K, kR rows. ahead: elements from the b in use
// to the b to prefetch.
template <class S, int kR>
__attribute__((noinline)) void stream_columns(const S* b, int64_t b_n, int64_t k_len, int64_t cols, int64_t ahead,
                                              const compute_t<S>* a, int64_t a_stride, compute_t<S>* sums,
                                              int64_t stride) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t steps = ceil_div(k_len, kStep<S>), whole = k_len / kStep<S>;
  for (int64_t n = 0; n < cols; n += kLanes) {
    const S* from = b + n * b_n;
    const int64_t lanes = min_of(kLanes, cols - n);
    V acc[kR];
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) acc[r] = V::zero();
    auto add = [&](int64_t s, V x) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int r = 0; r < kR; ++r) step_into(acc[r], V::set(a[r * a_stride + s]), x);
    };
    int64_t s = 0;
    for (; s + kLanes <= whole; s += kLanes) {
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) __builtin_prefetch(from + s * kStep<S> + i * b_n + ahead);
      transposed_steps(
          from + s * kStep<S>, b_n, lanes, [&](int64_t i, V x) __attribute__((always_inline)) { add(s + i, x); });
    }
    for (; s < steps; ++s) {
      const int64_t k = s * kStep<S>;
      alignas(64) T column[kLanes] = {};
      for (int64_t i = 0; i < lanes; ++i) column[i] = packed_step(from + k + i * b_n, int64_t{1}, k_len - k);
      add(s, V::load(column));
    }
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) acc[r].store(sums + r * stride + n);
  }
}

template <class S>
struct StreamPlan {
  using T = compute_t<S>;
  static constexpr int64_t kLanes = Vec<T>::kLanes;
  int64_t vecs;    // of N
  int64_t chunks;  // items of one batch entry
  int64_t cols;    // of the largest item, in whole vectors
  bool blocks;     // whether K is more than one

  static bool takes(const Problem<S>& p) {
    if (p.K == 0 || p.num_sum_axes > 0) return false;
    if (p.M <= kStreamTile) return p.b_n == 1 || p.b_k == 1;
    return p.M <= kStreamRows && p.b_n == 1 && !is_small_b(p);
  }
  explicit StreamPlan(const Problem<S>& p) {
    vecs = ceil_div(p.N, kLanes);
    int64_t item;
    if (p.b_n == 1) {  // 1 to 4 KB of a row, and sums that leave half of L1
      constexpr int64_t kLeast = 1024 / sizeof(S), kMost = 4096 / sizeof(S), kSums = 16384 / sizeof(T);
      item = max_of(kLeast, min_of(min_of(kMost, p.N / 8), kSums / p.M)) / kLanes;
    } else {  // 256 KB of b
      item = max_of(int64_t{1}, 262144 / int64_t{sizeof(S)} / (p.K * kStep<S> * kLanes));
    }
    chunks = ceil_div(vecs, item);
    cols = ceil_div(vecs, chunks) * kLanes;
    blocks = p.K > TileConfig<T>::kBlockK;
  }
  int64_t a_elements(const Problem<S>& p) const { return p.M * min_of(p.K, TileConfig<T>::kBlockK); }
  // Elements of a worker's scratch: a of a block, and its sums and those of the blocks before.
  int64_t worker_elements(const Problem<S>& p) const { return a_elements(p) + (blocks ? 2 : 1) * p.M * cols; }
};

// One item: all rows of a batch entry by the columns of a chunk. Returns sums[M][plan.cols], in `scratch`.
template <class S>
inline compute_t<S>* stream_item(const Problem<S>& p, const StreamPlan<S>& plan, int64_t col, int64_t cols,
                                 compute_t<S>* scratch) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int64_t kBlockK = TileConfig<T>::kBlockK;
  T* const a = scratch;  // [row][step]
  T* const sums = a + plan.a_elements(p);
  T* const total = plan.blocks ? sums + p.M * plan.cols : sums;
  for (int64_t begin = 0; begin < p.K; begin += kBlockK) {
    const int64_t k0 = begin * kStep<S>, steps = min_of(kBlockK, p.K - begin);
    const int64_t k_len = min_of(steps * kStep<S>, p.run_k - k0);
    T* const to = begin == 0 ? total : sums;
    for (int64_t row = 0; row < p.M; ++row) {
      pack_a_run(p.a + row * p.a_m + k0 * p.a_k, p.a_m, p.a_k, k_len, int64_t{1}, a + row * steps);
    }
    // f<rows>(first row) for each tile of rows.
    auto for_tiles = [&](auto f) __attribute__((always_inline)) {
      for (int64_t row = 0; row < p.M; row += kStreamTile) {
        visit_rows(
            min_of(kStreamTile, p.M - row), [&]<int kR>()
                                                __attribute__((always_inline)) { f.template operator()<kR>(row); });
      }
    };
    if (p.b_n == 1) {
      for (int64_t i = 0; i < p.M * plan.cols; i += V::kLanes) V::zero().store(to + i);
      const S* b = p.b + k0 * p.b_k + col;
      visit_rows(
          min_of(p.M, kStreamTile), [&]<int kMost>() __attribute__((always_inline)) {
            constexpr int kSteps = kGroup<S, kMost>;
            for (int64_t s = 0; s < steps; s += kSteps) {
              const int64_t k = s * kStep<S>, n = min_of(kSteps * kStep<S>, k_len - k);
              for_tiles([&]<int kR>(int64_t row) __attribute__((always_inline)) {
                stream_group<S, kR, kSteps>(b + k * p.b_k, p.b_k, n, cols, a + row * steps + s, steps,
                                            to + row * plan.cols, plan.cols);
              });
            }
          });
    } else {
      constexpr int64_t kAhead = 1024 / sizeof(S);
      for_tiles([&]<int kR>(int64_t row) __attribute__((always_inline)) {
        stream_columns<S, kR>(p.b + k0 + col * p.b_n, p.b_n, k_len, cols, kAhead, a + row * steps, steps,
                              to + row * plan.cols, plan.cols);
      });
    }
    if (begin == 0) continue;
    for (int64_t i = 0; i < p.M * plan.cols; i += V::kLanes) (V::load(total + i) + V::load(sums + i)).store(total + i);
  }
  return total;
}

}  // namespace fastattn::cpu::FASTATTN_ISA
