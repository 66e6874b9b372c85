// attention, forward: out = dropout(softmax(cap(scale * query @ key^T) + mask + alibi)) @ value, lse =
// log(sum(exp(scores))), and from it the weights where they are asked for (attention_weights.h)
//
//   query (B, H, T, D)   key (B, Hkv, S, D)   value (B, Hkv, S, Dv)   mask (B, H, T, S) by strides
//   out (B, H, T, Dv)    lse (B, H, T)
//
// One item is a block of up to kBlockM queries of one head. It holds Q^T (scaled) and O^T in its thread's scratch and
// goes over the keys that the block may see, kBlockN at a time:
//
//   S^T = K Q^T   [kBlockN][kBlockM]       masked where partially hidden, skipped where hidden altogether; softcap and
//                                          ALiBi go over it first (attention_scores.h)
//   P^T = exp(S^T - row_max)               vertical: a query is a lane
//   O^T = O^T * shrink + V^T (P^T * keep)   [Dv][kBlockM]    keep: attention_dropout.h; the sums are of P^T
//
// Work: 4 D flops a pair. Keys and values are read in place, once per block of queries (from L2 or L3: 8 bytes for 192
// flops in f32), so FMA is the roof. Where the instruction set multiplies pairs of bf16, steps of both products are
// pairs (attention_pairs.h): weights are rounded to bf16 for the second, their sums are not. The exponential costs
// about 12 vector operations where the products take 128 FMAs (D = 64).
//
// Source: Dao, "FlashAttention-2" (2023), algorithm 1.
#include "attention_decode.h"
#include "attention_dropout.h"
#include "attention_weights.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int kBlockN = 128;
constexpr int64_t kCopyFromBytes = 512 << 10;  // of K and V of a head: below, the L2 holds them wherever they are
constexpr int64_t kCopyBytes = 16 << 20;

template <class S>
struct Forward {
  using T = compute_t<S>;
  using V = Vec<T>;
  static constexpr int L = V::kLanes, M = kBlockM<T>;
  static constexpr int64_t kPer = kStep<S>;  // numbers in a step of a product

  const fa_attention_fwd_params& p;
  const Band band;
  const ScoreTransform<T> transform;
  const int64_t B, H, Hkv, Lq, Lk, D, Dv;
  const int64_t d_steps;  // of D
  const int64_t group;    // query heads of a key/value head
  const QueryBlocks<T> blocks;
  const WeightDropout<T> dropout;

  explicit Forward(const fa_attention_fwd_params& params)
      : p(params),
        band(Band::of(params)),
        transform(params),
        B(params.query.shape[0]),
        H(params.query.shape[1]),
        Hkv(params.key.shape[1]),
        Lq(params.query.shape[2]),
        Lk(params.key.shape[2]),
        D(params.query.shape[3]),
        Dv(params.value.shape[3]),
        d_steps(ceil_div(D, kPer)),
        group(Hkv > 0 ? H / Hkv : 0),
        blocks(Lq),
        dropout(params) {}

  // Per thread. With base = nullptr only bytes, what is needed, is meant.
  struct Scratch {
    T *q, *s, *mask, *o, *v;  // q[d_steps][M] s[kBlockN][M] mask[kBlockN][M] o[Dv][M] v[kBlockN][Dv]
    T* weights;               // P^T in steps, [kBlockN / kPer][M]
    T* keep;                  // [kBlockN][M], with dropout
    T *key, *value;           // [kBlockN][d_steps], [kBlockN / kPer][Dv] of 16-bit rows that no copy holds
    T *row_max, *row_sum;     // [M]
    size_t bytes;

    Scratch(const Forward& f, char* base) {
      Carver carver{base};
      q = carver.take<T>(f.d_steps * M);
      s = carver.take<T>(kBlockN * M);
      weights = kPer == 1 ? s : carver.take<T>(kBlockN / kPer * M);
      o = carver.take<T>(f.Dv * M);
      row_max = carver.take<T>(M);
      row_sum = carver.take<T>(M);
      mask = carver.take<T>(kBlockN * M);
      v = carver.take<T>(kBlockN * f.Dv);
      key = carver.take<T>(kIsHalf<S> ? kBlockN * f.d_steps : 0);
      value = carver.take<T>(kIsHalf<S> ? kBlockN / kPer * f.Dv : 0);
      keep = carver.take<T>(f.dropout.active ? kBlockN * M : 0);
      bytes = carver.bytes;
    }
  };

