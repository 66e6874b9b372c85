// The softmax weights themselves: P = exp(score - lse) by tile, for the heads and rows that are asked for, whole, as
// their mean over heads, or the largest K of each row; and the gradient that comes in where they went out.
//
// A pass of its own behind the forward: lse is final, and what the forward computes stays as it is to the bit. An item
// is a block of queries of one head, or of all chosen heads where their mean is wanted; it owns what it writes. Beside
// the result only a tile is held. Work: 2 D flops a pair.
#pragma once

#include "attention_scores.h"

namespace fastattn::cpu::FASTATTN_ISA {

// Which weights: places along the axes of `weights`, against heads and queries.
struct ChosenWeights {
  const fa_attention_fwd_params& p;
  int64_t heads, rows;  // chosen; those of `weights`, but for a mean's one head

  explicit ChosenWeights(const fa_attention_fwd_params& params)
      : p(params),
        heads(params.weights_heads.data != nullptr ? params.weights_heads.shape[0] : params.query.shape[1]),
        rows(params.weights_rows.data != nullptr ? params.weights_rows.shape[0] : params.query.shape[2]) {}

  FASTATTN_INLINE bool all_rows() const { return p.weights_rows.data == nullptr; }
  FASTATTN_INLINE bool mean() const { return p.weights_mean != 0; }
  FASTATTN_INLINE bool largest() const { return p.weights_keys.data != nullptr; }
  int64_t head(int64_t place) const {
    return p.weights_heads.data == nullptr ? place : data<int64_t>(p.weights_heads)[place * p.weights_heads.strides[0]];
  }
  int64_t row(int64_t place) const {
    return all_rows() ? place : data<int64_t>(p.weights_rows)[place * p.weights_rows.strides[0]];
  }
  // Where the weights of a head lie along their axis of heads; -1: nowhere.
  int64_t place_of(int64_t wanted) const {
    for (int64_t i = 0; i < heads; ++i) {
      if (head(i) == wanted) return mean() ? 0 : i;
    }
    return -1;
  }
  // f(place, i) for the chosen rows of the block of queries [q0, q0 + m), i within the block.
  template <class F>
  void visit_rows(int64_t q0, int64_t m, F&& f) const {
    if (all_rows()) {
      for (int64_t i = 0; i < m; ++i) f(q0 + i, i);
      return;
    }
    for (int64_t place = 0; place < rows; ++place) {
      const int64_t i = row(place) - q0;
      if (i >= 0 && i < m) f(place, i);
    }
  }
  bool any_row(int64_t q0, int64_t m) const {
    bool any = false;
    visit_rows(q0, m, [&](int64_t, int64_t) { any = true; });
    return any;
  }
};

template <class S>
struct WeightsPass {
  using T = compute_t<S>;
  using V = Vec<T>;
  static constexpr int64_t L = V::kLanes, M = kBlockM<T>, kKeys = 64;

  const fa_attention_fwd_params& p;
  const Scores<S> scores;
  const ChosenWeights chosen;
  const QueryBlocks<T> blocks;
  const int64_t B, Lk, K;  // K: keys of a row of `weights`

  explicit WeightsPass(const fa_attention_fwd_params& params)
      : p(params),
        scores(params),
        chosen(params),
        blocks(params.query.shape[2]),
        B(params.query.shape[0]),
        Lk(params.key.shape[2]),
        K(params.weights.shape[3]) {}

  // Heads of one item.
  int64_t item_heads() const { return chosen.mean() ? chosen.heads : 1; }

  struct Scratch : Scores<S>::Block {
    T* sum;         // [kKeys][M], of a mean
    T* lses;        // [heads of an item][2][M]: lse and lse_rest
    T* best;        // [M][K], the largest so far, falling
    T* least;       // [M], the last of them, -inf while there are fewer
    int64_t* keys;  // [M][K], theirs
    size_t bytes;
    Scratch(const WeightsPass& f, char* base) {
      Carver carver{base};
      this->qt = carver.take<T>(f.scores.D * M);
      this->s = carver.take<T>(kKeys * M);
      this->mask = carver.take<T>(kKeys * M);
      this->lse = carver.take<T>(M);
      this->lse_rest = carver.take<T>(M);
      this->k_copy = carver.take<T>(kKeys * f.scores.D);
      sum = carver.take<T>(f.chosen.mean() ? kKeys * M : 0);
      lses = carver.take<T>(f.item_heads() * 2 * M);
      best = carver.take<T>(f.chosen.largest() ? M * f.K : 0);
      least = carver.take<T>(M);
      keys = carver.take<int64_t>(f.chosen.largest() ? M * f.K : 0);
      bytes = carver.bytes;
    }
  };

