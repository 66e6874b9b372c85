// The gradients of what a head has of its own: ALiBi slopes and sinks.
//
//   dslope = -sum(dS * |position - key|)        dsink = -sum(exp(sink - lse) * delta),  over batches too
//
// A slope's parts come out of the tiles of dS, one part for each item of the backward; a sink's from rows alone, one
// part for each batch and head. Parts wait in the workspace and are added in order.
#pragma once

#include "attention_scores.h"

namespace fastattn::cpu::FASTATTN_ISA {

// sum(dS * |position - key|) of a tile, still in lanes.
template <class T>
inline Vec<T> slope_sum(const ScoreTransform<T>& transform, const Band& band, const TilePlace& t, const T* ds) {
  using V = Vec<T>;
  constexpr int64_t L = V::kLanes, M = kBlockM<T>;
  V total = V::zero();
  for (int64_t i = 0; i < t.m; i += L) {
    const KeyRange range = KeyRange::of<T>(band, t, i);
    const V distance = transform.signed_distance(t, i);
    V sum = V::zero();
    for (int64_t j = range.first; j < range.end; ++j) {
      sum = fma(V::load(ds + j * M + i), abs(distance - V::set(static_cast<T>(j))), sum);
    }
    total += select(Mask<T>::first(static_cast<int>(min_of(L, t.m - i))), sum, V::zero());
  }
  return total;
}

// gradient(batch, head) = -sum of parts[(batch * heads + head) * n + i], over the axes of stride 0 too.
template <class T>
inline void add_head_parts(const fa_tensor& gradient, int64_t batch_stride, int64_t head_stride, int64_t batches,
                           int64_t heads, const T* parts, int64_t n) {
  for (int64_t b = 0; b < (batch_stride == 0 ? 1 : batches); ++b) {
    for (int64_t h = 0; h < (head_stride == 0 ? 1 : heads); ++h) {
      T sum = 0;
      for (int64_t batch = b; batch < (batch_stride == 0 ? batches : b + 1); ++batch) {
        for (int64_t head = h; head < (head_stride == 0 ? heads : h + 1); ++head) {
          T part = 0;
          for (int64_t i = 0; i < n; ++i) part = part + parts[(batch * heads + head) * n + i];
          sum = sum + part;
        }
      }
      store_number(gradient, b * batch_stride + h * head_stride, -sum);
    }
  }
}

// Of a Backward (attention_bwd.simd.cpp).
template <class Backward>
struct SinkGradient {
  using T = typename Backward::T;
  using V = Vec<T>;
  static constexpr int64_t L = V::kLanes;

  const Backward& f;

  void run(fa_launch& launch) const {
    T* parts = f.head_parts(launch);
    parallel_for(launch, f.B * f.H, [&](int64_t item, int worker) {
      typename Backward::Scratch w = f.scratch(launch, worker);
      const int64_t batch = item / f.H, head = item % f.H;
      const auto view = f.view_of(batch, head);
      T total = 0;
      for (int64_t block = 0; block < f.blocks.count(); ++block) {
        const int64_t q0 = f.blocks.begin(block), m = f.blocks.rows(block);
        f.pack_block(batch, head, q0, m, view, w);
        V sum = V::zero();
        for (int64_t i = 0; i < m; i += L) {
          // Where nothing at all was seen lse is -inf, and stands here as +inf: the sink is -inf, its weight 0.
          const V weight = exp_score(V::set(view.sink) - V::load(w.lse + i) - V::load(w.lse_rest + i));
          sum += select(Mask<T>::first(static_cast<int>(min_of(L, m - i))), weight * V::load(w.delta + i), V::zero());
        }
        total = total + reduce_add(sum);
      }
      parts[item] = total;
    });
    add_head_parts(f.g.dsinks, 0, f.g.dsinks.strides[0], f.B, f.H, parts, 1);
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
