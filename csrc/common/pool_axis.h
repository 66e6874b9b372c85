// The windows of pooling along one axis: which elements are the taps of a window, and which windows an element is in.
#pragma once

#include <cstdint>

#include "ops/pool.h"

// Compiled once for each instruction set, in its namespace, and for CUDA in that one.
#ifdef FASTATTN_ISA
#define FASTATTN_POOL inline __attribute__((always_inline))
namespace fastattn::cpu::FASTATTN_ISA {
#else
#include "cuda/platform.h"
#define FASTATTN_POOL __host__ __device__ inline
namespace fastattn::cuda {
#endif

FASTATTN_POOL int64_t pool_min(int64_t a, int64_t b) { return b < a ? b : a; }
FASTATTN_POOL int64_t pool_max(int64_t a, int64_t b) { return a < b ? b : a; }
FASTATTN_POOL int64_t pool_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct PoolAxis {
  int64_t in, out, kernel, stride, padding, dilation;
  bool adaptive;

  FASTATTN_POOL PoolAxis(const fa_tensor& x, const fa_tensor& out_, const fa_pool_window& w, int axis)
      : in(x.shape[2 + axis]),
        out(out_.shape[2 + axis]),
        kernel(w.kernel[axis]),
        stride(w.stride[axis]),
        padding(w.padding[axis]),
        dilation(w.adaptive != 0 ? 1 : w.dilation[axis]),
        adaptive(w.adaptive != 0) {}

  // Where tap 0 of window o is; in the padding where that is negative.
  FASTATTN_POOL int64_t start(int64_t o) const {
    return !adaptive ? o * stride - padding : out == 1 ? 0 : o * in / out;
  }

  // The taps of window o that are inside: [first_tap, end_tap).
  FASTATTN_POOL int64_t first_tap(int64_t o) const {
    const int64_t at = start(o);
    return at >= 0 ? 0 : pool_min(kernel, pool_ceil(-at, dilation));
  }
  FASTATTN_POOL int64_t end_tap(int64_t o) const {
    const int64_t at = start(o);
    if (adaptive) return out == 1 ? in : pool_ceil((o + 1) * in, out) - at;
    return at >= in ? 0 : pool_min(kernel, pool_ceil(in - at, dilation));
  }
  // Taps that count for an average which includes the padding.
  FASTATTN_POOL int64_t padded_taps(int64_t o) const { return pool_min(kernel, in + padding - start(o)); }

  // The windows that element i may be in: [first_window, end_window).
  FASTATTN_POOL int64_t first_window(int64_t i) const {
    if (adaptive) return out == 1 ? 0 : i * out / in;
    const int64_t reach = i + padding - dilation * (kernel - 1);
    return reach <= 0 ? 0 : pool_ceil(reach, stride);
  }
  FASTATTN_POOL int64_t end_window(int64_t i) const {
    if (adaptive) return out == 1 ? 1 : pool_ceil((i + 1) * out, in);
    return pool_min(out, (i + padding) / stride + 1);
  }
  // Which tap of such a window element i is, or -1.
  FASTATTN_POOL int64_t tap(int64_t o, int64_t i) const {
    const int64_t at = i - start(o);
    if (dilation == 1) return at;
    return at % dilation == 0 ? at / dilation : -1;
  }

  // The windows whose tap k is one of the elements [begin, end), if the axis is not adaptive: [first_at, end_at).
  FASTATTN_POOL int64_t first_at(int64_t k, int64_t begin) const {
    const int64_t reach = begin + padding - k * dilation;
    return reach <= 0 ? 0 : pool_ceil(reach, stride);
  }
  FASTATTN_POOL int64_t end_at(int64_t k, int64_t end) const {
    const int64_t reach = end - 1 + padding - k * dilation;
    return reach < 0 ? 0 : pool_min(out, reach / stride + 1);
  }
};

// The number that the sum of window (oh, ow) is divided by.
struct PoolDivisor {
  PoolAxis h, w;
  bool include_pad;
  int64_t same;               // that of every window, or 0
  int64_t first_whole, last;  // the windows [first_whole, last) of a row have all of their columns inside

  FASTATTN_POOL PoolDivisor(const PoolAxis& h_, const PoolAxis& w_, const fa_pool_window& window)
      : h(h_),
        w(w_),
        include_pad(window.count_include_pad != 0),
        same(window.divisor),
        first_whole(w.adaptive ? 0 : pool_ceil(w.padding, w.stride)),
        last(w.adaptive || w.in + w.padding < w.kernel ? 0 : (w.in + w.padding - w.kernel) / w.stride + 1) {
    if (same == 0 && all_inside(h) && all_inside(w)) same = every_window(h) * every_window(w);
  }

  FASTATTN_POOL bool all_inside(const PoolAxis& axis) const {
    if (axis.adaptive) return axis.in % axis.out == 0;
    return axis.padding == 0 && (axis.out - 1) * axis.stride + axis.kernel <= axis.in;
  }
  FASTATTN_POOL static int64_t every_window(const PoolAxis& axis) {  // of an axis that is all inside
    return axis.adaptive ? axis.in / axis.out : axis.kernel;
  }
  FASTATTN_POOL int64_t taps(const PoolAxis& axis, int64_t o) const {
    return include_pad && !axis.adaptive ? axis.padded_taps(o) : pool_max(0, axis.end_tap(o) - axis.first_tap(o));
  }
  FASTATTN_POOL int64_t operator()(int64_t oh, int64_t ow) const {
    return same != 0 ? same : pool_max(1, taps(h, oh) * taps(w, ow));
  }

  // The same for the windows [begin, end) of a row, if the axes are not adaptive.
  template <class A>
  FASTATTN_POOL void fill(int64_t oh, int64_t begin, int64_t end, A* to) const {
    const A whole = static_cast<A>(same != 0 ? same : taps(h, oh) * w.kernel);
    for (int64_t ow = begin; ow < end; ++ow) to[ow - begin] = whole;
    if (same != 0) return;
    auto edge = [&](int64_t from, int64_t until) {
      for (int64_t ow = pool_max(from, begin); ow < pool_min(until, end); ++ow) {
        to[ow - begin] = static_cast<A>(operator()(oh, ow));
      }
    };
    edge(0, first_whole);
    edge(pool_max(first_whole, last), w.out);
  }
};

#ifdef FASTATTN_ISA
}  // namespace fastattn::cpu::FASTATTN_ISA
#else
}  // namespace fastattn::cuda
#endif
#undef FASTATTN_POOL
