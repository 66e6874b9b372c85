// Which keys a query sees, in a tile of keys x queries: causal bounds, window and mask in one.
//
// The bounds skip whole tiles by arithmetic. What is left partially hidden, by bounds or by a mask, becomes a tile of
// values to add to S^T, -inf where hidden; the scores are selected by it, so NaN in a hidden key's score goes nowhere.
#pragma once

#include "attention_tile.h"

namespace fastattn::cpu::FASTATTN_ISA {

// Query i sees keys [first_key(i), end_key(i)), both growing with i.
struct Band {
  int64_t seqlen_k, first_shift, end_shift;

  static Band of(const fa_attention_fwd_params& p) {
    const int64_t seqlen_q = p.query.shape[2], seqlen_k = p.key.shape[2], far = seqlen_q + seqlen_k;
    const int64_t offset = p.causal_align == FA_ALIGN_BOTTOM_RIGHT ? seqlen_k - seqlen_q : 0;
    const int64_t left = p.window_left < 0 ? far : min_of(p.window_left, far);
    int64_t right = p.window_right < 0 ? far : min_of(p.window_right, far);
    if (p.is_causal) right = 0;
    return {seqlen_k, offset - left, offset + right + 1};
  }
  FASTATTN_INLINE int64_t clamp(int64_t key) const { return max_of<int64_t>(0, min_of(key, seqlen_k)); }
  FASTATTN_INLINE int64_t first_key(int64_t query) const { return clamp(query + first_shift); }
  FASTATTN_INLINE int64_t end_key(int64_t query) const { return clamp(query + end_shift); }
};

// A tile's place: queries [q0, q0 + m), keys [k0, k0 + n).
struct TilePlace {
  int64_t q0, m, k0, n;
  FASTATTN_INLINE bool outside(const Band& band) const {
    return k0 + n <= band.first_key(q0) || k0 >= band.end_key(q0 + m - 1);
  }
  FASTATTN_INLINE bool inside(const Band& band) const {
    return k0 >= band.first_key(q0 + m - 1) && k0 + n <= band.end_key(q0);
  }
};

// Pairs that the bounds let through, for one head.
inline double visible_pairs(const Band& band, int64_t seqlen_q) {
  double pairs = 0;
  for (int64_t i = 0; i < seqlen_q; ++i) {
    pairs += static_cast<double>(max_of<int64_t>(0, band.end_key(i) - band.first_key(i)));
  }
  return pairs;
}

struct MaskView {  // of one batch and head
  enum Kind { kAbsent, kBool, kAdded } kind;
  const void* data;
  int64_t row, column;  // strides of queries and keys

