// The gradient of attention's additive mask: dmask = dS, summed over the mask's broadcast axes. A pass of its own, in
// which an item owns what it writes.
#pragma once

#include "attention_pack.h"

namespace fastattn::cpu::FASTATTN_ISA {

// Of a Backward (attention_bwd.simd.cpp), from whose tiles of dS it is made; kKeys: keys of a tile.
template <class Backward, class S, int64_t kKeys>
struct MaskGradient {
  using T = compute_t<S>;
  using V = Vec<T>;
  static constexpr int64_t L = V::kLanes, M = kBlockM<T>;

  const Backward& f;

  // An item owns a tile of dmask: one block of queries and one of keys, or all of them along an axis that is summed;
  // and all batches or heads where those are summed. It takes the tiles of dS that land in it, in order.
  void run_item(int64_t item, typename Backward::Scratch& w) const {
    const int64_t* stride = f.g.dmask.strides;
    const Balanced key_blocks(f.Lk, kKeys);
    struct Axis {
      int64_t begin, end;
    };
    auto axis = [&](int i, int64_t n) {
      if (stride[i] == 0) return Axis{0, n};
      const int64_t at = item % n;
      item /= n;
      return Axis{at, at + 1};
    };
    const Axis keys = axis(3, key_blocks.parts), queries = axis(2, f.blocks.count()), heads = axis(1, f.H),
               batches = axis(0, f.B);
    T* sum = w.dq;  // [key][query]; one row where keys are summed
    const int64_t sum_keys = stride[3] == 0 ? 1 : key_blocks.count(keys.begin);
    for (int64_t i = 0; i < sum_keys * M; i += L) V::zero().store(sum + i);
    for (int64_t batch = batches.begin; batch < batches.end; ++batch) {
      for (int64_t head = heads.begin; head < heads.end; ++head) {
        const Rows<S> k = Rows<S>::of(f.p.key, batch, head / f.group);
        const Rows<S> v = Rows<S>::of(f.p.value, batch, head / f.group);
        const auto view = f.view_of(batch, head);
        for (int64_t block = queries.begin; block < queries.end; ++block) {
          const int64_t q0 = f.blocks.begin(block), m = f.blocks.rows(block);
          f.pack_block(batch, head, q0, m, view, w);
          for (int64_t key = keys.begin; key < keys.end; ++key) {
            const TilePlace t{q0, m, key_blocks.begin(key), key_blocks.count(key)};
            Sight sight;
            if (t.outside(f.band)) continue;
            const Rows<T> tile_k = readable_steps(k.from(t.k0), t.n, f.D, w.k);
            const Rows<T> tile_v = readable_steps(v.from(t.k0), t.n, f.Dv, w.v);
            if (!f.tile_gradient(tile_k, tile_v, view, t, w, sight)) continue;
            for (int64_t i = 0; i < m; i += L) {
              const int64_t real = min_of(L, m - i);
              for (int64_t j = 0; j < t.n; ++j) {
                T* to = sum + (stride[3] == 0 ? 0 : j) * M + i;
                (V::load(to) + V::load(w.ds + j * M + i, static_cast<int>(real))).store(to);
              }
            }
          }
        }
      }
    }
    S* to = at<S>(f.g.dmask, batches.begin, heads.begin);
    const int64_t q0 = stride[2] == 0 ? 0 : f.blocks.begin(queries.begin),
                  m = stride[2] == 0 ? M : f.blocks.rows(queries.begin);
    const int64_t k0 = stride[3] == 0 ? 0 : key_blocks.begin(keys.begin);
    for (int64_t j = 0; j < sum_keys; ++j) {
      T total = 0;
      for (int64_t i = 0; i < m; ++i) {
        if (stride[2] == 0) {
          total = total + sum[j * M + i];
        } else {
          to[(q0 + i) * stride[2] + (k0 + j) * stride[3]] = narrow<S>(sum[j * M + i]);
        }
      }
      if (stride[2] == 0) to[(k0 + j) * stride[3]] = narrow<S>(total);
    }
  }

  void run(fa_launch& launch) const {
    const size_t per_thread = typename Backward::Scratch(f, nullptr).bytes;
    const int64_t n[4] = {f.B, f.H, f.blocks.count(), ceil_div(f.Lk, int64_t{kKeys})};
    int64_t items = 1;
    for (int i = 0; i < 4; ++i) items *= f.g.dmask.strides[i] == 0 ? 1 : n[i];
    parallel_for(launch, items, [&](int64_t item, int worker) {
      typename Backward::Scratch w(f, static_cast<char*>(launch.workspace) + static_cast<size_t>(worker) * per_thread);
      run_item(item, w);
    });
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
