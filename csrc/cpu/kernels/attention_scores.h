// What becomes of a tile of scores between the product and the mask, and how a pass that has lse makes weights again.
//
//   score = cap(scale * query . key) - slope * |position - key|        cap(x) = softcap * tanh(x / softcap)
//
// A position is the query's index, moved by causal_align as for the window. Both steps go over the tile once more,
// after the product; a call without them never enters. A visible NaN stays one, a hidden one is selected away by the
// mask as ever.
#pragma once

#include "attention_pairs.h"
#include "number.h"
#include "softmax_state.h"

namespace fastattn::cpu::FASTATTN_ISA {

// The logit that takes weight and has no value; -inf, which takes none, where there are no sinks.
template <class T>
inline T sink_of(const fa_attention_fwd_params& p, int64_t head) {
  return p.sinks.data == nullptr ? -kInf<T> : load_number<T>(p.sinks, head * p.sinks.strides[0]);
}

// --- softcap and ALiBi --------------------------------------------------------------------------------------------
template <class T>
struct ScoreTransform {
  using V = Vec<T>;
  static constexpr int64_t L = V::kLanes, M = kBlockM<T>;

  const fa_tensor& slopes;  // (B, H) or absent
  T cap;                    // 0 = none, and inf caps nothing
  int64_t shift;            // of a query's position against its index

  explicit ScoreTransform(const fa_attention_fwd_params& p)
      : slopes(p.alibi_slopes),
        cap(p.softcap < kInf<double> ? static_cast<T>(p.softcap) : T(0)),
        shift(p.causal_align == FA_ALIGN_BOTTOM_RIGHT ? p.key.shape[2] - p.query.shape[2] : 0) {}

  FASTATTN_INLINE bool active() const { return cap != 0 || slopes.data != nullptr; }
  T slope_of(int64_t batch, int64_t head) const {
    if (slopes.data == nullptr) return 0;
    return load_number<T>(slopes, batch * slopes.strides[0] + head * slopes.strides[1]);
  }

  // |position - key| of the vector of queries from `query` to key 0 of the tile, signed; a key further is 1 less.
  FASTATTN_INLINE V signed_distance(const TilePlace& t, int64_t query) const {
    alignas(64) T lane[L];
    for (int64_t i = 0; i < L; ++i) lane[i] = static_cast<T>(t.q0 + query + i + shift - t.k0);
    return V::load(lane);
  }

  // In place, the scores of one query and n keys, in whole vectors.
  void apply_row(int64_t query, int64_t k0, int64_t n, T slope, T* s) const {
    const V by = V::set(cap), inverse = V::set(cap != 0 ? 1 / cap : T(0)), steep = V::set(slope);
    alignas(64) T lane[L];
    for (int64_t i = 0; i < L; ++i) lane[i] = static_cast<T>(query + shift - k0 - i);
    const V distance = V::load(lane);
    for (int64_t j = 0; j < n; j += L) {
      V x = V::load(s + j);
      if (cap != 0) x = by * tanh(x * inverse);
      if (slopes.data != nullptr) x = fnma(steep, abs(distance - V::set(static_cast<T>(j))), x);
      x.store(s + j);
    }
  }

  // In place, for the keys within each vector's bounds. derivative: of the cap at each score, or nullptr; 0 where the
  // score is NaN, so that a hidden one leaves the 0 it meets a 0.
  void apply(const Band& band, const TilePlace& t, T slope, T* scores, T* derivative) const {
    const V by = V::set(cap), inverse = V::set(cap != 0 ? 1 / cap : T(0)), steep = V::set(slope), one = V::set(1);
    for (int64_t i = 0; i < t.m; i += L) {
      const KeyRange range = KeyRange::of<T>(band, t, i);
      T* s = scores + i;
      if (cap != 0) {
#pragma GCC unroll 2
        for (int64_t j = range.first; j < range.end; ++j) {
          const V u = tanh(V::load(s + j * M) * inverse);
          (by * u).store(s + j * M);
          if (derivative != nullptr) max(fnma(u, u, one), V::zero()).store(derivative + j * M + i);
        }
      }
      if (slopes.data != nullptr) {
        const V distance = signed_distance(t, i);
        for (int64_t j = range.first; j < range.end; ++j) {
          const V away = abs(distance - V::set(static_cast<T>(j)));
          fnma(steep, away, V::load(s + j * M)).store(s + j * M);
        }
      }
    }
  }

  // In place, the gradient of the capped scores times the derivative that apply() left.
  void apply_slope(const Band& band, const TilePlace& t, const T* derivative, T* gradient) const {
    for (int64_t i = 0; i < t.m; i += L) {
      const KeyRange range = KeyRange::of<T>(band, t, i);
      for (int64_t j = range.first; j < range.end; ++j) {
        const int64_t at = j * M + i;
        (V::load(gradient + at) * V::load(derivative + at)).store(gradient + at);
      }
    }
  }
};

// --- weights from lse ---------------------------------------------------------------------------------------------

// What a query head brings to its scores.
template <class T>
struct HeadView {
  MaskView mask;
  T slope, sink;
  int64_t first_row;     // of its weights, for dropout
  int64_t batch, place;  // of its weights' gradient; place -1: there is none
};

template <class S>
struct Scores {
  using T = compute_t<S>;
  using V = Vec<T>;
  static constexpr int64_t L = V::kLanes, M = kBlockM<T>, kPer = kStep<S>;

  const fa_attention_fwd_params& p;
  const Band band;
  const ScoreTransform<T> transform;
  const int64_t D, d_steps, group;