  template <class T>
  static FASTATTN_INLINE MaskView of(const fa_tensor& mask, int64_t batch, int64_t head) {
    if (mask.data == nullptr) return {kAbsent, nullptr, 0, 0};
    const int64_t at = batch * mask.strides[0] + head * mask.strides[1];
    if (mask.dtype == FA_BOOL) {
      return {kBool, static_cast<const uint8_t*>(mask.data) + at, mask.strides[2], mask.strides[3]};
    }
    return {kAdded, static_cast<const T*>(mask.data) + at, mask.strides[2], mask.strides[3]};
  }
};

enum class Sight { kAll, kSome, kNone };  // of a tile's pairs; kAll means that there is nothing to add either

// Fills tile[key][query], leading dimension kBlockM<T>, unless the answer is kAll. kNone: nobody sees anything.
template <class T>
inline Sight fill_mask_tile(const Band& band, const MaskView& mask, const TilePlace& at, T* tile) {
  using V = Vec<T>;
  constexpr int L = V::kLanes, M = kBlockM<T>;
  const bool inside = at.inside(band);
  if (inside && mask.kind == MaskView::kAbsent) return Sight::kAll;
  const V hide = V::set(-kInf<T>);
  const int64_t row = mask.row, column = mask.column;
  if (mask.kind == MaskView::kBool) {
    const uint8_t* from = static_cast<const uint8_t*>(mask.data) + at.q0 * row + at.k0 * column;
    if (row == 0) {
      for (int64_t j = 0; j < at.n; ++j) {
        const V x = from[j * column] != 0 ? V::zero() : hide;
        for (int64_t i = 0; i < at.m; i += L) x.store(tile + j * M + i);
      }
    } else {
      transpose_into<T>(
          at.m, at.n, tile, M, [&](int64_t i, int64_t j, int width) __attribute__((always_inline)) {
            const uint8_t* p = from + i * row + j * column;
            uint8_t bytes[L];
            if (column != 1) {
              for (int c = 0; c < width; ++c) bytes[c] = p[c * column];
              p = bytes;
            }
            return select(load_mask<T>(p, width), V::zero(), hide);
          });
    }
  } else if (mask.kind == MaskView::kAdded) {
    const T* from = static_cast<const T*>(mask.data) + at.q0 * row + at.k0 * column;
    if (row == 0) {
      for (int64_t j = 0; j < at.n; ++j) {
        const V x = V::set(from[j * column]);
        for (int64_t i = 0; i < at.m; i += L) x.store(tile + j * M + i);
      }
    } else {
      transpose_into<T>(
          at.m, at.n, tile, M, [&](int64_t i, int64_t j, int width) __attribute__((always_inline)) {
            return load_strided(from + i * row + j * column, column, width);
          });
    }
  }
  bool any_hidden = false, any_seen = false;
  alignas(64) T lane_index[L];
  for (int i = 0; i < L; ++i) lane_index[i] = static_cast<T>(i);
  for (int64_t j = 0; j < at.n; ++j) {
    // Query q0 + i sees this key where first_i <= i < end_i; small numbers, exact in T.
    const int64_t key = at.k0 + j, far = 2 * M;
    const V first_i = V::set(static_cast<T>(max_of(-far, min_of(far, key - band.end_shift + 1 - at.q0))));
    const V end_i = V::set(static_cast<T>(max_of(-far, min_of(far, key - band.first_shift + 1 - at.q0))));
    for (int64_t i = 0; i < at.m; i += L) {
      T* to = tile + j * M + i;
      V x = mask.kind == MaskView::kAbsent ? V::zero() : V::load(to);
      if (!inside) {
        const V query = V::load(lane_index) + V::set(static_cast<T>(i));
        x = select((query >= first_i) & (query < end_i), x, hide);
        x.store(to);
      }
      const Mask<T> hidden = x == hide, real = Mask<T>::first(static_cast<int>(min_of<int64_t>(L, at.m - i)));
      any_hidden |= any(hidden & real);
      any_seen |= any((!hidden) & real);
    }
  }
  if (!any_seen) return Sight::kNone;
  return any_hidden || mask.kind == MaskView::kAdded ? Sight::kSome : Sight::kAll;
}

// Whether this pair is hidden, from the tile that fill_mask_tile made.
template <class T>
FASTATTN_INLINE bool hidden(const T* tile, int64_t key, int64_t query) {
  return tile[key * kBlockM<T> + query] == -kInf<T>;
}

// --- products that stop at the bounds ------------------------------------------------------------------------------
// S^T[key][query] = sum_d x[key][d] * y[d][query] for the tile, but for what the bounds hide from a whole vector of
// queries: there S^T keeps what it held. x has the strides of key (or value), y and s the leading dimension kBlockM.
template <class T>
inline void multiply_scores(const Band& band, const TilePlace& t, const T* x, int64_t x_row, int64_t x_column,
                            int64_t d, const T* y, T* s) {
  constexpr int64_t L = Vec<T>::kLanes, M = kBlockM<T>;
  const int64_t n_vecs = ceil_div(t.m, L);
  TileProduct<T> product{d, x, x_row, x_column, y, M, s, M};
  if (t.inside(band)) return multiply<T, Start::kZero>(t.n, n_vecs, product);
  for (int64_t j = 0; j < t.n; j += kTileRows) {
    const int64_t n = min_of<int64_t>(kTileRows, t.n - j), key = t.k0 + j;
    const int64_t first_query = key - band.end_shift + 1 - t.q0, end_query = key + n - band.first_shift - t.q0;
    const int64_t first = max_of<int64_t>(0, first_query) / L;
    const int64_t end = min_of(n_vecs, ceil_div(max_of<int64_t>(0, end_query), L));
    product.a = x + j * x_row;
    product.b = y + first * L;
    product.c = s + j * M + first * L;
    multiply<T, Start::kZero>(n, end - first, product);
  }
}

// c[d][query] += sum_key x[key][d] * p[key][query]: every vector of queries takes the keys within its own bounds.
template <class T>
inline void multiply_weights(const Band& band, const TilePlace& t, const T* x, int64_t x_row, int64_t x_column,
                             int64_t d, const T* p, T* c) {
  constexpr int64_t L = Vec<T>::kLanes, M = kBlockM<T>;
  const int64_t n_vecs = ceil_div(t.m, L);
  auto add = [&](int64_t first, int64_t end, int64_t vec, int64_t vecs) __attribute__((always_inline)) {
    if (first >= end) return;
    multiply<T, Start::kAdd>(
        d, vecs, {end - first, x + first * x_row, x_column, x_row, p + first * M + vec * L, M, c + vec * L, M});
  };
  if (t.inside(band)) return add(0, t.n, 0, n_vecs);
  auto within = [&](int64_t key) { return max_of<int64_t>(0, min_of(key - t.k0, t.n)); };
  auto first_of = [&](int64_t vec) { return within(band.first_key(t.q0 + vec * L)); };
  auto end_of = [&](int64_t vec) { return within(band.end_key(t.q0 + min_of(vec * L + L, t.m) - 1)); };
  if (first_of(0) == first_of(n_vecs - 1)) {  // steps of the causal diagonal: fewer and fewer vectors
    for (int64_t vec = 0, from = first_of(0); vec < n_vecs; from = end_of(vec), ++vec) {
      add(from, end_of(vec), vec, n_vecs - vec);
    }
  } else {
    for (int64_t vec = 0; vec < n_vecs; ++vec) add(first_of(vec), end_of(vec), vec, 1);
  }
}

// c[key][n] += sum_query p[key][query] * y[query][n]: every few keys take the queries that see any of them. y and c
// have rows of n_vecs whole vectors.
template <class T>
inline void multiply_queries(const Band& band, const TilePlace& t, const T* p, const T* y, int64_t n_vecs, T* c) {
  constexpr int64_t L = Vec<T>::kLanes, M = kBlockM<T>;
  const int64_t row = n_vecs * L;
  if (t.inside(band)) return multiply<T, Start::kAdd>(t.n, n_vecs, {t.m, p, M, 1, y, row, c, row});
  for (int64_t j = 0; j < t.n; j += kTileRows) {
    const int64_t n = min_of<int64_t>(kTileRows, t.n - j), key = t.k0 + j;
    const int64_t first = max_of<int64_t>(0, key - band.end_shift + 1 - t.q0);
    const int64_t end = min_of(t.m, key + n - band.first_shift - t.q0);
    if (first >= end) continue;
    multiply<T, Start::kAdd>(n, n_vecs, {end - first, p + j * M + first, M, 1, y + first * row, row, c + j * row, row});
  }
}

// --- values that are not finite, where pairs are hidden -----------------------------------------------------------
// A hidden pair has weight 0, and 0 * NaN is NaN. So where pairs of a tile are hidden, rows that hold a NaN or an inf
// are multiplied from a copy with 0 in place of each, which leaves every other result as it is to the bit, and the
// products of the pairs that do see them are added one by one.

template <class T>
inline bool all_finite(const T* x, int64_t row, int64_t column, int64_t m, int64_t n) {
  using V = Vec<T>;
  V sum = V::zero();  // x - x is 0 where x is finite, else NaN
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; j += V::kLanes) {
      V v = load_strided(x + i * row + j * column, column, static_cast<int>(min_of<int64_t>(V::kLanes, n - j)));
      sum += v - v;
    }
  }
  return !any(is_nan(sum));
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
// that the mask tile shows.
template <class T>
inline void add_seen_products(const TilePlace& t, const T* x, int64_t row, int64_t column, int64_t n, const T* p,
                              const T* mask, T* c) {
  constexpr int64_t M = kBlockM<T>;
  for (int64_t j = 0; j < t.n; ++j) {
    for (int64_t d = 0; d < n; ++d) {
      const T v = x[j * row + d * column];
      if (is_finite(v)) continue;
      for (int64_t i = 0; i < t.m; ++i) {
        if (!hidden(mask, j, i)) c[d * M + i] += p[j * M + i] * v;
      }
    }
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
