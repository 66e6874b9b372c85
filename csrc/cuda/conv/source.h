// The tiles of a convolution's products, as load.h takes them: elements of images that a window's position and a tap
// find, and nothing where that is outside of the image, so that the copy fills in zeros. And where their sums go.
#pragma once

#include "cuda/conv/problem.h"
#include "cuda/matmul/kernel.h"
#include "cuda/shared.h"

namespace fastattn::cuda {

// What a pixel, or a tap with its channel, adds to the place in an image.
struct WindowPoint {
  int64_t offset;
  int h, w;
};

// The taps and channels that a number counts: channels fastest.
struct TapSplit {
  Divisor by_channels, by_columns;
  __device__ void operator()(int64_t k, int& i, int& j, int& c) const {
    uint32_t channel, column;
    const uint32_t tap = by_channels.divide(static_cast<uint32_t>(k), channel);
    i = static_cast<int>(by_columns.divide(tap, column));
    j = static_cast<int>(column);
    c = static_cast<int>(channel);
  }
};

struct PixelSplit {
  Divisor by_image, by_row;
  __device__ void operator()(int64_t pixel, int& n, int& p, int& q) const {
    uint32_t within, column;
    n = static_cast<int>(by_image.divide(static_cast<uint32_t>(pixel), within));
    p = static_cast<int>(by_row.divide(within, column));
    q = static_cast<int>(column);
  }
};

__device__ inline bool is_inside(int at, int length) {
  return static_cast<unsigned>(at) < static_cast<unsigned>(length);
}

// Which product of which group an entry is.
struct GatherEntry {
  int64_t group;
  GatherAxis h, w;
  template <class T>
  __device__ GatherEntry(const ConvGather<T>& p, int64_t entry) {
    const auto phases_h = static_cast<uint32_t>(p.h.phases()), phases_w = static_cast<uint32_t>(p.w.phases());
    const auto e = static_cast<uint32_t>(entry);
    group = e / (phases_h * phases_w);
    h = p.h.gather(static_cast<int>(e / phases_w % phases_h));
    w = p.w.gather(static_cast<int>(e % phases_w));
  }
};

// Rows are pixels, whose points lie in shared memory; k is (tap, channel).
template <class T>
struct GatherTile {
  const T* from;
  const WindowPoint* sRows;
  int64_t k0;
  TapSplit split;
  int64_t step_h, step_w, step_c;
  int move_h, move_w, height, width;
  bool channels_last;
  int rows, k;

  __device__ bool k_first() const { return channels_last; }
  template <Load>
  __device__ bool find(int r, int k_, const T*& at) const {
    int i, j, c;
    split(k0 + k_, i, j, c);
    const WindowPoint row = sRows[r];
    if (!is_inside(row.h + i * move_h, height) || !is_inside(row.w + j * move_w, width)) return false;
    at = from + (row.offset + i * step_h + j * step_w + c * step_c);
    return true;
  }
};

// The packed weights: rows are columns of the result.
template <class T>
struct WeightTile {
  const T* from;
  int64_t k0;
  TapSplit split;
  int64_t step_h, step_w, line;
  int rows, k;

  template <Load>
  __device__ bool find(int r, int k_, const T*& at) const {
    int i, j, c;
    split(k0 + k_, i, j, c);
    at = from + (i * step_h + j * step_w + c * line + r);
    return true;
  }
};

template <class T, MatmulConfig kConfig>
struct TileSource<ConvGather<T>, kConfig> {
  GatherEntry entry;
  TapSplit split;
  WindowPoint* sRows;
  const T *a, *b;
  int64_t k0 = 0;
  int rows, columns;

