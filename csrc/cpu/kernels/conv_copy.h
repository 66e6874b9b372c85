// Pieces of images between memory, in any layout and dtype, and scratch: pixels whose channels lie next to each other,
// in the type that is computed in, with the zeros of the padding around them.
#pragma once

#include "cpu/simd/transpose.h"
#include "matmul_plan.h"

namespace fastattn::cpu::FASTATTN_ISA {

// (N, C, H, W) somewhere.
template <class S>
struct Images {
  S* data;
  int64_t n, c, h, w;  // strides in elements
  int64_t channels, height, width;

  explicit Images(const fa_tensor& t)
      : data(fastattn::cpu::FASTATTN_ISA::data<S>(t)),
        n(t.strides[0]),
        c(t.shape[1] == 1 ? 1 : t.strides[1]),
        h(t.strides[2]),
        w(t.strides[3]),
        channels(t.shape[1]),
        height(t.shape[2]),
        width(t.shape[3]) {}
};

// f(n, v) for the columns n < cols of a block of rows <= kLanes rows: v has row r in lane r; the others are 0.
template <class S, class F>
FASTATTN_INLINE void transposed_block(const S* src, int64_t src_stride, int64_t rows, int64_t cols, F&& f) {
  using V = Vec<compute_t<S>>;
  if constexpr (!kIsHalf<S>) {
    if (rows == V::kLanes && cols == V::kLanes) return transpose_each(src, src_stride, f);
  }
  alignas(64) compute_t<S> block[V::kLanes * V::kLanes];
  for (int64_t r = 0; r < V::kLanes; ++r) {
    V v = V::zero();
    if (r < rows) {
      v = cols == V::kLanes ? V::load(src + r * src_stride) : V::load(src + r * src_stride, static_cast<int>(cols));
    }
    v.store(block + r * V::kLanes);
  }
  transpose_each(
      block, int64_t{V::kLanes}, [&](int n, V v) __attribute__((always_inline)) {
        if (n < cols) f(n, v);
      });
}

// One row of `width` pixels from src, its channels [0, channels), to dst, where pixels are pitch apart; channels from
// there to pitch become 0.
template <class S>
__attribute__((noinline)) void copy_pixels(const S* src, int64_t src_c, int64_t src_w, int64_t channels, int64_t width,
                                           compute_t<S>* dst, int64_t pitch) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  if (channels == pitch && (src_c == 1 || channels == 1) && src_w == channels) {
    const int64_t n = channels * width;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) V::load(src + i).store(dst + i);
    if (i < n) V::load(src + i, static_cast<int>(n - i)).store(dst + i, static_cast<int>(n - i));
    return;
  }
  if (src_c == 1) {
    for (int64_t x = 0; x < width; ++x) {
      const S* from = src + x * src_w;
      T* to = dst + x * pitch;
      int64_t c = 0;
      for (; c + kLanes <= channels; c += kLanes) V::load(from + c).store(to + c);
      if (c < channels) {
        V::load(from + c, static_cast<int>(channels - c)).store(to + c, static_cast<int>(min_of(kLanes, pitch - c)));
        c += kLanes;
      }
      for (; c < pitch; c += kLanes) V::zero().store(to + c, static_cast<int>(min_of(kLanes, pitch - c)));
    }
    return;
  }
  if (src_w == 1) {
    for (int64_t c = 0; c < pitch; c += kLanes) {
      const int64_t rows = max_of(int64_t{0}, min_of(kLanes, channels - c));
      const int stored = static_cast<int>(min_of(kLanes, pitch - c));
      for (int64_t x = 0; x < width; x += kLanes) {
        transposed_block(
            src + c * src_c + x, src_c, rows,
            min_of(kLanes, width - x), [&](int i, V v) __attribute__((always_inline)) {
              T* to = dst + (x + i) * pitch + c;
              if (stored == kLanes) {
                v.store(to);
              } else {
                v.store(to, stored);
              }
            });
      }
    }
    return;
  }
  for (int64_t x = 0; x < width; ++x) {
    for (int64_t c = 0; c < pitch; ++c) dst[x * pitch + c] = c < channels ? widen(src[c * src_c + x * src_w]) : T(0);
  }
}

// Whole rows of planes, one a channel, to pixels: across the ends of rows, whose vectors are mostly short.
template <class S>
__attribute__((noinline)) void copy_planes(const S* src, int64_t src_c, int64_t width, int64_t channels, int64_t rows,
                                           compute_t<S>* dst, int64_t pitch, int64_t dst_row) {
  using V = Vec<compute_t<S>>;
  constexpr int64_t kLanes = V::kLanes;
  int64_t to[kLanes], row = 0, col = 0;
  const int64_t pixels = rows * width;
  for (int64_t x = 0; x < pixels; x += kLanes) {
    const int64_t count = min_of(kLanes, pixels - x);
    for (int64_t i = 0; i < count; ++i) {
      to[i] = row * dst_row + col * pitch;
      if (++col == width) {
        col = 0;
        ++row;
      }
    }
    for (int64_t c = 0; c < channels; c += kLanes) {
      const int64_t lanes = min_of(kLanes, channels - c);
      transposed_block(
          src + c * src_c + x, src_c, lanes, count, [&](int i, V v) __attribute__((always_inline)) {
            if (lanes == kLanes) {
              v.store(dst + to[i] + c);
            } else {
              v.store(dst + to[i] + c, static_cast<int>(lanes));
            }
          });
    }
  }
}

