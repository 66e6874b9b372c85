// Copies of a and b in the order in which the tile reads them.
#pragma once

#include "cpu/simd/transpose.h"
#include "matmul_plan.h"

namespace fastattn::cpu::FASTATTN_ISA {

// kLanes rows of kLanes elements from src, transposed into dst: dst[k][n] = src[n][k], n < rows; the others are 0.
template <class S>
FASTATTN_INLINE void transpose_widened(const S* src, int64_t src_stride, int64_t rows, compute_t<S>* dst,
                                       int64_t dst_stride) {
  using V = Vec<compute_t<S>>;
  alignas(64) compute_t<S> block[V::kLanes * V::kLanes];
  for (int64_t n = 0; n < V::kLanes; ++n) {
    (n < rows ? V::load(src + n * src_stride) : V::zero()).store(block + n * V::kLanes);
  }
  transpose_block(block, V::kLanes, dst, dst_stride);
}

// dst[k][n], n < vecs * kLanes, from src[k * k_stride + n * n_stride]; columns from `cols` on are 0.
template <class S>
inline void pack_b_run(const S* src, int64_t k_stride, int64_t n_stride, int64_t k_len, int64_t cols, int64_t vecs,
                       compute_t<S>* dst) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t width = vecs * kLanes;
  for (int64_t v = 0; v < vecs; ++v) {
    const int64_t lanes = min_of(kLanes, cols - v * kLanes);
    const S* from = src + v * kLanes * n_stride;
    T* to = dst + v * kLanes;
    int64_t k = 0;
    if (n_stride == 1 && lanes == kLanes) {
      for (; k < k_len; ++k) V::load(from + k * k_stride).store(to + k * width);
    } else if (n_stride == 1) {
      for (; k < k_len; ++k) V::load(from + k * k_stride, static_cast<int>(lanes)).store(to + k * width);
    } else if (k_stride == 1 && kIsHalf<S>) {
      for (; k + kLanes <= k_len; k += kLanes) transpose_widened(from + k, n_stride, lanes, to + k * width, width);
    } else if (k_stride == 1 && lanes == kLanes) {
      if constexpr (!kIsHalf<S>) {
        for (; k + kLanes <= k_len; k += kLanes) transpose_block(from + k, n_stride, to + k * width, width);
      }
    }
    for (; k < k_len; ++k) {
      for (int64_t n = 0; n < kLanes; ++n) {
        to[k * width + n] = n < lanes ? widen(from[k * k_stride + n * n_stride]) : T(0);
      }
    }
  }
}

// One sliver of b over [k_begin, k_begin + k_len).
template <class S>
FASTATTN_INLINE void pack_b(const Problem<S>& p, int64_t vec_begin, int64_t vecs, int64_t k_begin, int64_t k_len,
                            compute_t<S>* dst) {
  constexpr int64_t kLanes = Vec<compute_t<S>>::kLanes;
  const S* b = p.b + vec_begin * kLanes * p.b_n;
  const int64_t cols = min_of(p.N - vec_begin * kLanes, vecs * kLanes);
  for_each_run(p, k_begin, k_len, [&](int64_t, int64_t b_offset, int64_t first, int64_t n) {
    pack_b_run(b + b_offset, p.b_k, p.b_n, n, cols, vecs, dst + first * vecs * kLanes);
  });
}

// dst[k][r], r < rows, from src[r * m_stride + k * k_stride].
template <class S>
inline void pack_a_run(const S* src, int64_t m_stride, int64_t k_stride, int64_t k_len, int64_t rows,
                       compute_t<S>* dst) {
  using T = compute_t<S>;
  constexpr int kRows = TileConfig<T>::kRows;
  constexpr int64_t kLanes = Vec<T>::kLanes;
  int64_t k = 0;
  if constexpr (!kIsHalf<S>) {
    if (m_stride == 1 && rows == kRows) {
      for (; k < k_len; ++k) __builtin_memcpy(dst + k * kRows, src + k * k_stride, kRows * sizeof(T));
    }
  } else if (kRows <= kLanes && k_stride == 1) {
    alignas(64) T columns[kLanes * kLanes];
    for (; k + kLanes <= k_len; k += kLanes) {
      transpose_widened(src + k, m_stride, rows, columns, kLanes);
      for (int64_t i = 0; i < kLanes; ++i) {
        for (int64_t r = 0; r < rows; ++r) dst[(k + i) * rows + r] = columns[i * kLanes + r];
      }
    }
  }
  for (; k < k_len; ++k) {
    for (int64_t r = 0; r < rows; ++r) dst[k * rows + r] = widen(src[r * m_stride + k * k_stride]);
  }
}

// The rows of a from row_begin on, in num_tiles tiles, over [k_begin, k_begin + k_len): [tile][k][row].
template <class S>
FASTATTN_INLINE void pack_a_columns(const Problem<S>& p, int64_t row_begin, const EvenSplit& tiles, int64_t num_tiles,
                                    int64_t k_begin, int64_t k_len, compute_t<S>* dst) {
  // A stretch of k at a time, so that the cache lines and pages of a are still there for the next tile.
  constexpr int64_t kStretch = kIsHalf<S> ? 16 : 8;
  for_each_run(p, k_begin, k_len, [&](int64_t a_offset, int64_t, int64_t first, int64_t n) {
    for (int64_t k = 0; k < n; k += kStretch) {
      for (int64_t t = 0; t < num_tiles; ++t) {
        const int64_t row = tiles.begin(t), rows = tiles.begin(t + 1) - row;
        pack_a_run(p.a + a_offset + (row_begin + row) * p.a_m + k * p.a_k, p.a_m, p.a_k, min_of(kStretch, n - k), rows,
                   dst + row * k_len + (first + k) * rows);
      }
    }
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