  __device__ TileSource(const ConvGather<T>& p, int64_t number, int64_t m0, int64_t n0)
      : entry(p, number), split{p.by_channels, Divisor(static_cast<uint32_t>(entry.w.count > 0 ? entry.w.count : 1))} {
    const GatherAxis &h = entry.h, &w = entry.w;
    rows = clamp_count(int64_t{p.batch} * h.positions * w.positions - m0, kConfig.block_m);
    columns = clamp_count(p.N - n0, kConfig.block_n);
    a = p.src + entry.group * p.channels * p.src_at.c;
    const int64_t tap = p.channels * p.weight_line;
    b = p.weight + (entry.group * p.h.taps * p.w.taps + int64_t{h.index} * p.w.taps + w.index) * tap + n0;
    SHARED_ARRAY(WindowPoint, sPoints, 16, kConfig.block_m);
    sRows = sPoints;
    for (int r = static_cast<int>(threadIdx.x); r < rows; r += kConfig.threads()) {
      const auto m = static_cast<uint32_t>(m0 + r), wide = static_cast<uint32_t>(w.positions);
      const uint32_t line = m / wide, n = line / static_cast<uint32_t>(h.positions);
      const int y = static_cast<int>(line % static_cast<uint32_t>(h.positions)) * h.stride + h.offset;
      const int x = static_cast<int>(m % wide) * w.stride + w.offset;
      sRows[r] = {n * p.src_at.n + y * p.src_at.h + x * p.src_at.w, y, x};
    }
    __syncthreads();
  }
  // Of a phase with few taps a chunk may be empty.
  __device__ int length(const ConvGather<T>& p, int64_t chunk) const {
    return clamp_count(int64_t{entry.h.count} * entry.w.count * p.channels - chunk * kMatmulChunk, kMatmulChunk);
  }
  __device__ void begin(const ConvGather<T>&, int64_t chunk) { k0 = chunk * kMatmulChunk; }

  template <Load kA, Load kB>
  __device__ void load(const ConvGather<T>& p, T* sA, T* sB, int k, int left) const {
    const GatherAxis &h = entry.h, &w = entry.w;
    load_tile<kConfig, kConfig.block_m, kA>(
        sA, GatherTile<T>{a, sRows, k0 + k, split, h.move * p.src_at.h, w.move * p.src_at.w, p.src_at.c, h.move, w.move,
                          p.src_h, p.src_w, p.src_at.c == 1, rows, left});
    const int64_t tap = p.channels * p.weight_line;
    load_tile<kConfig, kConfig.block_n, kB>(sB, WeightTile<T>{b, k0 + k, split, h.index_step * p.w.taps * tap,
                                                              w.index_step * tap, p.weight_line, columns, left});
  }
};

// Rows are (tap, channel), whose points lie in shared memory; k is a pixel of dout.
template <class T>
struct PixelTile {
  const T* from;
  const WindowPoint* sRows;
  int64_t k0;
  PixelSplit split;
  ImageStrides strides;
  ConvAxis h, w;
  int rows, k;

  __device__ bool k_first() const { return strides.c != 1; }
  template <Load>
  __device__ bool find(int r, int k_, const T*& at) const {
    int n, p, q;
    split(k0 + k_, n, p, q);
    const WindowPoint row = sRows[r];
    const int y = p * h.stride - h.padding, x = q * w.stride - w.padding;
    if (!is_inside(y + row.h, h.in) || !is_inside(x + row.w, w.in)) return false;
    at = from + (n * strides.n + y * strides.h + x * strides.w + row.offset);
    return true;
  }
};

template <class T>
struct DoutTile {
  const T* from;
  int64_t k0;
  PixelSplit split;
  ImageStrides strides;
  int rows, k;

  __device__ bool k_first() const { return strides.c != 1; }
  template <Load>
  __device__ bool find(int r, int k_, const T*& at) const {
    int n, p, q;
    split(k0 + k_, n, p, q);
    at = from + (n * strides.n + p * strides.h + q * strides.w + r * strides.c);
    return true;
  }
};

template <class T, MatmulConfig kConfig>
struct TileSource<ConvWeight<T>, kConfig> {
  WindowPoint* sRows;
  const T *a, *b;
  int64_t k0 = 0;
  int rows, columns;