  // P^T of a tile into w.s.
  void weigh(const Rows<S>& keys, const HeadView<T>& view, const TilePlace& t, const Scratch& w) const {
    const Sight sight = look<S>(scores.band, view.mask, t, w.mask);
    if (sight == Sight::kNone) {
      for (int64_t j = 0; j < t.n; ++j) {
        for (int64_t i = 0; i < t.m; i += L) V::zero().store(w.s + j * M + i);
      }
      return;
    }
    scores.tile(readable_steps(keys.from(t.k0), t.n, scores.D, w.k_copy), view, t, w.qt, w.s, nullptr);
    scores.weigh(t, sight, w);
  }

  // Takes a weight into the K largest of row i; of equal ones the first key stays. A NaN counts as large.
  void insert(int64_t i, int64_t key, T x, const Scratch& w) const {
    T* best = w.best + i * K;
    int64_t* keys = w.keys + i * K;
    int64_t at = min_of(key, K);
    if (at == K && x <= best[--at]) return;
    for (; at > 0 && !(x <= best[at - 1]); --at) {
      best[at] = best[at - 1];
      keys[at] = keys[at - 1];
    }
    best[at] = x;
    keys[at] = key;
    if (key >= K - 1) w.least[i] = best[K - 1];
  }
  // All rows of a tile: most vectors of weights hold none that is large enough.
  void insert_tile(const TilePlace& t, const T* tile, T factor, const Scratch& w) const {
    for (int64_t i = 0; i < t.m; i += L) {
      for (int64_t j = 0; j < t.n; ++j) {
        const V x = V::load(tile + j * M + i) * V::set(factor);
        if (!any(!(x <= V::load(w.least + i)))) continue;
        alignas(64) T lanes[L];
        x.store(lanes);
        for (int64_t r = 0; r < min_of(L, t.m - i); ++r) insert(i + r, t.k0 + j, lanes[r], w);
      }
    }
  }

  // A finished tile to where it belongs.
  void emit(int64_t batch, int64_t place, const TilePlace& t, const T* tile, T factor, const Scratch& w) const {
    const int64_t row = p.weights.strides[2];
    S* to = at<S>(p.weights, batch, place) + t.k0;
    if (chosen.largest()) {
      insert_tile(t, tile, factor, w);
    } else if (chosen.all_rows()) {
      transpose_out(
          tile, t.m, t.n, to + t.q0 * row, row, [&](int64_t) __attribute__((always_inline)) { return V::set(factor); });
    } else {
      chosen.visit_rows(t.q0, t.m, [&](int64_t r, int64_t i) {
        for (int64_t j = 0; j < t.n; ++j) to[r * row + j] = narrow<S>(tile[j * M + i] * factor);
      });
    }
  }

