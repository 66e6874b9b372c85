// Attention of a few queries to many keys, as decoding asks for it: keys and values are read once from memory, by all
// queries of a key head together.
//
//   row r = head of the group x query, R of them   q (R, D)   key (S, D)   value (S, Dv)
//
// An item is some splits in a row, each of kSplit keys of one key head. A tile of kTile keys of it at a time:
//
//   s = q key^T   [R][kTile]      a key is a lane (matmul_stream.h); capped and sloped (attention_scores.h)
//   p = exp(s - row_max)          hidden keys 0
//   o = o * shrink + p value      [R][Dv], sums in registers
//
// Where the instruction set multiplies pairs of bf16, q key^T is made of them; values are widened.
//
// Splits leave their state in the workspace; a second region merges them in order. Splits, tiles and the order within
// do not depend on S, so keys that are hidden behind the last one change no bit.
//
// Work: 2 (D + Dv) flops a pair, for (D + Dv) / group elements from memory: memory is the roof up to groups of
// about 16. Source: Dao et al., "Flash-Decoding for long-context inference" (2023).
#pragma once

#include "attention_dropout.h"
#include "attention_scores.h"
#include "matmul_stream.h"

namespace fastattn::cpu::FASTATTN_ISA {

inline constexpr int64_t kValuesAhead = 64;  // keys from those in use to those that are called for

// o[r] += sum over keys j of p[r][j] * value[j], kR rows, kV vectors of columns of which the last has `tail` lanes.
template <class S, int kR, int kV>
__attribute__((noinline)) void add_values(const S* value, int64_t value_row, int64_t keys, int tail,
                                          const compute_t<S>* p, int64_t p_row, compute_t<S>* o, int64_t o_row) {
  using V = Vec<compute_t<S>>;
  constexpr int L = V::kLanes, kPerLine = max_of<int>(1, 64 / sizeof(S) / L);
  V acc[kR][kV];
#pragma GCC unroll 4
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) acc[r][v] = V::load(o + r * o_row + v * L);
  }
  auto add = [&](auto load_last) __attribute__((always_inline)) {
    for (int64_t j = 0; j < keys; ++j, value += value_row) {
      V x[kV];
#pragma GCC unroll 8
      for (int v = 0; v < kV; v += kPerLine) __builtin_prefetch(value + kValuesAhead * value_row + v * L, 0, 2);
#pragma GCC unroll 8
      for (int v = 0; v < kV - 1; ++v) x[v] = V::load(value + v * L);
      x[kV - 1] = load_last(value + (kV - 1) * L);
#pragma GCC unroll 4
      for (int r = 0; r < kR; ++r) {
        const V weight = V::set(p[r * p_row + j]);
#pragma GCC unroll 8
        for (int v = 0; v < kV; ++v) fma_into(acc[r][v], weight, x[v]);
      }
    }
  };
  if (tail == L) {
    add([](const S* at) __attribute__((always_inline)) { return V::load(at); });
  } else {
    add([&](const S* at) __attribute__((always_inline)) { return V::load(at, tail); });
  }
#pragma GCC unroll 4
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) acc[r][v].store(o + r * o_row + v * L);
  }
}

template <class S>
struct Decode {
  using T = compute_t<S>;
  using V = Vec<T>;
  static constexpr int L = V::kLanes;
  static constexpr int64_t kPer = kStep<S>;  // numbers in a step of q key^T
  static constexpr int64_t kMaxQueries = 4;  // from about 10 on, a block of queries along the lanes is faster
  static constexpr int64_t kSplit = 512, kTile = 64;
  static constexpr int kItems = 4;  // a thread

  const fa_attention_fwd_params& p;
  const Band band;
  const int64_t B, Hkv, Lq, Lk, D, Dv, d_steps, group, R;
  const int64_t splits, o_row;
  const int64_t lanes_of_rows;  // R in whole vectors
  const WeightDropout<T> dropout;
  const ScoreTransform<T> transform;

  static bool takes(const fa_attention_fwd_params& p) {
    return p.query.shape[2] <= kMaxQueries && p.key.strides[3] == 1 && p.value.strides[3] == 1;
  }

  explicit Decode(const fa_attention_fwd_params& params)
      : p(params),
        band(Band::of(params)),
        B(params.query.shape[0]),
        Hkv(params.key.shape[1]),
        Lq(params.query.shape[2]),
        Lk(params.key.shape[2]),
        D(params.query.shape[3]),
        Dv(params.value.shape[3]),
        d_steps(ceil_div(D, kPer)),
        group(Hkv > 0 ? params.query.shape[1] / Hkv : 0),
        R(group * Lq),
        splits(max_of<int64_t>(1, ceil_div(Lk, kSplit))),
        o_row(round_up(Dv, L)),
        lanes_of_rows(round_up(R, L)),
        dropout(params),
        transform(params) {}

