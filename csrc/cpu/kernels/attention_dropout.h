// Dropout of attention's weights: which of a tile are kept.
//
// The weight of batch b, head h, query i and key j is element ((b H + h) T + i) S + j of the Philox stream, so the mask
// does not depend on tiles, on the layout in memory, or on what else is in the batch but for b itself. It is kept and
// multiplied by 1 / (1 - p) where its uniform number is at least p, as in dropout.
//
// A block of Philox is four neighbouring keys of one query; the tile has queries along its rows. So words are made row
// by row, turned into factors, and transposed as they are stored: 2.5 vector operations of Philox and 1 of the rest a
// weight, against 2 D / lanes for its products.
#pragma once

#include "attention_mask.h"
#include "cpu/simd/philox.h"

namespace fastattn::cpu::FASTATTN_ISA {

// keep(x, key): x, or x times its factor, for one vector of queries.
template <class T>
struct KeepAll {
  FASTATTN_INLINE Vec<T> operator()(Vec<T> x, int64_t) const { return x; }
};
template <class T>
struct KeepSome {
  const T* factors;
  FASTATTN_INLINE Vec<T> operator()(Vec<T> x, int64_t key) const {
    return x * Vec<T>::load(factors + key * kBlockM<T>);
  }
};

template <class T>
struct WeightDropout {
  uint64_t seed, offset;
  uint32_t threshold;
  T factor;  // of a weight that is kept
  bool active;
  int64_t num_heads, seqlen_q, seqlen_k;

  explicit WeightDropout(const fa_attention_fwd_params& p)
      : seed(p.seed),
        offset(p.offset),
        threshold(philox_threshold(p.dropout_p)),
        factor(p.dropout_p < 1 ? static_cast<T>(1 / (1 - p.dropout_p)) : T(0)),
        active(p.dropout_p > 0),
        num_heads(p.query.shape[1]),
        seqlen_q(p.query.shape[2]),
        seqlen_k(p.key.shape[2]) {}

  // Rows of weights before those of a head.
  FASTATTN_INLINE int64_t first_row(int64_t batch, int64_t head) const { return (batch * num_heads + head) * seqlen_q; }

  // Calls f(keep) for the vector of queries whose factors, as fill left them, begin at `factors`.
  template <class F>
  FASTATTN_INLINE void visit(const T* factors, F&& f) const {
    if (active) {
      f(KeepSome<T>{factors});
    } else {
      f(KeepAll<T>{});
    }
  }

  // to[j] = factor or 0, the keys [k0, k0 + n) of a query of the head whose rows begin at first_row; n <= kKeys.
  template <int64_t kKeys>
  inline void fill_row(int64_t first_row, int64_t query, int64_t k0, int64_t n, T* to) const {
    alignas(64) uint32_t words[kKeys + 4 * (kPhiloxStep + 1)];
    const int64_t element = (first_row + query) * seqlen_k + k0, skip = element % 4;
    philox_blocks(seed, offset, static_cast<uint64_t>(element / 4), ceil_div(skip + n, 4), words);
    for (int64_t j = 0; j < n; ++j) to[j] = philox_fraction(words[skip + j]) >= threshold ? factor : T(0);
  }

  // to[key][query] = factor or 0, leading dimension kBlockM, for a tile of the head.
  template <int64_t kKeys>
  inline void fill(int64_t first_row, const TilePlace& t, T* to) const {
    constexpr int64_t L = Vec<T>::kLanes, M = kBlockM<T>;
    alignas(64) T rows[L][kKeys];
    for (int64_t i = 0; i < t.m; i += L) {
      const int64_t height = min_of(L, t.m - i);
      for (int64_t r = 0; r < height; ++r) fill_row<kKeys>(first_row, t.q0 + i + r, t.k0, t.n, rows[r]);
      transpose_into<T>(
          height, t.n, to + i, M, [&](int64_t r, int64_t j, int width) __attribute__((always_inline)) {
            return width == L ? Vec<T>::load(&rows[r][j]) : Vec<T>::load(&rows[r][j], width);
          });
    }
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
