// Copies between the caller's strided rows and scratch.
#pragma once

#include "attention_product.h"

namespace fastattn::cpu::FASTATTN_ISA {

// Whether rows of n lie one after the other.
FASTATTN_INLINE bool contiguous_rows(const fa_tensor& t, int64_t n) { return t.strides[3] == 1 && t.strides[2] == n; }

// Rows of keys or values, as the products read them: in place, or copied.
template <class T>
struct Rows {
  const T* data;
  int64_t row, column;
  static FASTATTN_INLINE Rows of(const fa_tensor& t, int64_t batch, int64_t head) {
    return {at<T>(t, batch, head), t.strides[2], t.strides[3]};
  }
  FASTATTN_INLINE Rows from(int64_t i) const { return {data + i * row, row, column}; }
};

// to[i][*] = x[i][*] * factor, m rows of n, padded with 0 to whole vectors.
template <class T>
inline void pack_rows(const Rows<T>& x, int64_t m, int64_t n, T factor, T* to) {
  constexpr int64_t L = Vec<T>::kLanes;
  const int64_t row = round_up(n, L);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; j += L) {
      const int width = static_cast<int>(min_of(L, n - j));
      (load_strided(x.data + i * x.row + j * x.column, x.column, width) * Vec<T>::set(factor)).store(to + i * row + j);
    }
  }
}

// to[j][i] = x[i][j] * factor, leading dimension kBlockM<T>.
template <class T>
inline void pack_transposed(const Rows<T>& x, int64_t m, int64_t n, T factor, T* to) {
  const Vec<T> by = Vec<T>::set(factor);
  transpose_rows<T>(
      x.data, x.row, x.column, m, n, to, kBlockM<T>, [&](Vec<T> v) __attribute__((always_inline)) { return v * by; });
}

// to[i][*] = x[i][*], m rows of n, both ends dense but for x's strides.
template <class T>
inline void copy_rows(const Rows<T>& x, int64_t m, int64_t n, T* to) {
  constexpr int64_t L = Vec<T>::kLanes;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; j += L) {
      const int width = static_cast<int>(min_of(L, n - j));
      const Vec<T> v = load_strided(x.data + i * x.row + j * x.column, x.column, width);
      if (width == L) {
        v.store(to + i * n + j);
      } else {
        v.store(to + i * n + j, width);
      }
    }
  }
}

// The other way, from rows in whole vectors.
template <class T>
inline void store_rows(const T* from, int64_t m, int64_t n, T* to, int64_t to_row) {
  constexpr int64_t L = Vec<T>::kLanes;
  const int64_t row = round_up(n, L);
  for (int64_t i = 0; i < m; ++i) {
    int64_t j = 0;
    for (; j + L <= n; j += L) Vec<T>::load(from + i * row + j).store(to + i * to_row + j);
    if (j < n) Vec<T>::load(from + i * row + j).store(to + i * to_row + j, static_cast<int>(n - j));
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