  __device__ TileSource(const ConvWeight<T>& p, int64_t group, int64_t m0, int64_t n0)
      : a(p.x + group * p.channels * p.x_at.c),
        b(p.dout + group * p.dout_group + n0 * p.dout_at.c),
        rows(clamp_count(p.M - m0, kConfig.block_m)),
        columns(clamp_count(p.N - n0, kConfig.block_n)) {
    SHARED_ARRAY(WindowPoint, sPoints, 16, kConfig.block_m);
    sRows = sPoints;
    const TapSplit split{p.by_channels, p.by_columns};
    for (int r = static_cast<int>(threadIdx.x); r < rows; r += kConfig.threads()) {
      int i, j, c;
      split(m0 + r, i, j, c);
      const int y = i * p.h.dilation, x = j * p.w.dilation;
      sRows[r] = {y * p.x_at.h + x * p.x_at.w + c * p.x_at.c, y, x};
    }
    __syncthreads();
  }
  __device__ int length(const ConvWeight<T>& p, int64_t chunk) const {
    return clamp_count(p.K - chunk * p.chunk, p.chunk);
  }
  __device__ void begin(const ConvWeight<T>& p, int64_t chunk) { k0 = chunk * p.chunk; }

  template <Load kA, Load kB>
  __device__ void load(const ConvWeight<T>& p, T* sA, T* sB, int k, int left) const {
    const PixelSplit split{p.by_image, p.by_row};
    load_tile<kConfig, kConfig.block_m, kA>(sA, PixelTile<T>{a, sRows, k0 + k, split, p.x_at, p.h, p.w, rows, left});
    load_tile<kConfig, kConfig.block_n, kB>(sB, DoutTile<T>{b, k0 + k, split, p.dout_at, columns, left});
  }
};

template <class T>
struct SumTarget<ConvGather<T>> {
  GatherEntry entry;

  __device__ SumTarget(const ConvGather<T>& p, int64_t number) : entry(p, number) {}
  __device__ static bool rows_first(const ConvGather<T>& p) { return p.channels_first; }

  __device__ void finish(const ConvGather<T>& p, int64_t m, int64_t n, float (&x)[4]) const {
    const GatherAxis &h = entry.h, &w = entry.w;
    const auto pixel = static_cast<uint32_t>(m), wide = static_cast<uint32_t>(w.positions);
    const uint32_t line = pixel / wide, image = line / static_cast<uint32_t>(h.positions);
    if (image >= static_cast<uint32_t>(p.batch)) return;  // another phase has more pixels
    const int y = static_cast<int>(line % static_cast<uint32_t>(h.positions)) * h.step + h.first;
    const int column = static_cast<int>(pixel % wide) * w.step + w.first;
    const int64_t channel = entry.group * p.N;
    if (p.bias != nullptr) {
#pragma unroll
      for (int v = 0; v < 4; ++v) x[v] += n + v < p.N ? to_float(p.bias[(channel + n + v) * p.bias_at]) : 0.0f;
    }
    T* row = p.dst + (image * p.dst_at.n + y * p.dst_at.h + column * p.dst_at.w + channel * p.dst_at.c);
    if (p.packs) {
      store_pack(row, x, n, p.N);
    } else {
      store_pack<false>(row, x, n, p.N, p.dst_at.c);
    }
  }
};

template <class T>
struct SumTarget<ConvWeight<T>> {
  int64_t group;

  __device__ SumTarget(const ConvWeight<T>&, int64_t entry) : group(entry) {}
  __device__ static bool rows_first(const ConvWeight<T>&) { return true; }

  __device__ void finish(const ConvWeight<T>& p, int64_t m, int64_t n, float (&x)[4]) const {
    int i, j, c;
    TapSplit{p.by_channels, p.by_columns}(m, i, j, c);
    if (c >= p.weight_channels) return;
    const ImageStrides& at = p.dweight_at;
    store_pack<false>(p.dweight + (group * p.N * at.n + c * at.c + i * at.h + j * at.w), x, n, p.N, at.n);
  }
};

}  // namespace fastattn::cuda