  struct Head {
    Rows<S> q, k, v;
    const T* copy;  // k and v as gather() left them, or nullptr
    S* out;
    T* lse;
    MaskView mask;
    T slope, sink;
    int64_t first_row;  // of its weights, for dropout
  };
  Head head_of(int64_t batch, int64_t head) const {
    return {Rows<S>::of(p.query, batch, head),
            Rows<S>::of(p.key, batch, head / group),
            Rows<S>::of(p.value, batch, head / group),
            nullptr,
            at<S>(p.out, batch, head),
            p.lse.data ? at<T>(p.lse, batch, head) : nullptr,
            MaskView::of<S>(p.mask, batch, head),
            transform.slope_of(batch, head),
            sink_of<T>(p, head),
            dropout.first_row(batch, head)};
  }
  // Rows of keys in steps along D, and of values in steps across keys.
  Rows<T> keys_of(const Head& h, const TilePlace& t, const Scratch& w) const {
    if (h.copy != nullptr) return {h.copy + t.k0 * d_steps, d_steps, 1};
    return readable_steps(h.k.from(t.k0), t.n, D, w.key);
  }
  Rows<T> values_of(const Head& h, const TilePlace& t, const Scratch& w) const {
    if (h.copy != nullptr) return {h.copy + Lk * d_steps + t.k0 / kPer * Dv, Dv, 1};
    if constexpr (kPer == 2) {
      weave_rows(h.v.from(t.k0), t.n, Dv, w.value);
      return {w.value, Dv, 1};
    } else {
      return readable_rows(h.v.from(t.k0), t.n, Dv, w.value);
    }
  }

