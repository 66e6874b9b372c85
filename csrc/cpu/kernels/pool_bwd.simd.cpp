// pool, backward: dx from dout and, of a maximum, the number of its tap.
//
//   dx (N, C, H, W)   dout, index (N, C, OH, OW)   any strides
//
// A gather: an item owns elements of dx and adds up the windows that they are in, in row-major order of the windows, so
// nothing is added to twice and no split of the work can change the bits. The loops are those of the forward
// (pool_fwd.simd.cpp): along the channels where they are contiguous, else along a row of dx, to which each row of
// windows that reaches it gives by one tap column at a time.
//
// Traffic: dout, the index and dx once; the windows that elements share come from the cache. The roofline is memory.
#include "elementwise.h"
#include "pool_disjoint.h"
#include "pool_window.h"
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

// Which of n indices are `here`.
template <class A, class I>
FASTATTN_INLINE Mask<A> is_at(const I* index, int n, I here) {
  if constexpr (sizeof(I) == 1) {
    return load_bytes<A>(index, n) == Vec<A>::set(static_cast<A>(here));
  } else {
    alignas(64) uint8_t same[Vec<A>::kLanes];
    for (int i = 0; i < n; ++i) same[i] = index[i] == here;
    return load_mask<A>(same, n);
  }
}

// Backward, channels --------------------------------------------------------------------------------------------------

// dx of one element (n, h, w), channels [c, c + count).
template <class T, class I, bool kMax, int kVectors>
FASTATTN_INLINE void spread_channels(const Pool& p, int64_t n, int64_t h, int64_t w, int64_t c, int count) {
  using A = compute_t<T>;
  using V = Vec<A>;
  constexpr int kLanes = V::kLanes;
  V sum[kVectors];
  for (int k = 0; k < kVectors; ++k) sum[k] = V::zero();
  const int64_t first_w = p.w.first_window(w), end_w = p.w.end_window(w);
  for (int64_t oh = p.h.first_window(h), end_h = p.h.end_window(h); oh < end_h; ++oh) {
    const int64_t kh = p.h.tap(oh, h);
    if (kh < 0) continue;
    for (int64_t ow = first_w; ow < end_w; ++ow) {
      const int64_t kw = p.w.tap(ow, w);
      if (kw < 0) continue;
      const T* dout = data<T>(p.pooled) + at(p.pooled, n, c, oh, ow);
      if constexpr (kMax) {
        const I* index = data<I>(p.index) + at(p.index, n, c, oh, ow);
        const I here = static_cast<I>(sizeof(I) == 1 ? kh * p.w.kernel + kw : h * p.w.in + w);
        for (int k = 0; k < kVectors; ++k) {
          const int m = kVectors == 1 ? count : kLanes;
          const Mask<A> same = is_at<A>(index + k * kLanes, m, here);
          sum[k] += select(same, load_lanes(dout + k * kLanes, m), V::zero());
        }
      } else {
        const V divisor = V::set(static_cast<A>(p.divisor(oh, ow)));
        for (int k = 0; k < kVectors; ++k) {
          sum[k] += load_lanes(dout + k * kLanes, kVectors == 1 ? count : kLanes) / divisor;
        }
      }
    }
  }
  T* dx = data<T>(p.plane) + at(p.plane, n, c, h, w);
  for (int k = 0; k < kVectors; ++k) store_lanes(sum[k], dx + k * kLanes, kVectors == 1 ? count : kLanes);
}

template <class T, class I, bool kMax>
void spread_by_channels(const Pool& p, const fa_launch& launch) {
  constexpr int kLanes = Vec<compute_t<T>>::kLanes, kBlock = kPoolVectors * kLanes;
  const int64_t rows = p.N * p.h.in, per_item = p.items_of(p.w.in * p.C, 1);
  parallel_for(launch, ceil_div(rows, per_item), [&](int64_t item, int) {
    for (int64_t row = item * per_item; row < min_of(rows, (item + 1) * per_item); ++row) {
      const int64_t n = row / p.h.in, h = row % p.h.in;
      for (int64_t w = 0; w < p.w.in; ++w) {
        int64_t c = 0;
        for (; c + kBlock <= p.C; c += kBlock) spread_channels<T, I, kMax, kPoolVectors>(p, n, h, w, c, kBlock);
        for (; c < p.C; c += kLanes) {
          spread_channels<T, I, kMax, 1>(p, n, h, w, c, int(min_of<int64_t>(kLanes, p.C - c)));
        }
      }
    }
  });
}

// Backward, rows and windows ------------------------------------------------------------------------------------------

// Of windows two apart the sums of the even elements of a row lie in the first half of a chunk, those of the odd ones
// in the second: what a tap gives is then a run.
FASTATTN_INLINE int64_t half_of_row(int64_t w) { return w % 2 * (kPoolChunk / 2) + w / 2; }

