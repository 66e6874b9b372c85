// The products of attention over one tile of keys x queries, that stop at the bounds and keep what hidden keys hold out
// of every result.
#pragma once

#include "attention_mask.h"

namespace fastattn::cpu::FASTATTN_ISA {

// --- stopping at the bounds ------------------------------------------------------------------------------
// S^T[key][query] = sum_d x[key][d] * y[d][query] for the tile, but for what the bounds hide from a whole vector of
// queries: there S^T keeps what it held. x has the strides of key (or value), y and s the leading dimension kBlockM. d
// counts steps, of kPer numbers each.
template <class T, int64_t kPer = 1>
inline void multiply_scores(const Band& band, const TilePlace& t, const T* x, int64_t x_row, int64_t x_column,
                            int64_t d, const T* y, T* s, T scale = 1) {
  constexpr int64_t L = Vec<T>::kLanes, M = kBlockM<T>;
  const int64_t n_vecs = ceil_div(t.m, L);
  TileProduct<T> product{d, x, x_row, x_column, y, M, s, M, scale};
  if (t.inside(band)) return multiply<T, Start::kZero, kPer>(t.n, n_vecs, product);
  for (int64_t j = 0; j < t.n; j += kTileRows) {
    const int64_t n = min_of<int64_t>(kTileRows, t.n - j), key = t.k0 + j;
    const int64_t first_query = key - band.end_shift + 1 - t.q0, end_query = key + n - band.first_shift - t.q0;
    const int64_t first = max_of<int64_t>(0, first_query) / L;
    const int64_t end = min_of(n_vecs, ceil_div(max_of<int64_t>(0, end_query), L));
    product.a = x + j * x_row;
    product.b = y + first * L;
    product.c = s + j * M + first * L;
    multiply<T, Start::kZero, kPer>(n, end - first, product);
  }
}

// c[d][query] += sum_key x[key][d] * p[key][query]: every vector of queries takes the keys within its own bounds. x and
// p are of steps of kPer keys; of one that the bounds cut, p has 0 for the key outside.
template <class T, int64_t kPer = 1>
inline void multiply_weights(const Band& band, const TilePlace& t, const T* x, int64_t x_row, int64_t x_column,
                             int64_t d, const T* p, T* c) {
  constexpr int64_t L = Vec<T>::kLanes, M = kBlockM<T>;
  const int64_t n_vecs = ceil_div(t.m, L);
  auto add = [&](int64_t first, int64_t end, int64_t vec, int64_t vecs) __attribute__((always_inline)) {
    if (first >= end) return;
    multiply<T, Start::kAdd, kPer>(
        d, vecs, {end - first, x + first * x_row, x_column, x_row, p + first * M + vec * L, M, c + vec * L, M});
  };
  if (t.inside(band)) return add(0, ceil_div(t.n, kPer), 0, n_vecs);
  auto range_of = [&](int64_t vec) { return KeyRange::of<T>(band, t, vec * L); };
  // In steps, of which a vector that sees no key has none.
  auto first_of = [&](int64_t vec) { return range_of(vec).first / kPer; };
  auto end_of = [&](int64_t vec) {
    const KeyRange range = range_of(vec);
    return range.first < range.end ? ceil_div(range.end, kPer) : range.first / kPer;
  };
  if (range_of(0).first == range_of(n_vecs - 1).first) {  // the causal diagonal: fewer and fewer vectors
    for (int64_t vec = 0, from = first_of(0); vec < n_vecs; from = end_of(vec), ++vec) {
      add(from, end_of(vec), vec, n_vecs - vec);
    }
  } else {
    for (int64_t vec = 0; vec < n_vecs; ++vec) add(first_of(vec), end_of(vec), vec, 1);
  }
}

// c[key][n] += sum_query p[key][query] * y[query][n]: every few keys take the queries that see any of them. y and c
// have rows of n_vecs whole vectors. p and y are of steps of kPer queries; of one that the bounds cut, p has 0 for the
// query outside.
template <class T, int64_t kPer = 1>
inline void multiply_queries(const Band& band, const TilePlace& t, const T* p, const T* y, int64_t n_vecs, T* c) {
  constexpr int64_t L = Vec<T>::kLanes, M = kBlockM<T> / kPer;
  const int64_t row = n_vecs * L, steps = ceil_div(t.m, kPer);
  if (t.inside(band)) return multiply<T, Start::kAdd, kPer>(t.n, n_vecs, {steps, p, M, 1, y, row, c, row});
  for (int64_t j = 0; j < t.n; j += kTileRows) {
    const int64_t n = min_of<int64_t>(kTileRows, t.n - j), key = t.k0 + j;
    const int64_t first = max_of<int64_t>(0, key - band.end_shift + 1 - t.q0) / kPer;
    const int64_t end = min_of(steps, ceil_div(max_of<int64_t>(0, key + n - band.first_shift - t.q0), kPer));
    if (first >= end) continue;
    multiply<T, Start::kAdd, kPer>(n, n_vecs,
                                   {end - first, p + j * M + first, M, 1, y + first * row, row, c + j * row, row});
  }
}

// --- values that are not finite, where pairs are hidden -----------------------------------------------------------
// A hidden pair has weight 0, and 0 * NaN is NaN. So where pairs of a tile are hidden, rows that hold a NaN or an inf
// are multiplied from a copy with 0 in place of each, which leaves every other result as it is to the bit, and the
// products of the pairs that do see them are added one by one.

template <class S>
inline bool all_finite(const S* x, int64_t row, int64_t column, int64_t m, int64_t n) {
  using V = Vec<compute_t<S>>;
  V sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};  // of x - x: 0 where x is finite, else NaN
  auto add_row = [&](int64_t i, V & to) __attribute__((always_inline)) {
    for (int64_t j = 0; j < n; j += V::kLanes) {
      V v = load_strided(x + i * row + j * column, column, static_cast<int>(min_of<int64_t>(V::kLanes, n - j)));
      to += v - v;
    }
  };
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) add_row(i + u, sum[u]);
  }
  for (; i < m; ++i) add_row(i, sum[0]);
  return !any(is_nan((sum[0] + sum[1]) + (sum[2] + sum[3])));
}