  // P^T in place of S^T, for the keys within each vector's bounds; the others are not read again. In steps of two keys,
  // a key outside has weight 0; in place too, where some are hidden. first: nothing is in O^T.
  void softmax(const TilePlace& t, Sight sight, bool first, const Scratch& w) const {
    for (int64_t i = 0; i < t.m; i += L) {
      T* s = w.s + i;
      const KeyRange range = KeyRange::of<T>(band, t, i);
      V best[4];  // one chain of max would be slower than the loads
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) best[u] = V::set(-kInf<T>);
      if (sight == Sight::kAll) {
        int64_t j = 0;
        for (; j + 4 <= t.n; j += 4) {
#pragma GCC unroll 4
          for (int u = 0; u < 4; ++u) best[u] = max(best[u], V::load(s + (j + u) * M));
        }
        for (; j < t.n; ++j) best[0] = max(best[0], V::load(s + j * M));
      } else {
        visit_scores<T>(
            band, t, sight, w.mask, i, range, [&](int64_t j, auto show) __attribute__((always_inline)) {
              const V x = show.score(V::load(s + j * M));
              x.store(s + j * M);
              best[0] = max(best[0], x);
            });
      }
      SoftmaxState<T> state{V::load(w.row_max + i), V::load(w.row_sum + i)};
      const V shrink = state.update(max(max(best[0], best[1]), max(best[2], best[3])));
      const V base = state.base();
      V sum = V::zero();
      dropout.visit(
          w.keep + i, [&](auto keep) __attribute__((always_inline)) {
            auto weigh = [&](int64_t j) __attribute__((always_inline)) {
              const V e = exp_score(V::load(s + j * M) - base), kept = keep(e, j);
              if (kPer == 1 || sight != Sight::kAll) kept.store(s + j * M);
              sum += e;
              return kept;
            };
            int64_t j = range.first;
            if constexpr (kPer == 1) {
#pragma GCC unroll 4
              for (; j < range.end; ++j) weigh(j);
            } else {
              T* to = w.weights + i;
              if (j % 2 != 0 && j < range.end) {
                pair_of(V::zero(), weigh(j)).store(to + j / 2 * M);
                ++j;
              }
#pragma GCC unroll 2
              for (; j + 2 <= range.end; j += 2) {
                const V low = weigh(j);
                pair_of(low, weigh(j + 1)).store(to + j / 2 * M);
              }
              if (j < range.end) pair_of(weigh(j), V::zero()).store(to + j / 2 * M);
            }
          });
      state.row_sum += sum;
      state.row_max.store(w.row_max + i);
      state.row_sum.store(w.row_sum + i);
      if (!first && !all(shrink == V::set(1))) {
        for (int64_t d = 0; d < Dv; ++d) (V::load(w.o + d * M + i) * shrink).store(w.o + d * M + i);
      }
    }
  }

  // O^T += V^T P^T. Where the bounds end inside the tile, every vector of queries stops at its own last key.
  void accumulate(const Head& h, const TilePlace& t, Sight sight, const Scratch& w) const {
    const Rows<T> v = values_of(h, t, w);
    auto finite = [&](const auto& x) { return all_finite(x.data, x.row, x.column, t.n, Dv); };
    if constexpr (kPer == 2) {
      const Rows<S> rows = h.v.from(t.k0);
      if (sight != Sight::kAll && !finite(rows)) {
        copy_rows(rows, t.n, Dv, w.v);
        weave_finite(w.v, t.n, Dv, w.value);
        multiply_weights<T, kPer>(band, t, w.value, Dv, 1, Dv, w.weights, w.o);
        return add_seen_products<T>(band, t, sight, w.mask, w.v, Dv, 1, Dv, w.s, w.o);
      }
    } else if (sight != Sight::kAll && !finite(v)) {
      copy_finite(v.data, v.row, v.column, t.n, Dv, w.v, Dv);
      multiply_weights<T>(band, t, w.v, Dv, 1, Dv, w.s, w.o);
      return add_seen_products<T>(band, t, sight, w.mask, v.data, v.row, v.column, Dv, w.s, w.o);
    }
    multiply_weights<T, kPer>(band, t, v.data, v.row, v.column, Dv, w.weights, w.o);
  }

  void store(const Head& h, int64_t q0, int64_t m, const Scratch& w) const {
    for (int64_t i = 0; i < m; i += L) {
      const int64_t rows = min_of<int64_t>(L, m - i);
      const SoftmaxState<T> state{V::load(w.row_max + i), V::load(w.row_sum + i)};
      if (h.lse != nullptr) {
        alignas(64) T lse[L];
        state.lse().store(lse);
        for (int64_t r = 0; r < rows; ++r) h.lse[(q0 + i + r) * p.lse.strides[2]] = lse[r];
      }
      state.inverse_sum().store(w.row_sum + i);
    }
    transpose_out(
        w.o, m, Dv, h.out + q0 * p.out.strides[2],
        p.out.strides[2], [&](int64_t i) __attribute__((always_inline)) { return V::load(w.row_sum + i); });
  }

  void block(const Head& h, int64_t q0, int64_t m, const Scratch& w) const {
    const T scale = static_cast<T>(p.scale);
    transpose_steps(h.q.from(q0), m, D, scale, w.q);
    const auto empty = SoftmaxState<T>::init(h.sink);
    for (int64_t i = 0; i < M; i += L) {
      empty.row_max.store(w.row_max + i);
      empty.row_sum.store(w.row_sum + i);
    }
    for (int64_t i = 0; i < Dv * M; i += L) V::zero().store(w.o + i);

    // Steps lie where they do in a copy, and one that is cut at either end is looked at whole.
    const int64_t end = min_of(Lk, round_up(band.end_key(q0 + m - 1), kPer));
    bool first = true;
    for (int64_t k0 = band.first_key(q0) / kPer * kPer; k0 < end; k0 += kBlockN) {
      const TilePlace t{q0, m, k0, min_of<int64_t>(kBlockN, end - k0)};
      const Sight sight = look<S>(band, h.mask, t, w.mask);
      if (sight == Sight::kNone) continue;
      const Rows<T> k = keys_of(h, t, w);
      multiply_scores<T, kPer>(band, t, k.data, k.row, k.column, d_steps, w.q, w.s, scale);
      if (transform.active()) transform.apply(band, t, h.slope, w.s, nullptr);
      if (dropout.active) dropout.template fill<kBlockN>(h.first_row, t, w.keep);
      softmax(t, sight, first, w);
      first = false;
      accumulate(h, t, sight, w);
    }
    store(h, q0, m, w);
  }

  // Rows far apart share few cache sets, and rows of 16 bits are read as floats: where they are read over and over,
  // gather them first, a few heads at a time. Copies do not round, so this is free to depend on the machine.
  int64_t head_elements() const { return Lk * d_steps + ceil_div(Lk, kPer) * Dv; }
  int64_t copied_heads() const {
    const int64_t bytes = head_elements() * static_cast<int64_t>(sizeof(T));
    if (bytes == 0 || group * blocks.count() < 8) return 0;
    if (!kIsHalf<S>) {
      if (contiguous_rows(p.key, D) && contiguous_rows(p.value, Dv)) return 0;
      if (bytes < kCopyFromBytes) return 0;
    }
    return max_of<int64_t>(1, min_of(B * Hkv, kCopyBytes / bytes));
  }

  void run(fa_launch& launch) const {
    const size_t per_thread = Scratch(*this, nullptr).bytes;
    char* base = static_cast<char*>(launch.workspace);
    const int64_t copied = copied_heads(), wave = copied > 0 ? copied : B * Hkv, per_kv = group * blocks.count();
    T* copies = reinterpret_cast<T*>(base + per_thread * static_cast<size_t>(launch.num_threads));
    for (int64_t kv0 = 0; kv0 < B * Hkv; kv0 += wave) {
      const int64_t kv_heads = min_of(wave, B * Hkv - kv0);
      if (copied > 0) gather(launch, kv0, kv_heads, copies);
      parallel_for(launch, kv_heads * per_kv, [&](int64_t item, int worker) {
        const int64_t kv = kv0 + item / per_kv, h = item % per_kv / blocks.count();
        const int64_t i = blocks.count() - 1 - item % blocks.count();  // causal: the longest first
        const Scratch w(*this, base + static_cast<size_t>(worker) * per_thread);
        Head head = head_of(kv / Hkv, kv % Hkv * group + h);
        if (copied > 0) head.copy = copies + (kv - kv0) * head_elements();
        block(head, blocks.begin(i), blocks.rows(i), w);
      });
    }
  }

  void gather(fa_launch& launch, int64_t kv0, int64_t kv_heads, T* copies) const {
    constexpr int64_t kRows = 256;
    const int64_t n = ceil_div(Lk, kRows);
    parallel_for(launch, kv_heads * n, [&](int64_t item, int) {
      const int64_t kv = kv0 + item / n, first = item % n * kRows, rows = min_of(kRows, Lk - first);
      T* k = copies + item / n * head_elements();
      T *key_to = k + first * d_steps, *value_to = k + Lk * d_steps + first / kPer * Dv;
      const auto keys = Rows<S>::of(p.key, kv / Hkv, kv % Hkv).from(first);
      const auto values = Rows<S>::of(p.value, kv / Hkv, kv % Hkv).from(first);
      copy_steps(keys, rows, D, key_to);
      if constexpr (kPer == 2) {
        weave_rows(values, rows, Dv, value_to);
      } else {
        copy_rows(values, rows, Dv, value_to);
      }
    });
  }

  Work work() const {
    Work work;
    work.workspace = Scratch(*this, nullptr).bytes * static_cast<size_t>(num_threads()) +
                     static_cast<size_t>(copied_heads() * head_elements()) * sizeof(T);
    work.flops = 2.0 * static_cast<double>((D + Dv) * B * H) * visible_pairs(band, Lq);
    work.bytes = static_cast<double>(sizeof(S)) * static_cast<double>(B * (H * Lq * (D + Dv) + Hkv * Lk * (D + Dv)));
    return work;
  }
};

