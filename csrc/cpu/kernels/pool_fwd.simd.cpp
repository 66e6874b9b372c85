// pool, forward: maximum or average of windows over the last two axes.
//
//   x (N, C, H, W)   out, index (N, C, OH, OW)   any strides
//
// An element of a result belongs to one item, and is made in row-major order of its taps, so
// that no split of the work can change its bits. Three loops, by the strides and the kind of windows:
//   channels   the vectors lie along C, which is contiguous (channels-last): a tap is a contiguous load
//   rows       the vectors lie along a row of out: tap (kh, kw) of the windows of a row is a run of a row of x,
//              gathered where its step is not 1. An item is some rows.
//   windows    the windows of an adaptive op differ: one at a time, the sums along their rows
// Traffic: x and out once; the taps that windows share come from the cache. The roofline is memory.
//
// What a maximum keeps for its backward is the number of the tap in its window, in one byte where the window has at
// most 256 of them: torch keeps the position in eight, which for 2 x 2 windows of f32 is half as much traffic as x
// itself. While it is searched for, the number is a lane of the compute type, which is exact up to 2^24; the maximum of
// larger windows is searched for by the loop over windows.
#include "elementwise.h"
#include "pool_disjoint.h"
#include "pool_window.h"
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

// index[offset] of window (oh, ow), from the number of its tap.
FASTATTN_INLINE void store_index(const Pool& p, int64_t offset, int64_t oh, int64_t ow, int64_t tap) {
  if (p.index.dtype == FA_U8) {
    data<uint8_t>(p.index)[offset] = static_cast<uint8_t>(tap);
    return;
  }
  const int64_t h = p.h.start(oh) + tap / p.w.kernel * p.h.dilation;
  const int64_t w = p.w.start(ow) + tap % p.w.kernel * p.w.dilation;
  data<int64_t>(p.index)[offset] = h >= 0 && h < p.h.in && w >= 0 && w < p.w.in ? h * p.w.in + w : -1;
}

// The tap of a window that stands for it until a larger one comes: the first that is inside.
FASTATTN_INLINE int64_t first_inside(const Pool& p, int64_t oh, int64_t ow) {
  return p.h.first_tap(oh) * p.w.kernel + p.w.first_tap(ow);
}

// Forward, channels ---------------------------------------------------------------------------------------------------

template <class T, bool kMax, int kVectors>
FASTATTN_INLINE void pool_channels(const Pool& p, int64_t n, int64_t oh, int64_t ow, int64_t c, int count) {
  using A = compute_t<T>;
  using V = Vec<A>;
  constexpr int kLanes = V::kLanes;
  V value[kVectors], tap[kVectors];
  for (int k = 0; k < kVectors; ++k) {
    value[k] = kMax ? V::set(-kInf<A>) : V::zero();
    tap[k] = V::set(static_cast<A>(first_inside(p, oh, ow)));
  }
  const int64_t end_h = p.h.end_tap(oh), first_w = p.w.first_tap(ow), end_w = p.w.end_tap(ow);
  for (int64_t kh = p.h.first_tap(oh); kh < end_h; ++kh) {
    const T* x = data<T>(p.plane) + at(p.plane, n, c, p.h.start(oh) + kh * p.h.dilation, p.w.start(ow));
    for (int64_t kw = first_w; kw < end_w; ++kw) {
      const T* from = x + kw * p.w.dilation * p.plane.strides[3];
      const V number = V::set(static_cast<A>(kh * p.w.kernel + kw));
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k) {
        const V v = load_lanes(from + k * kLanes, kVectors == 1 ? count : kLanes);
        if constexpr (kMax) {
          take_larger<A>(v, number, value[k], tap[k]);
        } else {
          value[k] += v;
        }
      }
    }
  }
  const V divisor = V::set(kMax ? A(1) : static_cast<A>(p.divisor(oh, ow)));
  T* out = data<T>(p.pooled) + at(p.pooled, n, c, oh, ow);
  for (int k = 0; k < kVectors; ++k) {
    store_lanes(kMax ? value[k] : value[k] / divisor, out + k * kLanes, kVectors == 1 ? count : kLanes);
  }
  if (!kMax || p.index.data == nullptr) return;
  const int64_t offset = at(p.index, n, c, oh, ow);
  if (p.index.dtype == FA_U8) {
    uint8_t* to = data<uint8_t>(p.index) + offset;
    for (int k = 0; k < kVectors; ++k) store_bytes(tap[k], to + k * kLanes, kVectors == 1 ? count : kLanes);
    return;
  }
  alignas(64) A taps[kVectors * kLanes];
  for (int k = 0; k < kVectors; ++k) tap[k].store(taps + k * kLanes);
  for (int i = 0; i < count; ++i) store_index(p, offset + i, oh, ow, static_cast<int64_t>(taps[i]));
}

