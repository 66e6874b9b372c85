// What a gradient of the weights themselves adds to delta: rowsum(P * dW) of every row. A pass of its own, in front.
#pragma once

#include "attention_weights.h"

namespace fastattn::cpu::FASTATTN_ISA {

// Of a Backward (attention_bwd.simd.cpp); kKeys: keys of a tile.
template <class Backward, class S, int64_t kKeys>
struct WeightsDelta {
  using T = compute_t<S>;
  using V = Vec<T>;
  static constexpr int64_t L = V::kLanes, M = kBlockM<T>;

  const Backward& f;

  // [B][H][Lq], in the workspace.
  const T* run(fa_launch& launch) const {
    T* sums = f.row_parts(launch);
    parallel_for(launch, f.B * f.H * f.blocks.count(), [&](int64_t item, int worker) {
      const int64_t head_item = item / f.blocks.count(), batch = head_item / f.H, head = head_item % f.H;
      const int64_t q0 = f.blocks.begin(item % f.blocks.count()), m = f.blocks.rows(item % f.blocks.count());
      const typename Backward::Scratch w = f.scratch(launch, worker);
      const HeadView<T> view = f.view_of(batch, head);
      for (int64_t i = 0; i < M; i += L) V::zero().store(w.delta + i);
      if (view.place >= 0) {
        f.scores.pack_query(batch, head, q0, m, w.qt);
        f.scores.load_lse(batch, head, q0, m, view, kKeys, w);
        const Rows<S> keys = Rows<S>::of(f.p.key, batch, head / f.group);
        const int64_t end = f.band.end_key(q0 + m - 1);
        for (int64_t k0 = f.band.first_key(q0); k0 < end; k0 += kKeys) {
          const TilePlace t{q0, m, k0, min_of<int64_t>(kKeys, end - k0)};
          const Sight sight = look<S>(f.band, view.mask, t, w.mask);
          if (sight == Sight::kNone) continue;
          f.scores.tile(readable_steps(keys.from(k0), t.n, f.D, w.k_copy), view, t, w.qt, w.s, nullptr);
          f.scores.weigh(t, sight, w);
          f.dweights.fill(batch, view.place, t, w.dw);
          for (int64_t i = 0; i < m; i += L) {
            V sum = V::zero();
            for (int64_t j = 0; j < t.n; ++j) {
              const V weight = V::load(w.s + j * M + i);
              sum += select(weight == V::zero(), V::zero(), weight * V::load(w.dw + j * M + i));
            }
            (V::load(w.delta + i) + sum).store(w.delta + i);
          }
        }
      }
      for (int64_t i = 0; i < m; ++i) sums[head_item * f.Lq + q0 + i] = w.delta[i];
    });
    return sums;
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