  void run_item(int64_t batch, int64_t place, int64_t q0, int64_t m, const Scratch& w) const {
    if (!chosen.any_row(q0, m)) return;
    const int64_t first = chosen.mean() ? 0 : place, n = item_heads();
    auto load = [&](int64_t h, bool again) {
      const int64_t head = chosen.head(first + h);
      const HeadView<T> view = scores.view_of(batch, head);
      T* kept = w.lses + h * 2 * M;
      if (!again || n > 1) scores.pack_query(batch, head, q0, m, w.qt);
      if (!again) scores.load_lse(batch, head, q0, m, view, kKeys, w);
      for (int64_t i = 0; n > 1 && i < M; i += L) {
        T *from = again ? kept : w.lse, *from_rest = again ? kept + M : w.lse_rest;
        T *to = again ? w.lse : kept, *to_rest = again ? w.lse_rest : kept + M;
        V::load(from + i).store(to + i);
        V::load(from_rest + i).store(to_rest + i);
      }
      return view;
    };
    for (int64_t h = 0; h < n; ++h) load(h, false);
    for (int64_t i = 0; i < M; ++i) w.least[i] = -kInf<T>;
    for (int64_t k0 = 0; k0 < Lk; k0 += kKeys) {
      const TilePlace t{q0, m, k0, min_of<int64_t>(kKeys, Lk - k0)};
      for (int64_t h = 0; h < n; ++h) {
        const HeadView<T> view = load(h, true);
        weigh(Rows<S>::of(p.key, batch, chosen.head(first + h) / scores.group), view, t, w);
        for (int64_t j = 0; chosen.mean() && j < t.n; ++j) {
          for (int64_t i = 0; i < m; i += L) {
            const V x = V::load(w.s + j * M + i);
            T* to = w.sum + j * M + i;
            (h == 0 ? x : V::load(to) + x).store(to);
          }
        }
      }
      if (chosen.mean()) {
        emit(batch, place, t, w.sum, 1 / static_cast<T>(n), w);
      } else {
        emit(batch, place, t, w.s, T(1), w);
      }
    }
    if (!chosen.largest()) return;
    chosen.visit_rows(q0, m, [&](int64_t r, int64_t i) {
      S* to = at<S>(p.weights, batch, place) + r * p.weights.strides[2];
      int64_t* to_keys = at<int64_t>(p.weights_keys, batch, place) + r * p.weights_keys.strides[2];
      for (int64_t k = 0; k < K; ++k) {
        to[k] = narrow<S>(w.best[i * K + k]);
        to_keys[k] = w.keys[i * K + k];
      }
    });
  }

  double flops() const {  // of all rows
    return 2.0 * static_cast<double>(scores.D * B * chosen.heads) * visible_pairs(scores.band, p.query.shape[2]);
  }
  size_t workspace(int64_t threads) const { return Scratch(*this, nullptr).bytes * static_cast<size_t>(threads); }

  void run(fa_launch& launch) const {
    const size_t per_thread = Scratch(*this, nullptr).bytes;
    const int64_t places = chosen.mean() ? min_of<int64_t>(1, chosen.heads) : chosen.heads,
                  per_batch = places * blocks.count();
    parallel_for(launch, B * per_batch, [&](int64_t item, int worker) {
      const Scratch w(*this, static_cast<char*>(launch.workspace) + static_cast<size_t>(worker) * per_thread);
      const int64_t block = item % blocks.count();
      run_item(item / per_batch, item % per_batch / blocks.count(), blocks.begin(block), blocks.rows(block), w);
    });
  }
};

// dW of the chosen weights, as the backward takes it in: dP gains dW, and delta = rowsum(P dP) gains rowsum(P dW).
template <class S>
struct WeightsGradient {
  using T = compute_t<S>;
  using V = Vec<T>;
  static constexpr int64_t L = V::kLanes, M = kBlockM<T>;

  const fa_tensor& dweights;  // (B, places, rows, S or K) or absent
  const ChosenWeights chosen;

  explicit WeightsGradient(const fa_attention_bwd_params& g) : dweights(g.dweights), chosen(g.fwd) {}
  bool active() const { return dweights.data != nullptr; }

  // dW^T of a tile of a head, whose place is one of the chosen.
  void fill(int64_t batch, int64_t place, const TilePlace& t, T* tile) const {
    const S* from = at<S>(dweights, batch, place);
    const int64_t row = dweights.strides[2], column = dweights.strides[3];
    const T factor = chosen.mean() ? 1 / static_cast<T>(chosen.heads) : T(1);
    if (chosen.all_rows() && !chosen.largest()) {
      transpose_rows(
          from + t.q0 * row + t.k0 * column, row, column, t.m, t.n, tile,
          M, [&](V x) __attribute__((always_inline)) { return x * V::set(factor); });
      return;
    }
    for (int64_t i = 0; i < t.n * M; i += L) V::zero().store(tile + i);
    chosen.visit_rows(t.q0, t.m, [&](int64_t r, int64_t i) {
      if (!chosen.largest()) {
        for (int64_t j = 0; j < t.n; ++j) tile[j * M + i] = widen(from[r * row + (t.k0 + j) * column]) * factor;
        return;
      }
      const fa_tensor& index = chosen.p.weights_keys;
      const int64_t* keys = at<int64_t>(index, batch, place) + r * index.strides[2];
      for (int64_t k = 0; k < index.shape[3]; ++k) {
        const int64_t j = keys[k * index.strides[3]] - t.k0;
        if (j >= 0 && j < t.n) tile[j * M + i] = widen(from[r * row + k * column]) * factor;
      }
    });
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