template <class T, bool kMax>
void pool_by_channels(const Pool& p, const fa_launch& launch) {
  constexpr int kLanes = Vec<compute_t<T>>::kLanes, kBlock = kPoolVectors * kLanes;
  const int64_t rows = p.N * p.h.out, per_item = p.items_of(p.w.out * p.C, p.window_taps());
  parallel_for(launch, ceil_div(rows, per_item), [&](int64_t item, int) {
    for (int64_t row = item * per_item; row < min_of(rows, (item + 1) * per_item); ++row) {
      const int64_t n = row / p.h.out, oh = row % p.h.out;
      for (int64_t ow = 0; ow < p.w.out; ++ow) {
        int64_t c = 0;
        for (; c + kBlock <= p.C; c += kBlock) pool_channels<T, kMax, kPoolVectors>(p, n, oh, ow, c, kBlock);
        for (; c < p.C; c += kLanes) {
          pool_channels<T, kMax, 1>(p, n, oh, ow, c, int(min_of<int64_t>(kLanes, p.C - c)));
        }
      }
    }
  });
}

// Forward, rows -------------------------------------------------------------------------------------------------------

// Tap (kh, kw) of the windows [begin, end) of a row: contiguous, in buffer where they are not in memory.
template <class T>
FASTATTN_INLINE const T* taps_of_row(const T* row, const PoolAxis& w, int64_t stride, int64_t kw, int64_t begin,
                                     int64_t end, T* buffer) {
  const T* from = row + (w.start(begin) + kw * w.dilation) * stride;
  const int64_t step = w.stride * stride;
  if (step == 1) return from;
  if (step == 2) {  // the common one, which the compiler turns into shuffles
    for (int64_t i = 0; i < end - begin; ++i) buffer[i] = from[2 * i];
  } else {
    for (int64_t i = 0; i < end - begin; ++i) buffer[i] = from[i * step];
  }
  return buffer;
}

