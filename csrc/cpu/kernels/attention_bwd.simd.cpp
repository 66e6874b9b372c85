// attention, backward: from query, key, value, out, lse, dout (and dlse, dweights) to the gradients of all inputs
//
//   P = exp(scores - lse)      delta = rowsum(dO * O) + rowsum(P * dW) - dlse
//   dS = P * (Z * dO V^T + dW - delta)           dmask = dS, summed over the mask's broadcast axes
//   dQ = scale * dC K      dK = scale * dC^T Q     dV = (Z * P)^T dO       dC = dS, times the softcap's derivative
//
// Z: 1, or with dropout 1 / (1 - p) where a weight is kept and else 0 (attention_dropout.h).
//
// One item is a split of the keys of one key/value head. It holds dK and dV of its split in its thread's scratch (they,
// K and V stay in L2) and goes over the query heads of its group, then over blocks of up to kBlockM queries:
//
//   pack Q^T, Q, dO^T, dO, lse, delta of the block
//   per tile of kBlockN keys: S^T = K Q^T, dP^T = V dO^T, P^T and dS^T in place; dV += P^T dO, dK += dS^T Q,
//   dQ^T += K^T dS^T; slopes gain sum(dS * distance)
//
// dQ of a block is a sum over splits: each leaves its part in the workspace, and parts are added in the order of splits
// into dquery. Items go in waves, so that the parts stay few; the order of the sum does not depend on the wave. With
// one split dQ goes out at once. dmask and dsinks, where wanted, are passes of their own, whose items own what they
// write; rowsum(P * dW) is one in front.
//
// Work: 10 D flops a pair (five products), FMA-bound as in the forward. Where the instruction set multiplies pairs of
// bf16, steps of all five are pairs (attention_pairs.h): P and dS are rounded to bf16 for the last three.
// Source: Dao, "FlashAttention-2" (2023), algorithm 2.
#include "attention_dheads.h"
#include "attention_dmask.h"
#include "attention_dropout.h"
#include "attention_dweights.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int kBlockN = 64;
constexpr size_t kWaveBytes = size_t(16) << 20;  // parts of dQ in flight, unless the threads need more

template <class S>
struct Backward {
  using T = compute_t<S>;
  using V = Vec<T>;
  static constexpr int64_t L = V::kLanes, M = kBlockM<T>;
  static constexpr int64_t kPer = kStep<S>;  // numbers in a step of a product

  const fa_attention_bwd_params& g;
  const fa_attention_fwd_params& p;
  const Scores<S> scores;
  const WeightsGradient<S> dweights;
  const Band band;
  const int64_t B, H, Hkv, Lq, Lk, D, Dv;
  const int64_t group;              // query heads of a key/value head
  const int64_t d_vecs, dv_vecs;    // a row of D, Dv in whole vectors
  const int64_t d_steps, dv_steps;  // in steps
  const QueryBlocks<T> blocks;
  const Balanced splits;
  const WeightDropout<T> dropout;
  const T* weights_delta = nullptr;  // rowsum(P * dW) [B][H][Lq], once WeightsDelta has run

  // Keys of a split: K, V, dK and dV of it in half of an L2; fewer where the heads are too few to keep threads busy. At
  // least a tile.
  static int64_t split_keys(const fa_attention_bwd_params& g) {
    const int64_t num_kv_heads = g.fwd.key.shape[1], seqlen_k = g.fwd.key.shape[2];
    const int64_t row_bytes = (g.fwd.key.shape[3] + g.fwd.value.shape[3]) * static_cast<int64_t>(sizeof(T));
    const int64_t in_cache = (int64_t(256) << 10) / row_bytes;
    const int64_t for_threads = ceil_div(seqlen_k * num_kv_heads, 4);
    return round_up(max_of<int64_t>(1, min_of(in_cache, for_threads)), kBlockN);
  }

  explicit Backward(const fa_attention_bwd_params& params)
      : g(params),
        p(params.fwd),
        scores(params.fwd),
        dweights(params),
        band(scores.band),
        B(p.query.shape[0]),
        H(p.query.shape[1]),
        Hkv(p.key.shape[1]),
        Lq(p.query.shape[2]),
        Lk(p.key.shape[2]),
        D(p.query.shape[3]),
        Dv(p.value.shape[3]),
        group(Hkv > 0 ? H / Hkv : 0),
        d_vecs(ceil_div(D, L)),
        dv_vecs(ceil_div(Dv, L)),
        d_steps(ceil_div(D, kPer)),
        dv_steps(ceil_div(Dv, kPer)),
        blocks(Lq),
        splits(Lk, split_keys(params)),
        dropout(params.fwd) {}