FASTATTN_INLINE bool is_finite(float x) { return x - x == 0; }
FASTATTN_INLINE bool is_finite(double x) { return x - x == 0; }

template <class T>
inline void copy_finite(const T* x, int64_t row, int64_t column, int64_t m, int64_t n, T* to, int64_t to_row) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      T v = x[i * row + j * column];
      to[i * to_row + j] = is_finite(v) ? v : T(0);
    }
  }
}

// The products that the copy left out: c[d][query] += p[key][query] * x[key][d] where x is not finite, for the pairs
// that are seen.
template <class T>
inline void add_seen_products(const Band& band, const TilePlace& t, Sight sight, const T* mask_tile, const T* x,
                              int64_t row, int64_t column, int64_t n, const T* p, T* c) {
  constexpr int64_t M = kBlockM<T>;
  for (int64_t j = 0; j < t.n; ++j) {
    for (int64_t d = 0; d < n; ++d) {
      const T v = x[j * row + d * column];
      if (is_finite(v)) continue;
      for (int64_t i = 0; i < t.m; ++i) {
        if (!hidden(band, t, sight, mask_tile, j, i)) c[d * M + i] += p[j * M + i] * v;
      }
    }
  }
}

// The same of rows of queries: c[key][n] += p[key][query] * y[query][n], in rows of `row`.
template <class T>
inline void add_seen_rows(const Band& band, const TilePlace& t, Sight sight, const T* mask_tile, const T* p, const T* y,
                          int64_t row, T* c) {
  for (int64_t i = 0; i < t.m; ++i) {
    for (int64_t d = 0; d < row; ++d) {
      if (is_finite(y[i * row + d])) continue;
      for (int64_t j = 0; j < t.n; ++j) {
        if (!hidden(band, t, sight, mask_tile, j, i)) c[j * row + d] += p[j * kBlockM<T> + i] * y[i * row + d];
      }
    }
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