  // What is known of the keys so far, by row. With base = nullptr only bytes is meant.
  struct State {
    T *row_max, *row_sum;  // [R]
    T* o;                  // [R][o_row]
    size_t bytes;
    State(const Decode& f, char* base) {
      Carver carver{base};
      row_max = carver.take<T>(f.lanes_of_rows);
      row_sum = carver.take<T>(f.lanes_of_rows);
      o = carver.take<T>(f.R * f.o_row);
      bytes = carver.bytes;
    }
  };
  // Of a worker.
  struct Scratch {
    T* q;              // [R][d_steps], scaled unless in pairs
    T* s;              // [R][kTile]
    T *shrink, *base;  // [R]
    T* factors;        // [splits][R], for the merge
    size_t bytes;
    Scratch(const Decode& f, char* at) {
      Carver carver{at};
      q = carver.take<T>(f.R * f.d_steps);
      s = carver.take<T>(f.R * kTile);
      shrink = carver.take<T>(f.lanes_of_rows);
      base = carver.take<T>(f.lanes_of_rows);
      factors = carver.take<T>(f.splits * f.lanes_of_rows);
      bytes = carver.bytes;
    }
  };

  int64_t head_of(int64_t kv, int64_t r) const { return kv % Hkv * group + r / Lq; }

  // f.template operator()<rows>(first row), for all rows.
  template <class F>
  FASTATTN_INLINE void for_row_tiles(F&& f) const {
    for (int64_t r = 0; r < R; r += kStreamTile) {
      visit_rows(
          min_of(kStreamTile, R - r), [&]<int kR>() __attribute__((always_inline)) { f.template operator()<kR>(r); });
    }
  }

  // Hides keys of a row of scores, and adds the mask. Returns whether any key is hidden.
  bool mask_scores(int64_t kv, int64_t r, int64_t k0, int64_t n, T* s) const {
    const int64_t query = r % Lq;
    const int64_t first = max_of<int64_t>(0, min_of(n, band.first_key(query) - k0));
    const int64_t end = max_of(first, min_of(n, band.end_key(query) - k0));
    bool hides = first > 0 || end < n;
    const MaskView mask = MaskView::of<S>(p.mask, kv / Hkv, head_of(kv, r));
    if (mask.kind == MaskView::kBool) {
      const uint8_t* shown = static_cast<const uint8_t*>(mask.data) + query * mask.row + k0 * mask.column;
      for (int64_t j = first; j < end; ++j) {
        if (shown[j * mask.column] == 0) {
          s[j] = -kInf<T>;
          hides = true;
        }
      }
    } else if (mask.kind == MaskView::kAdded) {
      const S* added = static_cast<const S*>(mask.data) + query * mask.row + k0 * mask.column;
      for (int64_t j = first; j < end; ++j) {
        const T value = widen(added[j * mask.column]);
        const bool hidden = value == -kInf<T>;
        s[j] = hidden ? value : s[j] + value;
        hides |= hidden;
      }
    }
    for (int64_t j = 0; j < first; ++j) s[j] = -kInf<T>;
    for (int64_t j = end; j < n; ++j) s[j] = -kInf<T>;
    return hides;
  }
  bool hidden(int64_t kv, int64_t r, int64_t key) const {
    const int64_t query = r % Lq;
    if (key < band.first_key(query) || key >= band.end_key(query)) return true;
    const MaskView mask = MaskView::of<S>(p.mask, kv / Hkv, head_of(kv, r));
    const int64_t at = query * mask.row + key * mask.column;
    if (mask.kind == MaskView::kBool) return static_cast<const uint8_t*>(mask.data)[at] == 0;
    return mask.kind == MaskView::kAdded && widen(static_cast<const S*>(mask.data)[at]) == -kInf<T>;
  }