template <class T>
FASTATTN_INLINE void fill_zero(T* p, int64_t n) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Vec<T>::zero().store(p + i);
  for (; i < n; ++i) p[i] = T(0);
}

// The window of rows [top, top + rows) and columns [left, left + cols) of one image, which may lie outside of it.
template <class S>
inline void copy_window(const Images<const S>& x, const S* image, int64_t top, int64_t rows, int64_t left, int64_t cols,
                        int64_t channels, compute_t<S>* dst, int64_t pitch) {
  const int64_t begin = min_of(max_of(-left, int64_t{0}), cols);
  const int64_t end = max_of(begin, min_of(cols, x.width - left));
  if (begin == 0 && end == cols && x.h == cols * x.w && top >= 0 && top + rows <= x.height) {  // rows follow each other
    copy_pixels(image + top * x.h + left * x.w, x.c, x.w, channels, rows * cols, dst, pitch);
    return;
  }
  if (x.w == 1 && x.c != 1 && channels > 1 && end - begin == x.width && x.h == x.width) {
    const int64_t above = min_of(rows, max_of(-top, int64_t{0}));
    const int64_t inside = max_of(int64_t{0}, min_of(rows, x.height - top) - above);
    fill_zero(dst, rows * cols * pitch);
    copy_planes(image + (top + above) * x.h, x.c, x.width, channels, inside, dst + (above * cols + begin) * pitch,
                pitch, cols * pitch);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    compute_t<S>* to = dst + r * cols * pitch;
    const int64_t row = top + r;
    if (row < 0 || row >= x.height || begin == end) {
      fill_zero(to, cols * pitch);
      continue;
    }
    fill_zero(to, begin * pitch);
    copy_pixels(image + row * x.h + (left + begin) * x.w, x.c, x.w, channels, end - begin, to + begin * pitch, pitch);
    fill_zero(to + end * pitch, (cols - end) * pitch);
  }
}

// Calls a stretch of memory into the cache, some lines at a time: what the next band reads comes while this one is
// worked on.
struct Ahead {
  const char *at = nullptr, *end = nullptr;
  FASTATTN_INLINE void call(int64_t lines) {
    for (int64_t i = 0; i < lines && at < end; ++i, at += 64) __builtin_prefetch(at, 0, 2);
  }
  int64_t lines() const { return (end - at) / 64; }
};

// The rows [top, top + rows) of some images; all of them, where an image's rows do not follow each other.
template <class S>
inline Ahead ahead_of(const Images<const S>& x, int64_t image, int64_t images, int64_t top, int64_t rows) {
  const S* from = x.data + image * x.n;
  int64_t elements = images * x.n;
  if (x.c == 1 && images == 1) {
    const int64_t first = max_of(int64_t{0}, top), last = min_of(x.height, top + rows);
    from += first * x.h;
    elements = (last - first) * x.h;
  }
  const char* at = reinterpret_cast<const char*>(from);
  return {at, at + max_of(int64_t{0}, elements) * static_cast<int64_t>(sizeof(S))};
}

// `pixels` sums of `channels` channels to their place, w apart.
template <class S>
__attribute__((noinline)) void store_pixels(const compute_t<S>* sums, int64_t pitch, int64_t pixels, int64_t channels,
                                            S* dst, int64_t dst_c, int64_t dst_w) {
  using V = Vec<compute_t<S>>;
  constexpr int64_t kLanes = V::kLanes;
  if (dst_c == 1) {
    for (int64_t x = 0; x < pixels; ++x) {
      for (int64_t c = 0; c < channels; c += kLanes) {
        const int lanes = static_cast<int>(min_of(kLanes, channels - c));
        V::load(sums + x * pitch + c).store(dst + x * dst_w + c, lanes);
      }
    }
    return;
  }
  if (dst_w == 1) {
    for (int64_t x = 0; x < pixels; x += kLanes) {
      const int64_t lanes = min_of(kLanes, pixels - x);
      for (int64_t c = 0; c < channels; c += kLanes) {
        transposed_block(
            sums + x * pitch + c, pitch, lanes,
            min_of(kLanes, channels - c), [&](int i, V v) __attribute__((always_inline)) {
              S* to = dst + (c + i) * dst_c + x;
              if (lanes == kLanes) {
                v.store(to);
              } else {
                v.store(to, static_cast<int>(lanes));
              }
            });
      }
    }
    return;
  }
  for (int64_t x = 0; x < pixels; ++x) {
    for (int64_t c = 0; c < channels; ++c) dst[x * dst_w + c * dst_c] = narrow<S>(sums[x * pitch + c]);
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