  // Per thread. With base = nullptr only bytes, what is needed, is meant.
  struct Scratch : Scores<S>::Block {  // s: S^T, then P^T
    T* dot;                            // dO^T[dv_steps][M]
    T *q, *dout;                       // Q[M / kPer][D], dO[M / kPer][Dv], rows in whole vectors, in steps across them
    T *q_copy, *dout_copy;             // the same with 0 for what is not finite
    T *q_rows, *dout_rows;             // where that is so, in numbers
    T* delta;                          // [M]
    T* ds;                             // dP^T then dS^T: [kBlockN][M]
    T *p_queries, *ds_queries;         // P^T and dS^T in steps across queries [kBlockN][M / kPer]
    T* ds_keys;                        // dS^T in steps across keys [kBlockN / kPer][M]
    T* keep;                           // Z^T [kBlockN][M], with dropout
    T* dcap;                           // the softcap's derivative [kBlockN][M], with one
    T* dw;                             // dW^T [kBlockN][M], with one
    T *k, *v;                          // [split][d_steps], [split][dv_steps], where copies_keys()
    T *k_keys, *k_keys_copy;  // K in steps across keys [split / 2][D]; of a tile, with 0 for what is not finite
    T* dq;                    // dQ^T[D][M]
    T *dk, *dv;               // [split][D], [split][Dv], rows in whole vectors
    bool q_finite, dout_finite;
    size_t bytes;

    Scratch(const Backward& f, char* base) {
      Carver carver{base};
      const int64_t d_row = f.d_vecs * L, dv_row = f.dv_vecs * L;
      const int64_t keys = f.splits.parts > 0 ? f.splits.count(0) : 0;
      auto if_pairs = [&](int64_t n) { return kPer == 2 ? carver.take<T>(n) : nullptr; };
      this->qt = carver.take<T>(f.d_steps * M);  // what every tile reads lies together
      this->s = carver.take<T>(kBlockN * M);
      dot = carver.take<T>(f.dv_steps * M);
      ds = carver.take<T>(kBlockN * M);
      p_queries = kPer == 1 ? this->s : carver.take<T>(kBlockN * M / kPer);
      ds_queries = kPer == 1 ? ds : carver.take<T>(kBlockN * M / kPer);
      ds_keys = kPer == 1 ? ds : carver.take<T>(kBlockN / kPer * M);
      dq = carver.take<T>(max_of<int64_t>(f.D, kBlockN) * M);  // dmask's sums too
      q = carver.take<T>(M / kPer * d_row);
      dout = carver.take<T>(M / kPer * dv_row);
      this->lse = carver.take<T>(M);
      this->lse_rest = carver.take<T>(M);
      delta = carver.take<T>(M);
      dk = carver.take<T>(keys * d_row);
      dv = carver.take<T>(keys * dv_row);
      this->mask = carver.take<T>(kBlockN * M);
      keep = carver.take<T>(f.dropout.active ? kBlockN * M : 0);
      dcap = carver.take<T>(f.scores.transform.cap != 0 ? kBlockN * M : 0);
      dw = carver.take<T>(f.dweights.active() ? kBlockN * M : 0);
      q_copy = carver.take<T>(M / kPer * d_row);
      dout_copy = carver.take<T>(M / kPer * dv_row);
      q_rows = kPer == 1 ? q : carver.take<T>(M * d_row);
      dout_rows = kPer == 1 ? dout : carver.take<T>(M * dv_row);
      this->k_copy = carver.take<T>(kBlockN * f.D);
      k = f.copies_keys() ? carver.take<T>(keys * f.d_steps) : nullptr;
      v = f.copies_keys() ? carver.take<T>(keys * f.dv_steps) : nullptr;
      k_keys = if_pairs(ceil_div(keys, 2) * f.D);
      k_keys_copy = if_pairs(kBlockN / 2 * f.D);
      q_finite = dout_finite = true;
      bytes = carver.bytes;
    }
  };