  // Weights in place of scores, relative to the largest so far; what was summed before shrinks with it.
  void softmax(int64_t kv, int64_t k0, int64_t n, const State& state, const Scratch& w) const {
    for (int64_t r = 0; r < R; ++r) {
      V best = V::set(-kInf<T>);
      T* s = w.s + r * kTile;
      for (int64_t j = n; j < round_up(n, L); ++j) s[j] = -kInf<T>;
      for (int64_t j = 0; j < n; j += L) best = max(best, V::load(s + j));
      w.base[r] = reduce_max(best);
    }
    for (int64_t r = 0; r < R; r += L) {
      SoftmaxState<T> rows{V::load(state.row_max + r), V::load(state.row_sum + r)};
      rows.update(V::load(w.base + r)).store(w.shrink + r);
      rows.base().store(w.base + r);
      rows.row_max.store(state.row_max + r);
      rows.row_sum.store(state.row_sum + r);
    }
    for (int64_t r = 0; r < R; ++r) {
      T* s = w.s + r * kTile;
      const V base = V::set(w.base[r]);
      V sum = V::zero();
      for (int64_t j = 0; j < n; j += L) {
        const V e = exp_score(V::load(s + j) - base);
        e.store(s + j);
        sum += e;
      }
      state.row_sum[r] += reduce_add(sum);
      if (dropout.active) {
        alignas(64) T keep[kTile];
        dropout.template fill_row<kTile>(dropout.first_row(kv / Hkv, head_of(kv, r)), r % Lq, k0, n, keep);
        for (int64_t j = 0; j < n; ++j) s[j] *= keep[j];
      }
      if (w.shrink[r] == 1) continue;
      const V shrink = V::set(w.shrink[r]);
      T* o = state.o + r * o_row;
      for (int64_t d = 0; d < o_row; d += L) (V::load(o + d) * shrink).store(o + d);
    }
  }

  void accumulate(int64_t kv, const Rows<S>& v, int64_t k0, int64_t n, bool hides, const State& state,
                  const Scratch& w) const {
    if (hides && !all_finite(v.data, v.row, int64_t{1}, n, Dv)) {
      // A NaN or inf of a hidden key must not meet its weight of 0.
      for (int64_t r = 0; r < R; ++r) {
        for (int64_t j = 0; j < n; ++j) {
          if (hidden(kv, r, k0 + j)) continue;
          add_row<1>(v.data + j * v.row, v.row, 1, w.s + r * kTile + j, state.o + r * o_row);
        }
      }
      return;
    }
    for_row_tiles([&]<int kR>(int64_t r) __attribute__((always_inline)) {
      add_row<kR>(v.data, v.row, n, w.s + r * kTile, state.o + r * o_row);
    });
  }
  template <int kR>
  FASTATTN_INLINE void add_row(const S* v, int64_t v_row, int64_t n, const T* weights, T* o) const {
    constexpr int kV = sizeof(V) < 64 ? 2 : kR <= 2 ? 8 : 4;
    int64_t d = 0;
    for (; d + kV * L <= Dv; d += kV * L) add_values<S, kR, kV>(v + d, v_row, n, L, weights, kTile, o + d, o_row);
    for (; d < Dv; d += L) {
      const int tail = static_cast<int>(min_of<int64_t>(L, Dv - d));
      add_values<S, kR, 1>(v + d, v_row, n, tail, weights, kTile, o + d, o_row);
    }
  }

  // The keys [begin, end) of a key head.
  void attend(int64_t kv, int64_t begin, int64_t end, const State& state, const Scratch& w) const {
    for (int64_t r = 0; r < R; ++r) {
      // A sink counts once, with the first split.
      const T sink = begin == 0 ? sink_of<T>(p, head_of(kv, r)) : -kInf<T>;
      state.row_max[r] = sink;
      state.row_sum[r] = sink == -kInf<T> ? 0 : 1;
    }
    for (int64_t r = R; r < lanes_of_rows; ++r) {
      state.row_max[r] = w.base[r] = -kInf<T>;
      state.row_sum[r] = 0;
    }
    for (int64_t i = 0; i < R * o_row; i += L) V::zero().store(state.o + i);
    begin = max_of(begin, band.first_key(0) / kTile * kTile);
    end = min_of(end, band.end_key(Lq - 1));
    if (begin >= end) return;
    const T scale = static_cast<T>(p.scale);
    for (int64_t r = 0; r < R; ++r) {
      const Rows<S> q = Rows<S>::of(p.query, kv / Hkv, head_of(kv, r)).from(r % Lq);
      for (int64_t step = 0; step < d_steps; ++step) {
        const int64_t d = step * kPer;
        const T value = packed_step(q.data + d * q.column, q.column, D - d);
        w.q[r * d_steps + step] = kPer == 1 ? value * scale : value;
      }
    }
    const Rows<S> keys = Rows<S>::of(p.key, kv / Hkv, kv % Hkv), values = Rows<S>::of(p.value, kv / Hkv, kv % Hkv);
    const bool masks = p.mask.data != nullptr;
    for (int64_t k0 = begin; k0 < end; k0 += kTile) {
      const int64_t n = min_of(kTile, end - k0);
      const Rows<S> k = keys.from(k0), v = values.from(k0);
      for_row_tiles([&]<int kR>(int64_t r) __attribute__((always_inline)) {
        stream_columns<S, kR>(k.data, k.row, D, n, w.q + r * d_steps, d_steps, w.s + r * kTile, kTile);
      });
      if constexpr (kPer == 2) {  // scaled queries would have to be rounded
        for (int64_t i = 0; i < R * kTile; i += L) (V::load(w.s + i) * V::set(scale)).store(w.s + i);
      }
      if (transform.active()) {
        for (int64_t r = 0; r < R; ++r) {
          transform.apply_row(r % Lq, k0, n, transform.slope_of(kv / Hkv, head_of(kv, r)), w.s + r * kTile);
        }
      }
      bool hides = false;
      if (masks || k0 < band.first_key(Lq - 1) || k0 + n > band.end_key(0)) {
        for (int64_t r = 0; r < R; ++r) hides |= mask_scores(kv, r, k0, n, w.s + r * kTile);
      }
      softmax(kv, k0, n, state, w);
      accumulate(kv, v, k0, n, hides, state, w);
    }
  }

