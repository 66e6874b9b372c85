// pool of windows that lie side by side: stride = kernel, no padding, no dilation, every tap inside. An element of x is
// in one window, or at the end of its row or plane in none.
//
// Forward: a window is read, reduced in registers and written. Backward: an element of dx is written once, as the
// gradient of its window or as 0. The results are those of the loops in pool_fwd and pool_bwd to the bit, but for the
// sign of a zero in dx; what is saved is the buffers of a row, the looking for windows and the divisions.
//
//   channels   the vectors lie along C: a tap is a contiguous load or store
//   rows       windows two columns wide: the vectors lie along a row of out, and the taps are the even and the odd
//              lanes of two vectors of x
#pragma once

#include "cpu/simd/lanes.h"
#include "pool_window.h"
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {

enum class DisjointLoop { kNone, kChannels, kRows };

FASTATTN_INLINE DisjointLoop disjoint_loop(const Pool& p) {
  auto fits = [](const PoolAxis& a) {
    const bool side_by_side = a.stride == a.kernel && a.padding == 0 && (a.dilation == 1 || a.kernel == 1);
    return !a.adaptive && side_by_side && a.out * a.kernel <= a.in;
  };
  const bool bytes = p.index.data == nullptr || p.index.dtype == FA_U8;
  if (!bytes || !fits(p.h) || !fits(p.w)) return DisjointLoop::kNone;
  if (p.loop() == PoolLoop::kChannels) return DisjointLoop::kChannels;
  const bool contiguous =
      p.plane.strides[3] == 1 && p.pooled.strides[3] == 1 && (p.index.data == nullptr || p.index.strides[3] == 1);
  return p.w.kernel == 2 && contiguous ? DisjointLoop::kRows : DisjointLoop::kNone;
}

// The taps of a window; of 2 x 2, the common one, the compiler knows it.
template <bool kTwo>
struct Taps {
  int64_t h, w;
  FASTATTN_INLINE int64_t height() const { return kTwo ? 2 : h; }
  FASTATTN_INLINE int64_t width() const { return kTwo ? 2 : w; }
};

// best and its tap, after one more.
template <class A>
FASTATTN_INLINE void take_larger(Vec<A> x, Vec<A> tap, Vec<A>& best, Vec<A>& best_tap) {
  const Mask<A> larger = (x > best) | is_nan(x);
  best = select(larger, x, best);
  best_tap = select(larger, tap, best_tap);
}

// Calls into the cache what will be read soon: of short rows the loads are masked, and the core does not see where they
// are going.
template <class T>
FASTATTN_INLINE void call_ahead(const T* p, int n) {
  constexpr int64_t kBytes = 2048, kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < n; i += kLine) __builtin_prefetch(p + i + kBytes / sizeof(T));
}

// What a window gives, tap by tap in row-major order.
template <class A, bool kMax>
struct WindowValue {
  using V = Vec<A>;
  V value = V::zero(), tap = V::zero();
  FASTATTN_INLINE void take(V x, int64_t number) {
    if constexpr (!kMax) {
      value += x;
    } else if (number == 0) {
      value = x;
    } else {
      take_larger<A>(x, V::set(static_cast<A>(number)), value, tap);
    }
  }
};

// f(first, rows of windows that follow it in its plane or image): the rows [begin, end) of `height` each.
template <class F>
FASTATTN_INLINE void each_plane(int64_t begin, int64_t end, int64_t height, F&& f) {
  while (begin < end) {
    const int64_t plane = begin / height, oh = begin % height, count = min_of(end - begin, height - oh);
    f(plane, oh, oh + count);
    begin += count;
  }
}

// Forward -------------------------------------------------------------------------------------------------------------