  bool pack_checked(const Rows<S>& x, int64_t m, int64_t n, T* to, T* copy, T* rows) const {
    const int64_t row = round_up(n, L);
    if constexpr (kPer == 2) {
      weave_rows(x, m, n, to, row);
    } else {
      pack_rows(x, m, n, to);
    }
    if (all_finite(x.data, x.row, x.column, m, n)) return true;
    if constexpr (kPer == 2) {
      pack_rows(x, m, n, rows);
      weave_finite(rows, m, row, copy);
    } else {
      copy_finite(to, row, 1, m, row, copy, row);
    }
    return false;
  }

  // What a block of queries brings to every tile.
  void pack_block(int64_t batch, int64_t head, int64_t q0, int64_t m, const HeadView<T>& view, Scratch& w) const {
    const Rows<S> q = Rows<S>::of(p.query, batch, head).from(q0), dout = Rows<S>::of(g.dout, batch, head).from(q0),
                  out = Rows<S>::of(p.out, batch, head).from(q0);
    const T* lse = at<T>(p.lse, batch, head) + q0 * p.lse.strides[2];
    scores.pack_query(batch, head, q0, m, w.qt);
    transpose_steps(dout, m, Dv, T(1), w.dot);
    w.q_finite = pack_checked(q, m, D, w.q, w.q_copy, w.q_rows);
    w.dout_finite = pack_checked(dout, m, Dv, w.dout, w.dout_copy, w.dout_rows);
    for (int64_t i = 0; i < M; ++i) w.delta[i] = 0;
    for (int64_t i = 0; i < m; ++i) {
      if (lse[i * p.lse.strides[2]] == -kInf<T>) continue;  // saw nothing: every gradient is 0
      V sum = V::zero();
      for (int64_t j = 0; j < Dv; j += L) {
        const int width = static_cast<int>(min_of(L, Dv - j));
        sum = fma(load_strided(dout.data + i * dout.row + j * dout.column, dout.column, width),
                  load_strided(out.data + i * out.row + j * out.column, out.column, width), sum);
      }
      w.delta[i] = reduce_add(sum);
      // A row that only its sink takes has out 0, and a dout that may be anything.
      if (p.sinks.data != nullptr && w.delta[i] != w.delta[i] && is_zero(out.from(i))) w.delta[i] = 0;
      if (weights_delta != nullptr) w.delta[i] = w.delta[i] + weights_delta[(batch * H + head) * Lq + q0 + i];
      if (g.dlse.data != nullptr) {
        w.delta[i] = w.delta[i] - at<T>(g.dlse, batch, head)[(q0 + i) * g.dlse.strides[2]];
      }
    }
    scores.load_lse(batch, head, q0, m, view, kBlockN, w);
  }
  bool is_zero(const Rows<S>& row) const {
    bool zero = true;
    for (int64_t j = 0; j < Dv; ++j) zero &= widen(row.data[j * row.column]) == 0;
    return zero;
  }

  HeadView<T> view_of(int64_t batch, int64_t head) const {
    HeadView<T> view = scores.view_of(batch, head);
    view.first_row = dropout.first_row(batch, head);
    view.batch = batch;
    view.place = dweights.active() ? dweights.chosen.place_of(head) : -1;
    return view;
  }

