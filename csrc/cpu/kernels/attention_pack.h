// Copies between the caller's strided rows and scratch.
#pragma once

#include "attention_product.h"

namespace fastattn::cpu::FASTATTN_ISA {

// Whether rows of n lie one after the other.
FASTATTN_INLINE bool contiguous_rows(const fa_tensor& t, int64_t n) { return t.strides[3] == 1 && t.strides[2] == n; }

// Rows of a head in the caller's memory, or of a copy.
template <class S>
struct Rows {
  const S* data;
  int64_t row, column;
  static FASTATTN_INLINE Rows of(const fa_tensor& t, int64_t batch, int64_t head) {
    return {at<S>(t, batch, head), t.strides[2], t.strides[3]};
  }
  FASTATTN_INLINE Rows from(int64_t i) const { return {data + i * row, row, column}; }
};

// to[i][*] = x[i][*], m rows of n, padded with 0 to whole vectors.
template <class S>
inline void pack_rows(const Rows<S>& x, int64_t m, int64_t n, compute_t<S>* to) {
  using V = Vec<compute_t<S>>;
  constexpr int64_t L = V::kLanes;
  const int64_t row = round_up(n, L);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; j += L) {
      const int width = static_cast<int>(min_of(L, n - j));
      load_strided(x.data + i * x.row + j * x.column, x.column, width).store(to + i * row + j);
    }
  }
}

// to[j][i] = x[i][j] * factor, leading dimension kBlockM.
template <class S>
inline void pack_transposed(const Rows<S>& x, int64_t m, int64_t n, compute_t<S> factor, compute_t<S>* to) {
  using V = Vec<compute_t<S>>;
  const V by = V::set(factor);
  transpose_rows(
      x.data, x.row, x.column, m, n, to,
      kBlockM<compute_t<S>>, [&](V v) __attribute__((always_inline)) { return v * by; });
}

// to[i][*] = x[i][*], m rows of n, both ends dense but for x's strides.
template <class S>
inline void copy_rows(const Rows<S>& x, int64_t m, int64_t n, compute_t<S>* to) {
  using V = Vec<compute_t<S>>;
  constexpr int64_t L = V::kLanes;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; j += L) {
      const int width = static_cast<int>(min_of(L, n - j));
      const V v = load_strided(x.data + i * x.row + j * x.column, x.column, width);
      if (width == L) {
        v.store(to + i * n + j);
      } else {
        v.store(to + i * n + j, width);
      }
    }
  }
}

// m rows of keys or values as the products read them: in place, or of 16 bits copied to `copy` (m x n).
template <class S>
inline Rows<compute_t<S>> readable_rows(const Rows<S>& x, int64_t m, int64_t n, compute_t<S>* copy) {
  if constexpr (kIsHalf<S>) {
    copy_rows(x, m, n, copy);
    return {copy, n, 1};
  } else {
    return x;
  }
}

// The other way, to[i][*] = from[i][*] * factor, from rows in whole vectors.
template <class S>
inline void store_rows(const compute_t<S>* from, int64_t m, int64_t n, compute_t<S> factor, S* to, int64_t to_row) {
  using V = Vec<compute_t<S>>;
  const V by = V::set(factor);
  constexpr int64_t L = V::kLanes;
  const int64_t row = round_up(n, L);
  for (int64_t i = 0; i < m; ++i) {
    int64_t j = 0;
    for (; j + L <= n; j += L) (V::load(from + i * row + j) * by).store(to + i * to_row + j);
    if (j < n) (V::load(from + i * row + j) * by).store(to + i * to_row + j, static_cast<int>(n - j));
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