  explicit Scores(const fa_attention_fwd_params& params)
      : p(params),
        band(Band::of(params)),
        transform(params),
        D(params.query.shape[3]),
        d_steps(ceil_div(D, kPer)),
        group(params.key.shape[1] > 0 ? params.query.shape[1] / params.key.shape[1] : 0) {}

  // Of a block of queries, in scratch: Q^T as pack_query leaves it [d_steps][M]; S^T and the mask [keys][M]; [M];
  // 16-bit keys [keys][d_steps].
  struct Block {
    T *qt, *s, *mask, *lse, *lse_rest, *k_copy;
  };

  HeadView<T> view_of(int64_t batch, int64_t head) const {
    return {MaskView::of<S>(p.mask, batch, head), transform.slope_of(batch, head), sink_of<T>(p, head), 0, batch, -1};
  }

  // S^T of a tile that look() has seen something in. k: the tile's keys, in steps.
  FASTATTN_INLINE void tile(const Rows<T>& k, const HeadView<T>& view, const TilePlace& t, const T* qt, T* s,
                            T* derivative) const {
    multiply_scores<T, kPer>(band, t, k.data, k.row, k.column, d_steps, qt, s, static_cast<T>(p.scale));
    if (transform.active()) transform.apply(band, t, view.slope, s, derivative);
  }

  void pack_query(int64_t batch, int64_t head, int64_t q0, int64_t m, T* qt) const {
    transpose_steps(Rows<S>::of(p.query, batch, head).from(q0), m, D, static_cast<T>(p.scale), qt);
  }

  // lse of a block, +inf for a row that saw nothing: every weight is then exp(-inf). lse_rest by refine, of tiles of
  // `keys`, where one is large. qt is packed.
  void load_lse(int64_t batch, int64_t head, int64_t q0, int64_t m, const HeadView<T>& view, int64_t keys,
                const Block& w) const {
    const T* lse = at<T>(p.lse, batch, head) + q0 * p.lse.strides[2];
    for (int64_t i = 0; i < M; ++i) w.lse[i] = w.lse_rest[i] = 0;
    bool large = false;
    for (int64_t i = 0; i < m; ++i) {
      const T l = lse[i * p.lse.strides[2]];
      w.lse[i] = l == -kInf<T> ? kInf<T> : l;
      large |= l != -kInf<T> && (l > kLargeLse || l < -kLargeLse);
    }
    if (large) refine_lse(batch, head, q0, m, view, keys, w);
  }

  // A large lse is rounded so far from log(sum(exp(scores))) that the weights no longer sum to 1 (an ulp of 1e4 is
  // 1e-3 in f32; of the most negative number, which masks are made of, everything). For the rows that have one, sum the
  // weights and keep what is missing: lse_rest = log(sum(exp(scores - lse))).
  static constexpr T kLargeLse = 32;
  void refine_lse(int64_t batch, int64_t head, int64_t q0, int64_t m, const HeadView<T>& view, int64_t keys,
                  const Block& w) const {
    const Rows<S> rows = Rows<S>::of(p.key, batch, head / group);
    if (p.sinks.data != nullptr) {
      for (int64_t i = 0; i < M; i += L) exp_score(V::set(view.sink) - V::load(w.lse + i)).store(w.lse_rest + i);
    }
    const int64_t end = band.end_key(q0 + m - 1);
    for (int64_t k0 = band.first_key(q0); k0 < end; k0 += keys) {
      const TilePlace t{q0, m, k0, min_of<int64_t>(keys, end - k0)};
      const Sight sight = look<S>(band, view.mask, t, w.mask);
      if (sight == Sight::kNone) continue;
      tile(readable_steps(rows.from(k0), t.n, D, w.k_copy), view, t, w.qt, w.s, nullptr);
      for (int64_t i = 0; i < m; i += L) {
        const V lse = V::load(w.lse + i);
        V sum = V::zero();
        visit_scores<T>(
            band, t, sight, w.mask, i,
            KeyRange::of<T>(band, t, i), [&](int64_t j, auto show) __attribute__((always_inline)) {
              sum += show.value(exp_score(show.score(V::load(w.s + j * M + i)) - lse));
            });
        (V::load(w.lse_rest + i) + sum).store(w.lse_rest + i);
      }
    }
    for (int64_t i = 0; i < M; i += L) {
      const V sum = V::load(w.lse_rest + i), size = abs(V::load(w.lse + i));
      const Mask<T> refine = (size > V::set(kLargeLse)) & (size < V::set(kInf<T>)) & (sum > V::zero());
      select(refine, log(sum), V::zero()).store(w.lse_rest + i);
    }
  }

  // P^T in place of S^T, whole columns of keys: 0 where hidden.
  void weigh(const TilePlace& t, Sight sight, const Block& w) const {
    for (int64_t i = 0; i < t.m; i += L) {
      const V lse = V::load(w.lse + i), rest = V::load(w.lse_rest + i);
      const KeyRange range = KeyRange::of<T>(band, t, i);
      T* s = w.s + i;
      for (int64_t j = 0; j < range.first; ++j) V::zero().store(s + j * M);
      visit_scores<T>(
          band, t, sight, w.mask, i, range, [&](int64_t j, auto show) __attribute__((always_inline)) {
            show.value(exp_score(show.score(V::load(s + j * M)) - lse - rest)).store(s + j * M);
          });
      for (int64_t j = range.end; j < t.n; ++j) V::zero().store(s + j * M);
    }
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
