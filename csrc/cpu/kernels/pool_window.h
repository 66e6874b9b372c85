// What the two directions of pooling share: the windows along one axis, which elements are the taps of a window and
// which windows an element is in; and the loop for a call.
#pragma once

#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

struct PoolAxis {
  int64_t in, out, kernel, stride, padding, dilation;
  bool adaptive;

  FASTATTN_INLINE PoolAxis(const fa_tensor& x, const fa_tensor& out_, const fa_pool_window& w, int axis)
      : in(x.shape[2 + axis]),
        out(out_.shape[2 + axis]),
        kernel(w.kernel[axis]),
        stride(w.stride[axis]),
        padding(w.padding[axis]),
        dilation(w.adaptive != 0 ? 1 : w.dilation[axis]),
        adaptive(w.adaptive != 0) {}

  // Where tap 0 of window o is; in the padding where that is negative.
  FASTATTN_INLINE int64_t start(int64_t o) const {
    return !adaptive ? o * stride - padding : out == 1 ? 0 : o * in / out;
  }

  // The taps of window o that are inside: [first_tap, end_tap).
  FASTATTN_INLINE int64_t first_tap(int64_t o) const {
    const int64_t at = start(o);
    return at >= 0 ? 0 : min_of(kernel, ceil_div(-at, dilation));
  }
  FASTATTN_INLINE int64_t end_tap(int64_t o) const {
    const int64_t at = start(o);
    if (adaptive) return out == 1 ? in : ceil_div((o + 1) * in, out) - at;
    return at >= in ? 0 : min_of(kernel, ceil_div(in - at, dilation));
  }
  // Taps that count for an average which includes the padding.
  FASTATTN_INLINE int64_t padded_taps(int64_t o) const { return min_of(kernel, in + padding - start(o)); }

  // The windows that element i may be in: [first_window, end_window).
  FASTATTN_INLINE int64_t first_window(int64_t i) const {
    if (adaptive) return out == 1 ? 0 : i * out / in;
    const int64_t reach = i + padding - dilation * (kernel - 1);
    return reach <= 0 ? 0 : ceil_div(reach, stride);
  }
  FASTATTN_INLINE int64_t end_window(int64_t i) const {
    if (adaptive) return out == 1 ? 1 : ceil_div((i + 1) * out, in);
    return min_of(out, (i + padding) / stride + 1);
  }
  // Which tap of such a window element i is, or -1.
  FASTATTN_INLINE int64_t tap(int64_t o, int64_t i) const {
    const int64_t at = i - start(o);
    if (dilation == 1) return at;
    return at % dilation == 0 ? at / dilation : -1;
  }

  // The windows whose tap k is one of the elements [begin, end), if the axis is not adaptive: [first_at, end_at).
  FASTATTN_INLINE int64_t first_at(int64_t k, int64_t begin) const {
    const int64_t reach = begin + padding - k * dilation;
    return reach <= 0 ? 0 : ceil_div(reach, stride);
  }
  FASTATTN_INLINE int64_t end_at(int64_t k, int64_t end) const {
    const int64_t reach = end - 1 + padding - k * dilation;
    return reach < 0 ? 0 : min_of(out, reach / stride + 1);
  }
};

// The number that the sum of window (oh, ow) is divided by.
struct PoolDivisor {
  const PoolAxis &h, &w;
  int64_t divisor;
  bool include_pad;

  FASTATTN_INLINE PoolDivisor(const PoolAxis& h_, const PoolAxis& w_, const fa_pool_window& window)
      : h(h_), w(w_), divisor(window.divisor), include_pad(window.count_include_pad != 0) {}

  FASTATTN_INLINE int64_t taps(const PoolAxis& axis, int64_t o) const {
    return include_pad && !axis.adaptive ? axis.padded_taps(o)
                                         : max_of<int64_t>(0, axis.end_tap(o) - axis.first_tap(o));
  }
  FASTATTN_INLINE int64_t operator()(int64_t oh, int64_t ow) const {
    return divisor != 0 ? divisor : max_of<int64_t>(1, taps(h, oh) * taps(w, ow));
  }

  // The same for the windows [begin, end) of a row, most of which have all of their taps inside.
  template <class A>
  FASTATTN_INLINE void fill(int64_t oh, int64_t begin, int64_t end, A* to) const {
    const int64_t rows = taps(h, oh);
    const A whole = static_cast<A>(divisor != 0 ? divisor : rows * w.kernel);
    for (int64_t ow = begin; ow < end; ++ow) to[ow - begin] = whole;
    if (divisor != 0) return;
    const int64_t first = ceil_div(w.padding, w.stride);
    const int64_t last = w.in + w.padding < w.kernel ? 0 : (w.in + w.padding - w.kernel) / w.stride + 1;
    auto edge = [&](int64_t from, int64_t until) {
      for (int64_t ow = max_of(from, begin); ow < min_of(until, end); ++ow) {
        to[ow - begin] = static_cast<A>(operator()(oh, ow));
      }
    };
    edge(0, first);
    edge(max_of(first, last), w.out);
  }
};

constexpr int64_t kPoolItemTaps = 32 * 1024;  // of an item, about
constexpr int64_t kPoolChunk = 256;           // elements of a row whose results are in the first cache at a time
constexpr int kPoolVectors = 4;               // of the channels at a time

enum class PoolLoop { kChannels, kRows, kWindows };

// The sizes and the axes of both directions; `plane` is x or dx, `pooled` is out or dout.
struct Pool {
  const fa_tensor &plane, &pooled, &index;
  const fa_pool_window& window;
  const PoolAxis h, w;
  const PoolDivisor divisor;
  const int64_t N, C;

  Pool(const fa_tensor& plane_, const fa_tensor& pooled_, const fa_tensor& index_, const fa_pool_window& window_)
      : plane(plane_),
        pooled(pooled_),
        index(index_),
        window(window_),
        h(plane, pooled, window, 0),
        w(plane, pooled, window, 1),
        divisor(h, w, window),
        N(plane.shape[0]),
        C(plane.shape[1]) {}

  bool is_max() const { return window.mode == FA_POOL_MAX; }
  int64_t window_taps() const { return h.kernel * w.kernel; }
  int64_t items_of(int64_t elements, int64_t taps) const {
    return max_of<int64_t>(1, kPoolItemTaps / max_of<int64_t>(1, elements * taps));
  }
  PoolLoop loop() const {
    const bool channels =
        C > 1 && plane.strides[1] == 1 && pooled.strides[1] == 1 && (index.data == nullptr || index.strides[1] == 1);
    if (channels) return PoolLoop::kChannels;
    return window.adaptive != 0 ? PoolLoop::kWindows : PoolLoop::kRows;
  }
  Work work(size_t element) const {
    const double outs = double(num_elements(pooled)), ins = double(num_elements(plane));
    const double index_bytes = index.data == nullptr ? 0 : index.dtype == FA_U8 ? 1 : 8;
    return {.flops = outs * double(window_taps()), .bytes = double(element) * (outs + ins) + index_bytes * outs};
  }
};

FASTATTN_INLINE int64_t at(const fa_tensor& t, int64_t n, int64_t c, int64_t h, int64_t w) {
  return n * t.strides[0] + c * t.strides[1] + h * t.strides[2] + w * t.strides[3];
}

}  // namespace fastattn::cpu::FASTATTN_ISA