  // (Z * P)^T into w.s and dS^T into w.ds. False where the tile is hidden altogether. k, v: rows of the tile's keys, in
  // steps.
  bool tile_gradient(const Rows<T>& k, const Rows<T>& v, const HeadView<T>& view, const TilePlace& t, const Scratch& w,
                     Sight& sight) const {
    sight = look<S>(band, view.mask, t, w.mask);
    if (sight == Sight::kNone) return false;
    scores.tile(k, view, t, w.qt, w.s, w.dcap);
    multiply_scores<T, kPer>(band, t, v.data, v.row, v.column, dv_steps, w.dot, w.ds);
    if (dropout.active) dropout.template fill<kBlockN>(view.first_row, t, w.keep);
    const bool weighed = view.place >= 0;
    if (weighed) dweights.fill(view.batch, view.place, t, w.dw);
    for (int64_t i = 0; i < t.m; i += L) {
      const V lse = V::load(w.lse + i), rest = V::load(w.lse_rest + i), delta = V::load(w.delta + i);
      T *s = w.s + i, *ds = w.ds + i;
      const KeyRange range = KeyRange::of<T>(band, t, i);
      // keep: of P; keep_gradient: of what stands in w.ds.
      auto finish = [&](auto keep, auto keep_gradient) __attribute__((always_inline)) {
        visit_scores<T>(
            band, t, sight, w.mask, i, range, [&](int64_t j, auto show) __attribute__((always_inline)) {
              const V weight = show.value(exp_score(show.score(V::load(s + j * M)) - lse - rest));
              keep(weight, j).store(s + j * M);
              show.value(weight * (keep_gradient(V::load(ds + j * M), j) - delta)).store(ds + j * M);
            });
      };
      dropout.visit(
          w.keep + i, [&](auto keep) __attribute__((always_inline)) {
            if (!weighed) return finish(keep, keep);
            for (int64_t j = range.first; j < range.end; ++j) {  // the weights went out before dropout
              (keep(V::load(ds + j * M), j) + V::load(w.dw + i + j * M)).store(ds + j * M);
            }
            finish(keep, KeepAll<T>{});
          });
      // multiply_queries takes several keys at once, up to queries that see only some of them.
      auto clear = [&](int64_t first, int64_t end) __attribute__((always_inline)) {
        for (int64_t j = first; j < end; ++j) {
          V::zero().store(s + j * M);
          V::zero().store(ds + j * M);
        }
      };
      clear(0, range.first);
      clear(range.end, t.n);
    }
    return true;
  }

  void add_dvalue(const TilePlace& t, Sight sight, const Scratch& w, T* dv) const {
    const bool copied = sight != Sight::kAll && !w.dout_finite;
    multiply_queries<T, kPer>(band, t, w.p_queries, copied ? w.dout_copy : w.dout, dv_vecs, dv);
    if (copied) add_seen_rows<T>(band, t, sight, w.mask, w.s, w.dout_rows, dv_vecs * L, dv);
  }
  void add_dkey(const TilePlace& t, Sight sight, const Scratch& w, T* dk) const {
    const bool copied = sight != Sight::kAll && !w.q_finite;
    multiply_queries<T, kPer>(band, t, w.ds_queries, copied ? w.q_copy : w.q, d_vecs, dk);
    if (copied) add_seen_rows<T>(band, t, sight, w.mask, w.ds, w.q_rows, d_vecs * L, dk);
  }
  // k: the tile's keys as the product reads them, numbers or steps across keys; rows: as they came.
  void add_dquery(const TilePlace& t, Sight sight, const Scratch& w, const Rows<T>& k, const Rows<S>& rows,
                  T* dq) const {
    if (sight == Sight::kAll || all_finite(rows.data, rows.row, rows.column, t.n, D)) {
      return multiply_weights<T, kPer>(band, t, k.data, k.row, k.column, D, w.ds_keys, dq);
    }
    if constexpr (kPer == 2) {
      copy_rows(rows, t.n, D, w.k_copy);
      weave_finite(w.k_copy, t.n, D, w.k_keys_copy);
      multiply_weights<T, kPer>(band, t, w.k_keys_copy, D, 1, D, w.ds_keys, dq);
      add_seen_products<T>(band, t, sight, w.mask, w.k_copy, D, 1, D, w.ds, dq);
    } else {
      copy_finite(k.data, k.row, k.column, t.n, D, w.k_copy, D);
      multiply_weights<T>(band, t, w.k_copy, D, 1, D, w.ds, dq);
      add_seen_products<T>(band, t, sight, w.mask, k.data, k.row, k.column, D, w.ds, dq);
    }
  }

  // Rows far apart share few cache sets, and rows of 16 bits are read as floats; a split is read once a block of
  // queries, so gather its rows once.
  bool copies_keys() const {
    const bool scattered = !contiguous_rows(p.key, D) || !contiguous_rows(p.value, Dv);
    return kIsHalf<S> || (scattered && group * blocks.count() >= 4);
  }

  int64_t keys_from(int64_t q0, int64_t split) const { return max_of(band.first_key(q0), splits.begin(split)); }
  int64_t keys_end(int64_t q0, int64_t m, int64_t split) const {
    return min_of(band.end_key(q0 + m - 1), splits.begin(split) + splits.count(split));
  }