template <class T, bool kMax>
FASTATTN_INLINE void pool_row(const Pool& p, const PoolColumns& columns, int64_t n, int64_t c, int64_t oh) {
  using A = compute_t<T>;
  using V = Vec<A>;
  alignas(64) A value[kPoolChunk], tap[kPoolChunk];
  alignas(64) T buffer[kPoolChunk];
  const int64_t begin = columns.begin, end = columns.end, count = end - begin;
  const int64_t first_h = p.h.first_tap(oh), end_h = p.h.end_tap(oh);
  for (int64_t i = 0; i < count; ++i) value[i] = kMax ? -kInf<A> : A(0);
  if constexpr (kMax) {
    for (int64_t i = 0; i < count; ++i) tap[i] = static_cast<A>(first_h * p.w.kernel);
    for (int64_t i = 0; i < count && p.w.start(begin + i) < 0; ++i) {
      tap[i] = static_cast<A>(first_inside(p, oh, begin + i));
    }
  }
  for (int64_t kh = first_h; kh < end_h; ++kh) {
    const T* row = data<T>(p.plane) + at(p.plane, n, c, p.h.start(oh) + kh * p.h.dilation, 0);
    for (int64_t kw = 0; kw < p.w.kernel; ++kw) {
      const auto [first, last] = columns[kw];
      if (first >= last) continue;
      const T* x = taps_of_row(row, p.w, p.plane.strides[3], kw, first, last, buffer);
      const V number = V::set(static_cast<A>(kh * p.w.kernel + kw));
      A *values = value + (first - begin), *taps = tap + (first - begin);
      map_row<A>(last - first, [&](int64_t i, int m) {
        const V v = load_lanes(x + i, m);
        V best = load_lanes(values + i, m);
        if constexpr (kMax) {
          V best_tap = load_lanes(taps + i, m);
          take_larger<A>(v, number, best, best_tap);
          store_lanes(best_tap, taps + i, m);
        } else {
          best += v;
        }
        store_lanes(best, values + i, m);
      });
    }
  }
  if constexpr (!kMax) {
    p.divisor.fill(oh, begin, end, tap);
    map_row<A>(count,
               [&](int64_t i, int m) { store_lanes(load_lanes(value + i, m) / load_lanes(tap + i, m), value + i, m); });
  }
  T* out = data<T>(p.pooled) + at(p.pooled, n, c, oh, begin);
  if (p.pooled.strides[3] == 1) {
    map_row<A>(count, [&](int64_t i, int m) { store_lanes(load_lanes(value + i, m), out + i, m); });
  } else {
    for (int64_t i = 0; i < count; ++i) out[i * p.pooled.strides[3]] = narrow<T>(value[i]);
  }
  if (!kMax || p.index.data == nullptr) return;
  const int64_t offset = at(p.index, n, c, oh, begin), step = p.index.strides[3];
  if (p.index.dtype == FA_U8 && step == 1) {
    uint8_t* to = data<uint8_t>(p.index) + offset;
    map_row<A>(count, [&](int64_t i, int m) { store_bytes(load_lanes(tap + i, m), to + i, m); });
  } else {
    for (int64_t i = 0; i < count; ++i) {
      store_index(p, offset + i * step, oh, begin + i, static_cast<int64_t>(tap[i]));
    }
  }
}

template <class T, bool kMax>
void pool_by_rows(const Pool& p, const fa_launch& launch) {
  const int64_t rows = p.N * p.C * p.h.out, per_item = p.items_of(p.w.out, p.window_taps());
  parallel_for(launch, ceil_div(rows, per_item), [&](int64_t item, int) {
    for (int64_t ow = 0; ow < p.w.out; ow += kPoolChunk) {
      const PoolColumns columns(p.w, ow, min_of(p.w.out, ow + kPoolChunk), true);
      for (int64_t row = item * per_item; row < min_of(rows, (item + 1) * per_item); ++row) {
        const int64_t plane = row / p.h.out;
        pool_row<T, kMax>(p, columns, plane / p.C, plane % p.C, row % p.h.out);
      }
    }
  });
}

// Forward, windows ----------------------------------------------------------------------------------------------------

template <class T>
FASTATTN_INLINE void max_window(const Pool& p, int64_t n, int64_t c, int64_t oh, int64_t ow) {
  using A = compute_t<T>;
  A best = -kInf<A>;
  int64_t best_tap = first_inside(p, oh, ow);
  for (int64_t kh = p.h.first_tap(oh); kh < p.h.end_tap(oh); ++kh) {
    const T* x = data<T>(p.plane) + at(p.plane, n, c, p.h.start(oh) + kh * p.h.dilation, p.w.start(ow));
    for (int64_t kw = p.w.first_tap(ow), end = p.w.end_tap(ow); kw < end; ++kw) {
      const A v = widen(x[kw * p.w.dilation * p.plane.strides[3]]);
      if (v > best || v != v) {
        best = v;
        best_tap = kh * p.w.kernel + kw;
      }
    }
  }
  data<T>(p.pooled)[at(p.pooled, n, c, oh, ow)] = narrow<T>(best);
  if (p.index.data != nullptr) store_index(p, at(p.index, n, c, oh, ow), oh, ow, best_tap);
}

