// attention, forward: out = softmax(scale * query @ key^T + mask) @ value, lse = log(sum(exp(scores)))
//
//   query (B, H, T, D)   key (B, Hkv, S, D)   value (B, Hkv, S, Dv)   mask (B, H, T, S) by strides
//   out (B, H, T, Dv)    lse (B, H, T)
//
// One item is a block of up to kBlockM queries of one head. It holds Q^T (scaled) and O^T in its thread's scratch and
// goes over the keys that the block may see, kBlockN at a time:
//
//   S^T = K Q^T   [kBlockN][kBlockM]       masked where partially hidden, skipped where hidden altogether
//   P^T = exp(S^T - row_max)               vertical: a query is a lane
//   O^T = O^T * shrink + V^T P^T   [Dv][kBlockM]
//
// Work: 4 D flops a pair. Keys and values are read in place, once per block of queries (L2 or L3: 8 bytes for 192 flops
// at D = Dv, f32), so FMA is the roof. The exponential costs about 12 vector operations where the products take 128
// FMAs (D = 64). Source: Dao, "FlashAttention-2" (2023), algorithm 1.
#include "attention_product.h"
#include "softmax_state.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int kBlockN = 128;

template <class T>
struct Forward {
  using V = Vec<T>;
  static constexpr int L = V::kLanes, M = kBlockM<T>;

  const fa_attention_fwd_params& p;
  const Band band;
  const int64_t B, H, Hkv, Lq, Lk, D, Dv;

  explicit Forward(const fa_attention_fwd_params& params)
      : p(params),
        band(Band::of(params)),
        B(params.query.shape[0]),
        H(params.query.shape[1]),
        Hkv(params.key.shape[1]),
        Lq(params.query.shape[2]),
        Lk(params.key.shape[2]),
        D(params.query.shape[3]),
        Dv(params.value.shape[3]) {}

  // Per thread. With base = nullptr the addresses are offsets, and bytes what is needed.
  struct Scratch {
    T *q, *s, *mask, *o, *v;  // q[D][M] s[kBlockN][M] mask[kBlockN][M] o[Dv][M] v[kBlockN][Dv]
    T *row_max, *row_sum;     // [M]
    size_t bytes;

    Scratch(const Forward& f, char* base) {
      Carver carver{base};
      q = carver.take<T>(f.D * M);
      s = carver.take<T>(kBlockN * M);
      o = carver.take<T>(f.Dv * M);
      row_max = carver.take<T>(M);
      row_sum = carver.take<T>(M);
      mask = carver.take<T>(kBlockN * M);
      v = carver.take<T>(kBlockN * f.Dv);
      bytes = carver.bytes;
    }
  };

  struct Head {
    const T *q, *k, *v;
    T *out, *lse;
    MaskView mask;
  };
  Head head_of(int64_t batch, int64_t head) const {
    const int64_t kv_head = head / (H / Hkv);
    return {at<T>(p.query, batch, head),
            at<T>(p.key, batch, kv_head),
            at<T>(p.value, batch, kv_head),
            at<T>(p.out, batch, head),
            p.lse.data ? at<T>(p.lse, batch, head) : nullptr,
            MaskView::of<T>(p.mask, batch, head)};
  }

  // S^T of the tile, but for what the bounds hide from whole vectors of queries: there it keeps what it held.
  void scores(const Head& h, const TilePlace& t, const Scratch& w) const {
    multiply_scores<T>(band, t, h.k + t.k0 * p.key.strides[2], p.key.strides[2], p.key.strides[3], D, w.q, w.s);
  }

  // P^T in place of S^T, for the keys within each vector's bounds; the others are not read again. first: O^T is still
  // 0.
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
#pragma GCC unroll 4
      for (int64_t j = range.first; j < range.end; ++j) {
        const V e = exp_score(V::load(s + j * M) - base);
        e.store(s + j * M);
        sum += e;
      }
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
    const int64_t row = p.value.strides[2], column = p.value.strides[3];
    const T* v = h.v + t.k0 * row;
    if (sight == Sight::kAll || all_finite(v, row, column, t.n, Dv)) {
      return multiply_weights<T>(band, t, v, row, column, Dv, w.s, w.o);
    }
    copy_finite(v, row, column, t.n, Dv, w.v, Dv);
    multiply_weights<T>(band, t, w.v, Dv, 1, Dv, w.s, w.o);
    add_seen_products<T>(band, t, sight, w.mask, v, row, column, Dv, w.s, w.o);
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
    transpose_out<T>(
        w.o, m, Dv, h.out + q0 * p.out.strides[2],
        p.out.strides[2], [&](int64_t i) __attribute__((always_inline)) { return V::load(w.row_sum + i); });
  }

  void block(const Head& h, int64_t q0, int64_t m, const Scratch& w) const {
    const V scale = V::set(static_cast<T>(p.scale));
    const T* q = h.q + q0 * p.query.strides[2];
    transpose_rows<T>(
        q, p.query.strides[2], p.query.strides[3], m, D, w.q,
        M, [&](V x) __attribute__((always_inline)) { return x * scale; });
    const auto empty = SoftmaxState<T>::init();
    for (int64_t i = 0; i < M; i += L) {
      empty.row_max.store(w.row_max + i);
      empty.row_sum.store(w.row_sum + i);
    }
    for (int64_t i = 0; i < Dv * M; i += L) V::zero().store(w.o + i);

    const int64_t end = band.end_key(q0 + m - 1);
    bool first = true;
    for (int64_t k0 = band.first_key(q0); k0 < end; k0 += kBlockN) {
      const TilePlace t{q0, m, k0, min_of<int64_t>(kBlockN, end - k0)};
      const Sight sight = look<T>(band, h.mask, t, w.mask);
      if (sight == Sight::kNone) continue;
      scores(h, t, w);
      softmax(t, sight, first, w);
      first = false;
      accumulate(h, t, sight, w);
    }
    store(h, q0, m, w);
  }

  void run(fa_launch& launch) const {
    const size_t per_thread = Scratch(*this, nullptr).bytes;
    const QueryBlocks<T> blocks(Lq);
    const int64_t n = blocks.count();
    parallel_for(launch, B * H * n, [&](int64_t item, int worker) {
      const int64_t head = item / n, i = n - 1 - item % n;  // causal: the longest first
      const Scratch w(*this, static_cast<char*>(launch.workspace) + static_cast<size_t>(worker) * per_thread);
      block(head_of(head / H, head % H), blocks.begin(i), blocks.rows(i), w);
    });
  }

  Work work() const {
    Work work;
    work.workspace = Scratch(*this, nullptr).bytes * static_cast<size_t>(num_threads());
    work.flops = 2.0 * static_cast<double>((D + Dv) * B * H) * visible_pairs(band, Lq);
    work.bytes = static_cast<double>(sizeof(T)) * static_cast<double>(B * (H * Lq * (D + Dv) + Hkv * Lk * (D + Dv)));
    return work;
  }
};

}  // namespace

fa_status attention_fwd(const fa_attention_fwd_params& p, fa_launch& launch) {
  if (const char* missing = unsupported_part(p)) return fail(launch, FA_UNSUPPORTED, missing);
  return visit_float(p.query.dtype, launch, [&]<class T>() {
    const Forward<T> forward(p);
    describe<"attention_fwd", T>(launch, launch.query ? forward.work() : Work{});
    if (launch.query) return FA_OK;
    forward.run(launch);
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