template <class T, bool kMax, bool kTwo>
FASTATTN_INLINE void disjoint_channels(const Pool& p, const Taps<kTwo>& taps, const T* x, T* out, uint8_t* index) {
  using A = compute_t<T>;
  const int64_t step_h = p.plane.strides[2], step_w = p.plane.strides[3];
  const Vec<A> divisor = Vec<A>::set(kMax ? A(1) : static_cast<A>(p.divisor.same));
  for (int64_t ow = 0; ow < p.w.out; ++ow) {
    const T* const from = x + ow * taps.width() * step_w;
    T* const to = out + ow * p.pooled.strides[3];
    uint8_t* const numbers = index + (index == nullptr ? 0 : ow * p.index.strides[3]);
    map_row<A>(p.C, [&](int64_t c, int n) {
      WindowValue<A, kMax> window;
      for (int64_t i = 0; i < taps.height(); ++i) {
        for (int64_t j = 0; j < taps.width(); ++j) {
          window.take(load_lanes(from + i * step_h + j * step_w + c, n), i * taps.width() + j);
        }
      }
      store_lanes(kMax ? window.value : window.value / divisor, to + c, n);
      if (kMax && index != nullptr) store_bytes(window.tap, numbers + c, n);
    });
  }
}

template <class T, bool kMax, bool kTwo>
FASTATTN_INLINE void disjoint_row(const Pool& p, const Taps<kTwo>& taps, const T* x, T* out, uint8_t* index) {
  using A = compute_t<T>;
  constexpr int kLanes = Vec<A>::kLanes;
  const Vec<A> divisor = Vec<A>::set(kMax ? A(1) : static_cast<A>(p.divisor.same));
  map_row<A>(p.w.out, [&](int64_t ow, int n) {
    WindowValue<A, kMax> window;
    const int first = min_of(2 * n, kLanes), second = 2 * n - first;
    for (int64_t i = 0; i < taps.height(); ++i) {
      const T* const from = x + i * p.plane.strides[2] + 2 * ow;
      call_ahead(from, 2 * n);
      const auto [even, odd] =
          deinterleave(load_lanes(from, first), second == 0 ? Vec<A>::zero() : load_lanes(from + kLanes, second));
      window.take(even, 2 * i);
      window.take(odd, 2 * i + 1);
    }
    store_lanes(kMax ? window.value : window.value / divisor, out + ow, n);
    if (kMax && index != nullptr) store_bytes(window.tap, index + ow, n);
  });
}

// Rows of out, of an image or of a plane each.
template <class T, bool kMax, bool kTwo>
__attribute__((noinline)) void pool_disjoint(const Pool& p, DisjointLoop loop, const fa_launch& launch) {
  const bool channels = loop == DisjointLoop::kChannels;
  const int64_t planes = channels ? p.N : p.N * p.C, rows = planes * p.h.out;
  const int64_t per_item = p.items_of(channels ? p.w.out * p.C : p.w.out, p.window_taps());
  const Taps<kTwo> taps{p.h.kernel, p.w.kernel};
  parallel_for(launch, ceil_div(rows, per_item), [&](int64_t item, int) {
    each_plane(item * per_item, min_of(rows, (item + 1) * per_item), p.h.out,
               [&](int64_t plane, int64_t oh, int64_t end) {
                 const int64_t n = channels ? plane : plane / p.C, c = channels ? 0 : plane % p.C;
                 for (; oh < end; ++oh) {
                   const T* x = data<T>(p.plane) + at(p.plane, n, c, oh * taps.height(), 0);
                   T* out = data<T>(p.pooled) + at(p.pooled, n, c, oh, 0);
                   uint8_t* index = data<uint8_t>(p.index);
                   if (index != nullptr) index += at(p.index, n, c, oh, 0);
                   if (channels) {
                     disjoint_channels<T, kMax, kTwo>(p, taps, x, out, index);
                   } else {
                     disjoint_row<T, kMax, kTwo>(p, taps, x, out, index);
                   }
                 }
               });
  });
}

// Backward ------------------------------------------------------------------------------------------------------------

template <class T, bool kMax, bool kTwo>
FASTATTN_INLINE void spread_disjoint_channels(const Pool& p, const Taps<kTwo>& taps, const T* dout,
                                              const uint8_t* index, T* dx) {
  using A = compute_t<T>;
  using V = Vec<A>;
  const int64_t step_h = p.plane.strides[2], step_w = p.plane.strides[3];
  const V divisor = V::set(kMax ? A(1) : static_cast<A>(p.divisor.same));
  for (int64_t ow = 0; ow < p.w.out; ++ow) {
    const T* const from = dout + ow * p.pooled.strides[3];
    const uint8_t* const numbers = index + (kMax ? ow * p.index.strides[3] : 0);
    T* const to = dx + ow * taps.width() * step_w;
    map_row<A>(p.C, [&](int64_t c, int n) {
      V g = load_lanes(from + c, n), tap = V::zero();
      if constexpr (kMax) {
        tap = load_bytes<A>(numbers + c, n);
      } else {
        g = g / divisor;
      }
      for (int64_t i = 0; i < taps.height(); ++i) {
        for (int64_t j = 0; j < taps.width(); ++j) {
          const V number = V::set(static_cast<A>(i * taps.width() + j));
          store_lanes(kMax ? select(tap == number, g, V::zero()) : g, to + i * step_h + j * step_w + c, n);
        }
      }
    });
  }
}

