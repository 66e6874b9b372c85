// What the two directions of pooling share: sizes, axes, and the loop for a call.
#pragma once

#include "common/pool_axis.h"
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

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

// Of each tap column kw the windows of a row that have it where it is wanted, [first, last): divisions that the rows of
// a chunk share.
struct PoolColumns {
  struct Range {
    int64_t first, last;
  };
  static constexpr int64_t kKept = 32;
  const PoolAxis& w;
  const int64_t begin, end;
  const bool windows;  // of the windows [begin, end), else of the elements
  Range kept[kKept];

  FASTATTN_INLINE PoolColumns(const PoolAxis& w_, int64_t begin_, int64_t end_, bool windows_)
      : w(w_), begin(begin_), end(end_), windows(windows_) {
    if (w.adaptive) return;  // its windows are walked one by one
    for (int64_t kw = 0; kw < min_of(w.kernel, kKept); ++kw) kept[kw] = range(kw);
  }
  FASTATTN_INLINE Range range(int64_t kw) const {
    if (!windows) return {w.first_at(kw, begin), w.end_at(kw, end)};
    return {max_of(begin, w.first_at(kw, 0)), min_of(end, w.end_at(kw, w.in))};
  }
  FASTATTN_INLINE Range operator[](int64_t kw) const { return kw < kKept ? kept[kw] : range(kw); }
};

FASTATTN_INLINE int64_t at(const fa_tensor& t, int64_t n, int64_t c, int64_t h, int64_t w) {
  return n * t.strides[0] + c * t.strides[1] + h * t.strides[2] + w * t.strides[3];
}

}  // namespace fastattn::cpu::FASTATTN_ISA