  // One split of the keys of one key/value head. parts: dQ^T of every block of the group's heads, or nullptr to write
  // dquery. slope_parts: of the first of them.
  void split_gradient(int64_t batch, int64_t kv_head, int64_t split, T* parts, T* slope_parts, Scratch& w) const {
    const int64_t begin = splits.begin(split), keys = splits.count(split), d_row = d_vecs * L, dv_row = dv_vecs * L;
    const bool want_dk = g.dkey.data != nullptr, want_dv = g.dvalue.data != nullptr, want_dq = g.dquery.data != nullptr;
    const Rows<S> key = Rows<S>::of(p.key, batch, kv_head).from(begin);
    const Rows<S> value = Rows<S>::of(p.value, batch, kv_head).from(begin);
    Rows<T> k{w.k, d_steps, 1}, v{w.v, dv_steps, 1};
    if constexpr (kPer == 2) weave_rows(key, keys, D, w.k_keys);
    if (copies_keys()) {
      copy_steps(key, keys, D, w.k);
      copy_steps(value, keys, Dv, w.v);
    } else if constexpr (!kIsHalf<S>) {
      k = key, v = value;
    }
    for (int64_t i = 0; i < keys * d_row; i += L) V::zero().store(w.dk + i);
    for (int64_t i = 0; i < keys * dv_row; i += L) V::zero().store(w.dv + i);
    for (int64_t h = 0; h < group; ++h) {
      const int64_t head = kv_head * group + h;
      const HeadView<T> view = view_of(batch, head);
      T slope_total = 0;
      for (int64_t block = 0; block < blocks.count(); ++block) {
        const int64_t q0 = blocks.begin(block), m = blocks.rows(block);
        const int64_t first = keys_from(q0, split), end = keys_end(q0, m, split);
        T* dq = parts == nullptr ? w.dq : parts + (h * blocks.count() + block) * D * M;
        if (want_dq && (parts == nullptr || first < end)) {
          for (int64_t i = 0; i < D * M; i += L) V::zero().store(dq + i);
        }
        if (first < end) pack_block(batch, head, q0, m, view, w);
        V block_slope = V::zero();
        // Steps lie where they do in a copy, and one that is cut at either end is looked at whole.
        const int64_t tiles_end = begin + min_of(keys, round_up(end - begin, kPer));
        for (int64_t k0 = begin + (first - begin) / kPer * kPer; k0 < tiles_end; k0 += kBlockN) {
          const TilePlace t{q0, m, k0, min_of<int64_t>(kBlockN, tiles_end - k0)};
          const Rows<T> tile_k = k.from(k0 - begin);
          Sight sight;
          if (!tile_gradient(tile_k, v.from(k0 - begin), view, t, w, sight)) continue;
          if (g.dalibi_slopes.data != nullptr) block_slope += slope_sum(scores.transform, band, t, w.ds);
          if (scores.transform.cap != 0) scores.transform.apply_slope(band, t, w.dcap, w.ds);
          if constexpr (kPer == 2) make_steps(t, w.s, w.ds, w.p_queries, w.ds_queries, w.ds_keys);
          if (want_dv) add_dvalue(t, sight, w, w.dv + (k0 - begin) * dv_row);
          if (want_dk) add_dkey(t, sight, w, w.dk + (k0 - begin) * d_row);
          if (!want_dq) continue;
          const Rows<T> across = kPer == 1 ? tile_k : Rows<T>{w.k_keys + (k0 - begin) / kPer * D, D, 1};
          add_dquery(t, sight, w, across, key.from(k0 - begin), dq);
        }
        slope_total = slope_total + reduce_add(block_slope);
        if (want_dq && parts == nullptr) {
          transpose_out(
              dq, m, D, at<S>(g.dquery, batch, head) + q0 * g.dquery.strides[2],
              g.dquery.strides[2], [&](int64_t) __attribute__((always_inline)) {
                return V::set(static_cast<T>(p.scale));
              });
        }
      }
      if (g.dalibi_slopes.data != nullptr) slope_parts[h * splits.parts] = slope_total;
    }
    auto store = [&](const T* from, int64_t n, T factor, const fa_tensor& to) {
      const int64_t row = to.strides[2];
      if (to.data != nullptr) store_rows(from, keys, n, factor, at<S>(to, batch, kv_head) + begin * row, row);
    };
    store(w.dk, D, static_cast<T>(p.scale), g.dkey);
    store(w.dv, Dv, T(1), g.dvalue);
  }