template <class T, bool kMax, bool kTwo>
FASTATTN_INLINE void spread_disjoint_row(const Pool& p, const Taps<kTwo>& taps, const T* dout, const uint8_t* index,
                                         T* dx) {
  using A = compute_t<T>;
  using V = Vec<A>;
  constexpr int kLanes = V::kLanes;
  const V divisor = V::set(kMax ? A(1) : static_cast<A>(p.divisor.same));
  map_row<A>(p.w.out, [&](int64_t ow, int n) {
    V g = load_lanes(dout + ow, n), tap = V::zero();
    if constexpr (kMax) {
      tap = load_bytes<A>(index + ow, n);
    } else {
      g = g / divisor;
    }
    const int first = min_of(2 * n, kLanes), second = 2 * n - first;
    for (int64_t i = 0; i < taps.height(); ++i) {
      auto share = [&](int64_t j) { return kMax ? select(tap == V::set(static_cast<A>(2 * i + j)), g, V::zero()) : g; };
      const auto [low, high] = interleave(share(0), share(1));
      T* const to = dx + i * p.plane.strides[2] + 2 * ow;
      store_lanes(low, to, first);
      if (second != 0) store_lanes(high, to + kLanes, second);
    }
  });
}

// A row of windows owns its rows of dx, the last one those below it too.
template <class T, bool kMax, bool kTwo>
__attribute__((noinline)) void spread_disjoint(const Pool& p, DisjointLoop loop, const fa_launch& launch) {
  using A = compute_t<T>;
  const bool channels = loop == DisjointLoop::kChannels;
  const int64_t planes = channels ? p.N : p.N * p.C, rows = planes * p.h.out;
  const int64_t per_item = p.items_of(channels ? p.w.in * p.C : p.w.in, p.h.kernel);
  const int64_t length = channels ? p.C : 1, covered = p.w.out * p.w.kernel;
  const Taps<kTwo> taps{p.h.kernel, p.w.kernel};
  auto clear = [&](T* row, int64_t from) {
    for (int64_t w = from; w < p.w.in; ++w) {
      T* const to = row + w * p.plane.strides[3];
      map_row<A>(length, [&](int64_t i, int n) { store_lanes(Vec<A>::zero(), to + i, n); });
    }
  };
  parallel_for(launch, ceil_div(rows, per_item), [&](int64_t item, int) {
    each_plane(item * per_item, min_of(rows, (item + 1) * per_item), p.h.out,
               [&](int64_t plane, int64_t oh, int64_t end) {
                 const int64_t n = channels ? plane : plane / p.C, c = channels ? 0 : plane % p.C;
                 for (; oh < end; ++oh) {
                   const int64_t h = oh * taps.height();
                   const T* dout = data<T>(p.pooled) + at(p.pooled, n, c, oh, 0);
                   const uint8_t* index = nullptr;
                   if constexpr (kMax) index = data<uint8_t>(p.index) + at(p.index, n, c, oh, 0);
                   T* dx = data<T>(p.plane) + at(p.plane, n, c, h, 0);
                   if (channels) {
                     spread_disjoint_channels<T, kMax, kTwo>(p, taps, dout, index, dx);
                   } else {
                     spread_disjoint_row<T, kMax, kTwo>(p, taps, dout, index, dx);
                   }
                   const int64_t last = oh + 1 == p.h.out ? p.h.in : h + taps.height();
                   for (int64_t row = h; row < last; ++row) {
                     clear(dx + (row - h) * p.plane.strides[2], row < h + taps.height() ? covered : 0);
                   }
                 }
               });
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