template <class T>
FASTATTN_INLINE void store_halves(const compute_t<T>* sum, T* dx, int64_t step, int64_t count) {
  using V = Vec<compute_t<T>>;
  constexpr int kLanes = V::kLanes;
  if (step != 1) {
    for (int64_t i = 0; i < count; ++i) dx[i * step] = narrow<T>(sum[half_of_row(i)]);
    return;
  }
  for (int64_t i = 0; i < count; i += 2 * kLanes) {
    const auto [low, high] = interleave(V::load(sum + i / 2), V::load(sum + kPoolChunk / 2 + i / 2));
    store_lanes(low, dx + i, int(min_of<int64_t>(kLanes, count - i)));
    if (i + kLanes < count) store_lanes(high, dx + i + kLanes, int(min_of<int64_t>(kLanes, count - i - kLanes)));
  }
}

// What window row oh gives to the elements [begin, end) of row h of dx, of which it holds tap row kh. The taps go from
// the last to the first: an element's windows then come in order.
template <class T, class I, bool kMax>
FASTATTN_INLINE void spread_row(const Pool& p, const PoolColumns& columns, const T* dout, const I* index, int64_t oh,
                                int64_t kh, int64_t h, compute_t<T>* sum) {
  using A = compute_t<T>;
  using V = Vec<A>;
  alignas(64) A share[kPoolChunk], divisor[kPoolChunk];
  alignas(64) T buffer[kPoolChunk];
  alignas(64) uint8_t same[kPoolChunk];
  const int64_t dout_step = p.pooled.strides[3], index_step = kMax ? p.index.strides[3] : 0;
  for (int64_t kw = p.w.kernel - 1; kw >= 0; --kw) {
    const auto [first, last] = columns[kw];
    const int64_t count = last - first;
    if (count <= 0) continue;
    const T* gradients = dout + first * dout_step;
    if (dout_step != 1) {
      gather(gradients, dout_step, buffer, count);
      gradients = buffer;
    }
    if constexpr (kMax) {
      const I* from = index + first * index_step;
      if constexpr (sizeof(I) == 1) {
        const I here = static_cast<I>(kh * p.w.kernel + kw);
        if (index_step == 1) {
          for (int64_t i = 0; i < count; ++i) same[i] = from[i] == here;
        } else {
          for (int64_t i = 0; i < count; ++i) same[i] = from[i * index_step] == here;
        }
      } else {
        const I here = static_cast<I>(h * p.w.in + p.w.start(first) + kw * p.w.dilation);
        for (int64_t i = 0; i < count; ++i) same[i] = from[i * index_step] == here + i * p.w.stride;
      }
    } else {
      p.divisor.fill(oh, first, last, divisor);
    }
    const int64_t w = p.w.start(first) + kw * p.w.dilation - columns.begin;
    A* to = sum + (p.w.stride == 2 ? half_of_row(w) : w);
    map_row<A>(count, [&](int64_t i, int m) {
      V g = load_lanes(gradients + i, m);
      if constexpr (kMax) {
        g = select(load_mask<A>(same + i, m), g, V::zero());
      } else {
        g = g / load_lanes(divisor + i, m);
      }
      if (p.w.stride <= 2) {
        store_lanes(load_lanes(to + i, m) + g, to + i, m);
      } else {
        store_lanes(g, share + i, m);
      }
    });
    for (int64_t i = 0; p.w.stride > 2 && i < count; ++i) to[i * p.w.stride] += share[i];
  }
}

// The same of windows that differ.
template <class T, class I, bool kMax>
FASTATTN_INLINE void spread_windows(const Pool& p, const T* dout, const I* index, int64_t oh, int64_t kh, int64_t h,
                                    int64_t begin, int64_t end, compute_t<T>* sum) {
  using A = compute_t<T>;
  for (int64_t ow = p.w.first_window(begin), last = p.w.end_window(end - 1); ow < last; ++ow) {
    const int64_t start = p.w.start(ow);
    const A g = widen(dout[ow * p.pooled.strides[3]]);
    if constexpr (kMax) {
      const int64_t of_row = sizeof(I) == 1 ? kh * p.w.kernel : h * p.w.in + start;
      const int64_t kw = static_cast<int64_t>(index[ow * p.index.strides[3]]) - of_row;
      const int64_t w = start + kw;
      if (kw >= 0 && kw < p.w.end_tap(ow) && w >= begin && w < end) sum[w - begin] += g;
    } else {
      const A share = g / static_cast<A>(p.divisor(oh, ow));
      const int64_t stop = min_of(end, start + p.w.end_tap(ow));
      for (int64_t w = max_of(begin, start); w < stop; ++w) sum[w - begin] += share;
    }
  }
}

