// What conv's kernels share: the taps of an axis, and how channels, columns and pixels are cut.
#pragma once

#include "conv_copy.h"
#include "conv_tile.h"

namespace fastattn::cpu::FASTATTN_ISA {

// Along one axis, output position p reads source position p * stride + offset + i * offset_step with the weights at
// index + i * index_step, i < count. offset_step >= 1: what is read lies in order.
struct TapAxis {
  int64_t count, index, index_step, offset, offset_step, stride;
  int64_t reach() const { return count == 0 ? 0 : (count - 1) * offset_step; }
  // Source positions between the first and the last that `positions` outputs read.
  int64_t window(int64_t positions) const { return (positions - 1) * stride + reach() + 1; }
};

FASTATTN_INLINE TapAxis forward_taps(const fa_conv_geometry& g, int axis, int64_t taps) {
  return {taps, 0, 1, -g.padding[axis], g.dilation[axis], g.stride[axis]};
}

// The gradient: x at position = phase + stride * t is read by the outputs t + offset + i * offset_step. Only some taps
// meet such a position, evenly spaced ones; the last tap meets the first output.
inline TapAxis backward_taps(const fa_conv_geometry& g, int axis, int64_t taps, int64_t phase) {
  const int64_t stride = g.stride[axis], dilation = g.dilation[axis], at = phase + g.padding[axis];
  TapAxis r{0, 0, 0, 0, 1, 1};
  int64_t first = -1, second = -1;
  for (int64_t k = 0; k < taps; ++k) {
    if ((at - k * dilation) % stride != 0) continue;
    if (first < 0) {
      first = k;
    } else if (second < 0) {
      second = k;
    }
    r.index = k;
    ++r.count;
  }
  if (r.count > 0) r.offset = (at - r.index * dilation) / stride;
  if (r.count > 1) {
    r.index_step = first - second;
    r.offset_step = (second - first) * dilation / stride;
  }
  return r;
}

// Channels that are summed in one chain with all taps: part of the result's definition, for it is where a chain ends.
// As with matmul, the packed weights of a sliver of columns have to stay in L2.
template <class T>
FASTATTN_INLINE int64_t chunk_channels(int64_t channels, int64_t taps, int64_t block_k) {
  constexpr int64_t kLeast = 16;
  const int64_t most = max_of(kLeast, block_k / max_of(taps, int64_t{1}) / kLeast * kLeast);
  if (channels <= most) return max_of(channels, int64_t{1});
  return round_up(ceil_div(channels, ceil_div(channels, most)), kLeast);
}

// The columns of a group in slivers of at most kVecs vectors.
template <class T>
struct Columns {
  int64_t vecs, num_slivers;
  EvenSplit slivers;
  explicit Columns(int64_t columns)
      : vecs(ceil_div(columns, int64_t{Vec<T>::kLanes})),
        num_slivers(ceil_div(vecs, int64_t{TileConfig<T>::kVecs})),
        slivers(vecs, max_of(num_slivers, int64_t{1})) {}
  int64_t padded() const { return vecs * Vec<T>::kLanes; }
};

// The pixels of an image, or of a few, that one pass works on: rows of one image, or several small images.
struct Bands {
  int64_t images, rows;        // of a band
  int64_t image_bands, bands;  // of the batch, and of one image's rows
  int64_t batch, height;
  Bands(int64_t n, int64_t p, int64_t q, int64_t pixels) : batch(n), height(p) {
    const int64_t image = max_of(p * q, int64_t{1});
    bands = max_of(int64_t{1}, min_of(p, ceil_div(image, pixels + pixels / 4)));
    rows = ceil_div(p, bands);
    bands = rows == 0 ? 0 : ceil_div(p, rows);
    images = bands == 1 ? max_of(int64_t{1}, min_of(n, pixels / image)) : 1;
    image_bands = ceil_div(n, images);
  }
  int64_t count() const { return image_bands * bands; }
};
struct Band {
  int64_t image, images, row, rows;
  FASTATTN_INLINE Band(const Bands& b, int64_t index) {
    image = index / b.bands * b.images;
    images = min_of(b.images, b.batch - image);
    row = index % b.bands * b.rows;
    rows = min_of(b.rows, b.height - row);
  }
};

// A band in scratch, or where it lies in memory: strides in elements of T.
template <class T>
struct Window {
  const T* data;
  int64_t image, row, pixel;
};

}  // namespace fastattn::cpu::FASTATTN_ISA