template <class S>
FASTATTN_INLINE fa_status call(const fa_attention_fwd_params& p, fa_launch& launch) {
  const bool weighs = p.weights.data != nullptr;
  if (weighs && p.lse.data == nullptr) {
    return fail(launch, FA_UNSUPPORTED, "attention on the CPU makes weights from lse, which is absent");
  }
  const Forward<S> forward(p);
  const bool few = Decode<S>::takes(p);
  Work work;
  if (launch.query) {
    work = forward.work();
    if (few) work.workspace = Decode<S>(p).workspace();
    if (weighs) {
      const WeightsPass<S> weights(p);
      work.workspace = max_of(work.workspace, weights.workspace(num_threads()));
      work.flops += weights.flops();
      work.bytes += static_cast<double>(sizeof(S)) * static_cast<double>(num_elements(p.weights));
    }
  }
  describe<"attention_fwd", S>(launch, work);
  if (launch.query) return FA_OK;
  few ? Decode<S>(p).run(launch) : forward.run(launch);
  if (weighs) WeightsPass<S>(p).run(launch);
  return FA_OK;
}

}  // namespace

#if defined(FASTATTN_ISA_HAS_BF16)
// The other dtypes have the kernels of the instruction set below.
fa_status attention_fwd(const fa_attention_fwd_params& p, fa_launch& launch) {
  return p.query.dtype == FA_BF16 ? call<bf16>(p, launch) : FASTATTN_ISA_BELOW::attention_fwd(p, launch);
}
#else
fa_status attention_fwd(const fa_attention_fwd_params& p, fa_launch& launch) {
  return visit_float(
      p.query.dtype, launch, [&]<class S>() __attribute__((always_inline)) { return call<S>(p, launch); });
}
#endif

}  // namespace fastattn::cpu::FASTATTN_ISA