template <class T, class I, bool kMax>
void spread_by_rows(const Pool& p, const fa_launch& launch) {
  using A = compute_t<T>;
  const int64_t rows = p.N * p.C * p.h.in, per_item = p.items_of(p.w.in, 1);
  parallel_for(launch, ceil_div(rows, per_item), [&](int64_t item, int) {
    alignas(64) A sum[kPoolChunk];
    for (int64_t begin = 0; begin < p.w.in; begin += kPoolChunk) {
      const int64_t end = min_of(p.w.in, begin + kPoolChunk);
      const PoolColumns columns(p.w, begin, end, false);
      for (int64_t row = item * per_item; row < min_of(rows, (item + 1) * per_item); ++row) {
        const int64_t plane = row / p.h.in, n = plane / p.C, c = plane % p.C, h = row % p.h.in;
        const bool halves = !p.w.adaptive && p.w.stride == 2;
        for (int64_t i = 0; i < (halves ? kPoolChunk : end - begin); ++i) sum[i] = 0;
        for (int64_t oh = p.h.first_window(h), last = p.h.end_window(h); oh < last; ++oh) {
          const int64_t kh = p.h.tap(oh, h);
          if (kh < 0) continue;
          const T* dout = data<T>(p.pooled) + at(p.pooled, n, c, oh, 0);
          const I* index = kMax ? data<I>(p.index) + at(p.index, n, c, oh, 0) : nullptr;
          if (p.h.adaptive) {
            spread_windows<T, I, kMax>(p, dout, index, oh, kh, h, begin, end, sum);
          } else {
            spread_row<T, I, kMax>(p, columns, dout, index, oh, kh, h, sum);
          }
        }
        T* dx = data<T>(p.plane) + at(p.plane, n, c, h, begin);
        if (halves) {
          store_halves(sum, dx, p.plane.strides[3], end - begin);
        } else if (p.plane.strides[3] == 1) {
          map_row<A>(end - begin, [&](int64_t i, int m) { store_lanes(load_lanes(sum + i, m), dx + i, m); });
        } else {
          for (int64_t i = 0; i < end - begin; ++i) dx[i * p.plane.strides[3]] = narrow<T>(sum[i]);
        }
      }
    }
  });
}

// Of an average over whole planes: every element of one gets the same.
template <class T>
void spread_evenly(const Pool& p, const fa_launch& launch) {
  using A = compute_t<T>;
  using V = Vec<A>;
  const int64_t planes = p.N * p.C, size = p.h.in * p.w.in, per_item = p.items_of(size, 1);
  const bool flat = p.plane.strides[3] == 1 && p.plane.strides[2] == p.w.in;
  parallel_for(launch, ceil_div(planes, per_item), [&](int64_t item, int) {
    for (int64_t plane = item * per_item; plane < min_of(planes, (item + 1) * per_item); ++plane) {
      const int64_t n = plane / p.C, c = plane % p.C;
      const V share = V::set(widen(data<T>(p.pooled)[at(p.pooled, n, c, 0, 0)]) / static_cast<A>(p.divisor(0, 0)));
      T* dx = data<T>(p.plane) + at(p.plane, n, c, 0, 0);
      if (flat) {
        map_row<A>(size, [&](int64_t i, int m) { store_lanes(share, dx + i, m); });
        continue;
      }
      alignas(64) T one[V::kLanes];
      share.store(one);
      for (int64_t h = 0; h < p.h.in; ++h) {
        for (int64_t w = 0; w < p.w.in; ++w) dx[h * p.plane.strides[2] + w * p.plane.strides[3]] = one[0];
      }
    }
  });
}

template <class T, class I, bool kMax>
void pool_backward(const Pool& p, const fa_launch& launch) {
  if (const DisjointLoop loop = disjoint_loop(p); sizeof(I) == 1 && loop != DisjointLoop::kNone) {
    const bool two = p.h.kernel == 2 && p.w.kernel == 2;
    return two ? spread_disjoint<T, kMax, true>(p, loop, launch) : spread_disjoint<T, kMax, false>(p, loop, launch);
  }
  if (p.loop() == PoolLoop::kChannels) return spread_by_channels<T, I, kMax>(p, launch);
  if (!kMax && p.h.adaptive && p.h.out == 1 && p.w.out == 1) return spread_evenly<T>(p, launch);
  spread_by_rows<T, I, kMax>(p, launch);
}

}  // namespace

fa_status pool_bwd(const fa_pool_bwd_params& params, fa_launch& launch) {
  return visit_float(params.dx.dtype, launch, [&]<class T>() {
    const Pool p(params.dx, params.dout, params.index, params.window);
    if (p.is_max()) {
      describe<"max_pool_bwd", T>(launch, p.work(sizeof(T)));
    } else {
      describe<"avg_pool_bwd", T>(launch, p.work(sizeof(T)));
    }
    if (launch.query) return FA_OK;
    if (!p.is_max()) {
      pool_backward<T, uint8_t, false>(p, launch);
    } else if (p.index.dtype == FA_U8) {
      pool_backward<T, uint8_t, true>(p, launch);
    } else {
      pool_backward<T, int64_t, true>(p, launch);
    }
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