template <class T>
FASTATTN_INLINE void average_window(const Pool& p, int64_t n, int64_t c, int64_t oh, int64_t ow) {
  using A = compute_t<T>;
  using V = Vec<A>;
  const int64_t step = p.plane.strides[3], height = p.h.end_tap(oh), width = p.w.end_tap(ow);
  alignas(64) T buffer[kElementwiseBuffer];
  V sum[2] = {V::zero(), V::zero()};
  auto add = [&](const T* from, int64_t count) {
    int64_t i = 0;
    for (; i + 2 * V::kLanes <= count; i += 2 * V::kLanes) {
      sum[0] += V::load(from + i);
      sum[1] += V::load(from + i + V::kLanes);
    }
    for (; i < count; i += V::kLanes) sum[0] += load_lanes(from + i, int(min_of<int64_t>(V::kLanes, count - i)));
  };
  const T* x = data<T>(p.plane) + at(p.plane, n, c, p.h.start(oh), p.w.start(ow));
  if (p.w.out == 1 && step == 1 && p.plane.strides[2] == width) {
    add(x, height * width);
  } else if (p.w.out == 1) {  // rows that are whole count as one, however they lie
    for (int64_t first = 0; first < height * width; first += kElementwiseBuffer) {
      const int64_t count = min_of(height * width - first, kElementwiseBuffer);
      for (int64_t i = 0; i < count;) {
        const int64_t kh = (first + i) / width, kw = (first + i) % width, run = min_of(count - i, width - kw);
        gather(x + kh * p.plane.strides[2] + kw * step, step, buffer + i, run);
        i += run;
      }
      add(buffer, count);
    }
  } else {
    for (int64_t kh = 0; kh < height; ++kh) {
      for (int64_t kw = 0; kw < width; kw += kElementwiseBuffer) {
        const int64_t count = min_of(width - kw, kElementwiseBuffer);
        const T* from = x + kh * p.plane.strides[2] + kw * step;
        if (step != 1) gather(from, step, buffer, count);
        add(step == 1 ? from : buffer, count);
      }
    }
  }
  data<T>(p.pooled)[at(p.pooled, n, c, oh, ow)] =
      narrow<T>(reduce_add(sum[0] + sum[1]) / static_cast<A>(p.divisor(oh, ow)));
}

template <class T, bool kMax>
void pool_by_windows(const Pool& p, const fa_launch& launch) {
  const int64_t windows = p.N * p.C * p.h.out * p.w.out, per_item = p.items_of(1, p.window_taps());
  parallel_for(launch, ceil_div(windows, per_item), [&](int64_t item, int) {
    for (int64_t at = item * per_item; at < min_of(windows, (item + 1) * per_item); ++at) {
      const int64_t row = at / p.w.out, plane = row / p.h.out;
      if constexpr (kMax) {
        max_window<T>(p, plane / p.C, plane % p.C, row % p.h.out, at % p.w.out);
      } else {
        average_window<T>(p, plane / p.C, plane % p.C, row % p.h.out, at % p.w.out);
      }
    }
  });
}

template <class T, bool kMax>
void pool_forward(const Pool& p, const fa_launch& launch) {
  if (const DisjointLoop loop = disjoint_loop(p); loop != DisjointLoop::kNone) {
    const bool two = p.h.kernel == 2 && p.w.kernel == 2;
    return two ? pool_disjoint<T, kMax, true>(p, loop, launch) : pool_disjoint<T, kMax, false>(p, loop, launch);
  }
  const bool exact = sizeof(compute_t<T>) == 8 || p.window_taps() <= int64_t{1} << 24;
  if (kMax && !exact) return pool_by_windows<T, kMax>(p, launch);
  switch (p.loop()) {
    case PoolLoop::kChannels: return pool_by_channels<T, kMax>(p, launch);
    case PoolLoop::kRows: return pool_by_rows<T, kMax>(p, launch);
    case PoolLoop::kWindows: return pool_by_windows<T, kMax>(p, launch);
  }
}

}  // namespace

fa_status pool_fwd(const fa_pool_fwd_params& params, fa_launch& launch) {
  return visit_float(params.x.dtype, launch, [&]<class T>() {
    const Pool p(params.x, params.out, params.index, params.window);
    if (p.is_max()) {
      describe<"max_pool_fwd", T>(launch, p.work(sizeof(T)));
    } else {
      describe<"avg_pool_fwd", T>(launch, p.work(sizeof(T)));
    }
    if (launch.query) return FA_OK;
    if (p.is_max()) {
      pool_forward<T, true>(p, launch);
    } else {
      pool_forward<T, false>(p, launch);
    }
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