  // dquery (+)= scale * the parts of splits [first_split, end_split), in their order, for one block of one head. part:
  // of first_split; the others lie part_stride apart. Between waves the sum waits in dquery itself, or where that has
  // 16 bits in `keep`, which is `kept` for the next wave.
  void add_parts(int64_t batch, int64_t head, int64_t block, int64_t first_split, int64_t end_split, const T* part,
                 int64_t part_stride, const T* kept, T* keep, T* sum) const {
    const int64_t q0 = blocks.begin(block), m = blocks.rows(block), row = g.dquery.strides[2];
    S* dq = at<S>(g.dquery, batch, head) + q0 * row;
    if (first_split == 0) {
      for (int64_t i = 0; i < D * M; i += L) V::zero().store(sum + i);
    } else if (kIsHalf<S>) {
      for (int64_t i = 0; i < D * M; i += L) V::load(kept + i).store(sum + i);
    } else {
      transpose_rows(dq, row, 1, m, D, sum, M, [](V x) __attribute__((always_inline)) { return x; });
    }
    const V scale = V::set(static_cast<T>(p.scale));
    for (int64_t split = first_split; split < end_split; ++split, part += part_stride) {
      if (keys_from(q0, split) >= keys_end(q0, m, split)) continue;
      for (int64_t i = 0; i < D * M; i += L) fma(V::load(part + i), scale, V::load(sum + i)).store(sum + i);
    }
    if (kIsHalf<S> && end_split < splits.parts) {
      for (int64_t i = 0; i < D * M; i += L) V::load(sum + i).store(keep + i);
    } else {
      transpose_out(sum, m, D, dq, row, [](int64_t) __attribute__((always_inline)) { return V::set(1); });
    }
  }

  int64_t part_elements() const { return group * blocks.count() * D * M; }
  bool needs_parts() const { return g.dquery.data != nullptr && splits.parts > 1; }
  int64_t wave_items(int64_t threads) const {
    const int64_t items = B * Hkv * splits.parts;
    if (!needs_parts()) return items;
    const int64_t part_bytes = max_of<int64_t>(1, part_elements() * static_cast<int64_t>(sizeof(T)));
    return min_of(items, max_of(threads, static_cast<int64_t>(kWaveBytes) / part_bytes));
  }
  // Sums of dQ that wait for the next wave: of the head that a wave ends in, while it finishes the one that it began
  // in.
  int64_t kept_elements() const { return kIsHalf<S> && needs_parts() ? 2 * part_elements() : 0; }
  // Behind the scratch of the threads: rowsum(P * dW) of every row, then parts of slopes and later of sinks.
  int64_t row_elements() const { return dweights.active() ? round_up(B * H * Lq, L) : 0; }
  int64_t head_elements() const {
    const bool wanted = g.dalibi_slopes.data != nullptr || g.dsinks.data != nullptr;
    return wanted ? round_up(B * H * max_of<int64_t>(1, splits.parts), L) : 0;
  }
  size_t workspace(int64_t threads) const {
    const int64_t parts = needs_parts() ? wave_items(threads) * part_elements() : 0;
    return Scratch(*this, nullptr).bytes * static_cast<size_t>(threads) +
           static_cast<size_t>(row_elements() + head_elements() + parts + kept_elements()) * sizeof(T);
  }
  char* scratch_base(const fa_launch& launch, int64_t worker) const {
    return static_cast<char*>(launch.workspace) + Scratch(*this, nullptr).bytes * static_cast<size_t>(worker);
  }
  Scratch scratch(const fa_launch& launch, int worker) const { return Scratch(*this, scratch_base(launch, worker)); }
  T* row_parts(const fa_launch& launch) const { return reinterpret_cast<T*>(scratch_base(launch, launch.num_threads)); }
  T* head_parts(const fa_launch& launch) const { return row_parts(launch) + row_elements(); }

  Work work() const {
    const double rows_q = static_cast<double>(B * H * Lq), rows_k = static_cast<double>(B * Hkv * Lk);
    Work work;
    work.workspace = workspace(num_threads());
    work.flops = 2.0 * static_cast<double>((3 * D + 2 * Dv) * B * H) * visible_pairs(band, Lq);
    work.bytes = 2.0 * static_cast<double>(sizeof(S)) * static_cast<double>(D + Dv) * (rows_q + rows_k);
    return work;
  }