  void store(int64_t kv, const State& state) const {
    for (int64_t r = 0; r < R; r += L) {
      const SoftmaxState<T> rows{V::load(state.row_max + r), V::load(state.row_sum + r)};
      rows.lse().store(state.row_max + r);
      rows.inverse_sum().store(state.row_sum + r);
    }
    for (int64_t r = 0; r < R; ++r) {
      const int64_t batch = kv / Hkv, head = head_of(kv, r), query = r % Lq;
      if (p.lse.data != nullptr) at<T>(p.lse, batch, head)[query * p.lse.strides[2]] = state.row_max[r];
      const V by = V::set(state.row_sum[r]);
      S* out = at<S>(p.out, batch, head) + query * p.out.strides[2];
      const T* o = state.o + r * o_row;
      int64_t d = 0;
      for (; d + L <= Dv; d += L) (V::load(o + d) * by).store(out + d);
      if (d < Dv) (V::load(o + d) * by).store(out + d, static_cast<int>(Dv - d));
    }
  }

  // The states of all splits of a key head, in order, into the first.
  void merge(const State* states, char* base, size_t state_bytes, const Scratch& w) const {
    const State& all = *states;
    auto state = [&](int64_t i) { return State(*this, base + static_cast<size_t>(i) * state_bytes); };
    for (int64_t r = 0; r < R; r += L) {
      V row_max = V::set(-kInf<T>);
      for (int64_t i = 0; i < splits; ++i) row_max = max(row_max, V::load(state(i).row_max + r));
      SoftmaxState<T> rows{row_max, V::zero()};
      for (int64_t i = 0; i < splits; ++i) {
        const V factor = exp_score(V::load(state(i).row_max + r) - rows.base());
        factor.store(w.factors + i * lanes_of_rows + r);
        rows.row_sum = fma(V::load(state(i).row_sum + r), factor, rows.row_sum);
      }
      rows.row_max.store(all.row_max + r);
      rows.row_sum.store(all.row_sum + r);
    }
    for (int64_t r = 0; r < R; ++r) {
      for (int64_t d = 0; d < o_row; d += L) {
        V sum = V::zero();
        for (int64_t i = 0; i < splits; ++i) {
          const V part = V::load(state(i).o + r * o_row + d);
          sum = fma(part, V::set(w.factors[i * lanes_of_rows + r]), sum);
        }
        sum.store(all.o + r * o_row + d);
      }
    }
  }

  void run(fa_launch& launch) const {
    const size_t state_bytes = State(*this, nullptr).bytes, per_thread = Scratch(*this, nullptr).bytes;
    char* states = static_cast<char*>(launch.workspace);
    char* scratch = states + static_cast<size_t>(B * Hkv * splits) * state_bytes;
    // An item is some splits in a row: what is called for beyond the end of one begins the next.
    const int64_t num_items = min_of(B * Hkv * splits, int64_t{kItems} * num_threads());
    const EvenSplit items(B * Hkv * splits, max_of(int64_t{1}, num_items));
    parallel_for(launch, num_items, [&](int64_t item, int worker) {
      const Scratch w(*this, scratch + static_cast<size_t>(worker) * per_thread);
      for (int64_t i = items.begin(item); i < items.begin(item + 1); ++i) {
        const State state(*this, states + static_cast<size_t>(i) * state_bytes);
        const int64_t kv = i / splits, begin = i % splits * kSplit;
        attend(kv, begin, min_of(Lk, begin + kSplit), state, w);
        if (splits == 1) store(kv, state);
      }
    });
    if (splits == 1) return;
    parallel_for(launch, B * Hkv, [&](int64_t kv, int worker) {
      char* first = states + static_cast<size_t>(kv * splits) * state_bytes;
      const State state(*this, first);
      merge(&state, first, state_bytes, Scratch(*this, scratch + static_cast<size_t>(worker) * per_thread));
      store(kv, state);
    });
  }

  size_t workspace() const {
    return State(*this, nullptr).bytes * static_cast<size_t>(B * Hkv * splits) +
           Scratch(*this, nullptr).bytes * static_cast<size_t>(num_threads());
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
