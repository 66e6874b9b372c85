// Which keys a query sees, in a tile of keys x queries: causal bounds, window and mask in one.
//
// The bounds skip whole tiles, and within a tile the keys that a vector of queries cannot see, by arithmetic. A mask
// becomes a tile of values to add to S^T, -inf where hidden (by the bounds too). Scores are selected, not multiplied,
// so NaN in a hidden key's score goes nowhere.
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

  template <class S>
  static FASTATTN_INLINE MaskView of(const fa_tensor& mask, int64_t batch, int64_t head) {
    if (mask.data == nullptr) return {kAbsent, nullptr, 0, 0};
    const int64_t at = batch * mask.strides[0] + head * mask.strides[1];
    if (mask.dtype == FA_BOOL) {
      return {kBool, static_cast<const uint8_t*>(mask.data) + at, mask.strides[2], mask.strides[3]};
    }
    return {kAdded, static_cast<const S*>(mask.data) + at, mask.strides[2], mask.strides[3]};
  }
};

// What there is to see in a tile. kBounds: only the bounds hide pairs. kMask: the tile of mask values says it all.
enum class Sight { kAll, kBounds, kMask, kNone };

// The keys of a tile that a vector of queries sees: all its queries [full_first, full_end), some [first, end).
struct KeyRange {
  int64_t first, full_first, full_end, end;

  template <class T>
  static FASTATTN_INLINE KeyRange of(const Band& band, const TilePlace& t, int64_t query) {
    const int64_t q0 = t.q0 + query, q1 = t.q0 + min_of<int64_t>(query + Vec<T>::kLanes, t.m) - 1;
    auto within = [&](int64_t key) { return max_of<int64_t>(0, min_of(key - t.k0, t.n)); };
    KeyRange r{within(band.first_key(q0)), within(band.first_key(q1)), within(band.end_key(q0)),
               within(band.end_key(q1))};
    r.full_first = min_of(r.full_first, r.end);
    r.full_end = max_of(r.full_first, r.full_end);
    return r;
  }
};

// The queries of a vector that see a key, within the bounds: lane i where first <= i < end. Moves on key by key.
template <class T>
struct LaneRange {
  Vec<T> lane, first, end;

  FASTATTN_INLINE LaneRange(const Band& band, const TilePlace& t, int64_t query, int64_t key) {
    constexpr int L = Vec<T>::kLanes;
    constexpr int64_t far = 4096;  // small enough to be exact in T after any step within a tile
    alignas(64) T index[L];
    for (int i = 0; i < L; ++i) index[i] = static_cast<T>(i);
    lane = Vec<T>::load(index);
    auto set = [&](int64_t shift) {
      return Vec<T>::set(static_cast<T>(max_of(-far, min_of(far, t.k0 + key - shift + 1 - t.q0 - query))));
    };
    first = set(band.end_shift);
    end = set(band.first_shift);
  }
  FASTATTN_INLINE Mask<T> seen() const { return (lane >= first) & (lane < end); }
  FASTATTN_INLINE void next_key() {
    first += Vec<T>::set(1);
    end += Vec<T>::set(1);
  }
};

// How one key's scores of a vector of queries are shown: score() hides with -inf, value() with 0.
template <class T>
struct ShowAll {
  FASTATTN_INLINE Vec<T> score(Vec<T> s) const { return s; }
  FASTATTN_INLINE Vec<T> value(Vec<T> x) const { return x; }
};
template <class T>
struct ShowSeen {
  Mask<T> seen;
  FASTATTN_INLINE Vec<T> score(Vec<T> s) const { return select(seen, s, Vec<T>::set(-kInf<T>)); }
  FASTATTN_INLINE Vec<T> value(Vec<T> x) const { return select(seen, x, Vec<T>::zero()); }
};
template <class T>
struct ShowMasked {
  Vec<T> mask;
  FASTATTN_INLINE Mask<T> hidden() const { return mask == Vec<T>::set(-kInf<T>); }
  FASTATTN_INLINE Vec<T> score(Vec<T> s) const { return select(hidden(), mask, s + mask); }
  FASTATTN_INLINE Vec<T> value(Vec<T> x) const { return select(hidden(), Vec<T>::zero(), x); }
};