  void run(fa_launch& launch) const {
    T* slope_parts = head_parts(launch);
    T* kept = slope_parts + head_elements();
    T* parts = kept + kept_elements();
    const int64_t items = B * Hkv * splits.parts, wave = wave_items(launch.num_threads);
    if (items == 0 && g.dquery.data != nullptr) clear_dquery();
    for (int64_t start = 0; start < items; start += wave) {
      const int64_t n = min_of(wave, items - start);
      parallel_for(launch, n, [&](int64_t i, int worker) {
        const int64_t item = start + i, kv = item / splits.parts;
        Scratch w = scratch(launch, worker);
        split_gradient(kv / Hkv, kv % Hkv, item % splits.parts, needs_parts() ? parts + i * part_elements() : nullptr,
                       slope_parts + kv * group * splits.parts + item % splits.parts, w);
      });
      if (!needs_parts()) continue;
      const int64_t first_kv = start / splits.parts, end_kv = (start + n - 1) / splits.parts + 1;
      const int64_t per_kv = group * blocks.count();
      parallel_for(launch, (end_kv - first_kv) * per_kv, [&](int64_t i, int worker) {
        const int64_t kv = first_kv + i / per_kv, h = i % per_kv / blocks.count(), block = i % blocks.count();
        const int64_t first = max_of<int64_t>(0, start - kv * splits.parts);
        const int64_t end = min_of(splits.parts, start + n - kv * splits.parts);
        const int64_t within = (h * blocks.count() + block) * D * M;
        const T* part = parts + (kv * splits.parts + first - start) * part_elements() + within;
        add_parts(kv / Hkv, kv % Hkv * group + h, block, first, end, part, part_elements(),
                  kept + start / wave % 2 * part_elements() + within,
                  kept + (start / wave + 1) % 2 * part_elements() + within, scratch(launch, worker).dq);
      });
    }
    if (g.dalibi_slopes.data != nullptr) {
      const int64_t* stride = g.dalibi_slopes.strides;
      add_head_parts(g.dalibi_slopes, stride[0], stride[1], B, H, slope_parts, splits.parts);
    }
  }

  // No key at all.
  void clear_dquery() const {
    for (int64_t i = 0; i < B * H * Lq; ++i) {
      S* row = at<S>(g.dquery, i / Lq / H, i / Lq % H) + i % Lq * g.dquery.strides[2];
      for (int64_t d = 0; d < D; ++d) row[d] = S{};
    }
  }
};

template <class S>
FASTATTN_INLINE fa_status call(const fa_attention_bwd_params& p, fa_launch& launch) {
  Backward<S> backward(p);
  describe<"attention_bwd", S>(launch, launch.query ? backward.work() : Work{});
  if (launch.query) return FA_OK;
  if (p.dweights.data != nullptr) backward.weights_delta = WeightsDelta<Backward<S>, S, kBlockN>{backward}.run(launch);
  if (p.dquery.data != nullptr || p.dkey.data != nullptr || p.dvalue.data != nullptr ||
      p.dalibi_slopes.data != nullptr) {
    backward.run(launch);
  }
  if (p.dmask.data != nullptr) MaskGradient<Backward<S>, S, kBlockN>{backward}.run(launch);
  if (p.dsinks.data != nullptr) SinkGradient<Backward<S>>{backward}.run(launch);
  return FA_OK;
}

}  // namespace

#if defined(FASTATTN_ISA_HAS_BF16)
// The other dtypes have the kernels of the instruction set below.
fa_status attention_bwd(const fa_attention_bwd_params& p, fa_launch& launch) {
  return p.fwd.query.dtype == FA_BF16 ? call<bf16>(p, launch) : FASTATTN_ISA_BELOW::attention_bwd(p, launch);
}
#else
fa_status attention_bwd(const fa_attention_bwd_params& p, fa_launch& launch) {
  return visit_float(
      p.fwd.query.dtype, launch, [&]<class S>() __attribute__((always_inline)) { return call<S>(p, launch); });
}
#endif

}  // namespace fastattn::cpu::FASTATTN_ISA