// Calls f(key, show) for the keys that the vector of queries from `query` sees, in order.
template <class T, class F>
FASTATTN_INLINE void visit_scores(const Band& band, const TilePlace& t, Sight sight, const T* mask_tile, int64_t query,
                                  const KeyRange& range, F&& f) {
  if (sight == Sight::kMask) {
#pragma GCC unroll 2
    for (int64_t j = range.first; j < range.end; ++j) {
      f(j, ShowMasked<T>{Vec<T>::load(mask_tile + j * kBlockM<T> + query)});
    }
    return;
  }
  if (range.first < range.full_first) {
    LaneRange<T> lanes(band, t, query, range.first);
    for (int64_t j = range.first; j < range.full_first; ++j, lanes.next_key()) f(j, ShowSeen<T>{lanes.seen()});
  }
#pragma GCC unroll 4
  for (int64_t j = range.full_first; j < range.full_end; ++j) f(j, ShowAll<T>{});
  if (range.full_end < range.end) {
    LaneRange<T> lanes(band, t, query, range.full_end);
    for (int64_t j = range.full_end; j < range.end; ++j, lanes.next_key()) f(j, ShowSeen<T>{lanes.seen()});
  }
}

// What there is to see, and with a mask its tile[key][query], leading dimension kBlockM<T>.
template <class S>
inline Sight look(const Band& band, const MaskView& mask, const TilePlace& t, compute_t<S>* tile) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int L = V::kLanes, M = kBlockM<T>;
  const bool inside = t.inside(band);
  if (mask.kind == MaskView::kAbsent) return inside ? Sight::kAll : t.outside(band) ? Sight::kNone : Sight::kBounds;
  const V hide = V::set(-kInf<T>);
  const int64_t row = mask.row, column = mask.column;
  if (mask.kind == MaskView::kBool) {
    const uint8_t* from = static_cast<const uint8_t*>(mask.data) + t.q0 * row + t.k0 * column;
    if (row == 0) {
      for (int64_t j = 0; j < t.n; ++j) {
        const V x = from[j * column] != 0 ? V::zero() : hide;
        for (int64_t i = 0; i < t.m; i += L) x.store(tile + j * M + i);
      }
    } else {
      transpose_into<T>(
          t.m, t.n, tile, M, [&](int64_t i, int64_t j, int width) __attribute__((always_inline)) {
            const uint8_t* p = from + i * row + j * column;
            uint8_t bytes[L];
            if (column != 1) {
              for (int c = 0; c < width; ++c) bytes[c] = p[c * column];
              p = bytes;
            }
            return select(load_mask<T>(p, width), V::zero(), hide);
          });
    }
  } else {
    const S* from = static_cast<const S*>(mask.data) + t.q0 * row + t.k0 * column;
    if (row == 0) {
      for (int64_t j = 0; j < t.n; ++j) {
        const V x = V::set(widen(from[j * column]));
        for (int64_t i = 0; i < t.m; i += L) x.store(tile + j * M + i);
      }
    } else {
      transpose_into<T>(
          t.m, t.n, tile, M, [&](int64_t i, int64_t j, int width) __attribute__((always_inline)) {
            return load_strided(from + i * row + j * column, column, width);
          });
    }
  }
  bool any_hidden = !inside, any_seen = false;
  for (int64_t i = 0; i < t.m; i += L) {
    const Mask<T> real = Mask<T>::first(static_cast<int>(min_of<int64_t>(L, t.m - i)));
    Mask<T> some_hidden = Mask<T>::first(0), some_seen = Mask<T>::first(0);
    LaneRange<T> lanes(band, t, i, 0);
    for (int64_t j = 0; j < t.n; ++j, lanes.next_key()) {
      T* to = tile + j * M + i;
      V x = V::load(to);
      if (!inside) {
        x = select(lanes.seen(), x, hide);
        x.store(to);
      }
      const Mask<T> hidden = x == hide;
      some_hidden = some_hidden | hidden;
      some_seen = some_seen | !hidden;
    }
    any_hidden |= any(some_hidden & real);
    any_seen |= any(some_seen & real);
  }
  if (!any_seen) return Sight::kNone;
  return any_hidden || mask.kind == MaskView::kAdded ? Sight::kMask : Sight::kAll;
}

// Whether one pair is hidden.
template <class T>
FASTATTN_INLINE bool hidden(const Band& band, const TilePlace& t, Sight sight, const T* mask_tile, int64_t key,
                            int64_t query) {
  if (sight == Sight::kMask) return mask_tile[key * kBlockM<T> + query] == -kInf<T>;
  return t.k0 + key < band.first_key(t.q0 + query) || t.k0 + key >= band.end_key(t.q0 + query);
}

}  // namespace fastattn::cpu::FASTATTN_ISA
