// The tiles of a convolution's products, as load.h takes them: elements of images that a window's position and a tap
// find, and nothing where that is outside of the image, so that the copy fills in zeros. And where their sums go.
#pragma once

#include "cuda/conv/problem.h"
#include "cuda/matmul/kernel.h"
#include "cuda/shared.h"

namespace fastattn::cuda {

// What a pixel, or a tap with its channel, adds to the place in an image: two numbers, since both are read at once.
struct alignas(16) WindowPoint {
  int64_t offset, place;
  WindowPoint() = default;
  __device__ WindowPoint(int64_t offset_, int h, int w)
      : offset(offset_), place(int64_t{h} * (int64_t{1} << 32) | static_cast<uint32_t>(w)) {}
  __device__ int h() const { return static_cast<int>(place >> 32); }
  __device__ int w() const { return static_cast<int>(place); }
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

// The points of a block's rows and of some k, one of which is a pixel and the other a tap with its channel; and where
// in the other operand a k begins. Numbers are split into these once and not for every copy.
inline constexpr int kTablePoints = 512;

template <MatmulConfig kConfig>
struct WindowTable {
  WindowPoint *rows, *points;
  int64_t* lines;

  __device__ WindowTable() {
    SHARED_ARRAY(WindowPoint, sRows, 16, kConfig.block_m);
    SHARED_ARRAY(WindowPoint, sPoints, 16, kTablePoints);
    SHARED_ARRAY(int64_t, sLines, 16, kTablePoints);
    rows = sRows;
    points = sPoints;
    lines = sLines;
  }
  // For all threads. make(i, point, line) says what the i-th of the next k is; nobody may be reading the last ones.
  template <class F>
  __device__ void fill(int count, F&& make) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < count && i < kTablePoints; i += kConfig.threads()) {
      make(i, points[i], lines[i]);
    }
    __syncthreads();
  }
};

// An operand whose element (row, k) is where the points of both lead to, if that is inside of an image.
template <class T>
struct WindowTile {
  const T* from;
  const WindowPoint *row_points, *k_points;
  int height, width;
  bool along_k;
  int rows, k;

  __device__ bool k_first() const { return along_k; }
  template <Load>
  __device__ bool find(int r, int k_, const T*& at) const {
    const WindowPoint row = row_points[r], point = k_points[k_];
    at = from + (row.offset + point.offset);
    const bool inside_h = is_inside(row.h() + point.h(), height), inside_w = is_inside(row.w() + point.w(), width);
    return inside_h & inside_w;
  }
};

// The other operand, with a line for each k.
template <class T>
struct LineTile {
  const T* from;
  const int64_t* lines;
  int64_t row_stride;
  int rows, k;

  __device__ bool k_first() const { return row_stride != 1; }
  template <Load kLoad>
  __device__ bool find(int r, int k_, const T*& at) const {
    at = from + lines[k_] + (kLoad == Load::kAlongRows ? r : r * row_stride);
    return true;
  }
};

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

template <class T, MatmulConfig kConfig>
struct TileSource<ConvGather<T>, kConfig> {
  GatherEntry entry;
  TapSplit split;
  WindowTable<kConfig> table;
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
    for (int r = static_cast<int>(threadIdx.x); r < rows; r += kConfig.threads()) {
      const auto m = static_cast<uint32_t>(m0 + r), wide = static_cast<uint32_t>(w.positions);
      const uint32_t line = m / wide, n = line / static_cast<uint32_t>(h.positions);
      const int y = static_cast<int>(line % static_cast<uint32_t>(h.positions)) * h.stride + h.offset;
      const int x = static_cast<int>(m % wide) * w.stride + w.offset;
      table.rows[r] = {n * p.src_at.n + y * p.src_at.h + x * p.src_at.w, y, x};
    }
  }
  // Of a phase with few taps a chunk may be empty.
  __device__ int length(const ConvGather<T>& p, int64_t chunk) const {
    return clamp_count(int64_t{entry.h.count} * entry.w.count * p.channels - chunk * kMatmulChunk, kMatmulChunk);
  }
  __device__ void begin(const ConvGather<T>&, int64_t chunk) { k0 = chunk * kMatmulChunk; }

  template <Load kA, Load kB>
  __device__ void load(const ConvGather<T>& p, T* sA, T* sB, int k, int left) {
    const int at = k % kTablePoints;
    if (at == 0) {
      table.fill(left, [&](int i, WindowPoint& point, int64_t& line) {
        const GatherAxis &h = entry.h, &w = entry.w;
        int tap_h, tap_w, c;
        split(k0 + k + i, tap_h, tap_w, c);
        const int y = tap_h * h.move, x = tap_w * w.move;
        point = {y * p.src_at.h + x * p.src_at.w + c * p.src_at.c, y, x};
        const int64_t tap = int64_t{tap_h} * h.index_step * p.w.taps + tap_w * w.index_step;
        line = (tap * p.channels + c) * p.weight_line;
      });
    }
    load_tile<kConfig, kConfig.block_m, kA>(
        sA, WindowTile<T>{a, table.rows, table.points + at, p.src_h, p.src_w, p.src_at.c == 1, rows, left});
    load_tile<kConfig, kConfig.block_n, kB>(sB, LineTile<T>{b, table.lines + at, 1, columns, left});
  }
};

template <class T, MatmulConfig kConfig>
struct TileSource<ConvWeight<T>, kConfig> {
  WindowTable<kConfig> table;
  const T *a, *b;
  int64_t k0 = 0;
  int rows, columns;

  __device__ TileSource(const ConvWeight<T>& p, int64_t group, int64_t m0, int64_t n0)
      : a(p.x + group * p.channels * p.x_at.c),
        b(p.dout + group * p.dout_group + n0 * p.dout_at.c),
        rows(clamp_count(p.M - m0, kConfig.block_m)),
        columns(clamp_count(p.N - n0, kConfig.block_n)) {
    const TapSplit split{p.by_channels, p.by_columns};
    for (int r = static_cast<int>(threadIdx.x); r < rows; r += kConfig.threads()) {
      int i, j, c;
      split(m0 + r, i, j, c);
      const int y = i * p.h.dilation, x = j * p.w.dilation;
      table.rows[r] = {y * p.x_at.h + x * p.x_at.w + c * p.x_at.c, y, x};
    }
  }
  __device__ int length(const ConvWeight<T>& p, int64_t chunk) const {
    return clamp_count(p.K - chunk * p.chunk, p.chunk);
  }
  __device__ void begin(const ConvWeight<T>& p, int64_t chunk) { k0 = chunk * p.chunk; }

  template <Load kA, Load kB>
  __device__ void load(const ConvWeight<T>& p, T* sA, T* sB, int k, int left) {
    const int at = k % kTablePoints;
    if (at == 0) {
      table.fill(left, [&](int i, WindowPoint& point, int64_t& line) {
        int n, out_y, out_x;
        PixelSplit{p.by_image, p.by_row}(k0 + k + i, n, out_y, out_x);
        const int y = out_y * p.h.stride - p.h.padding, x = out_x * p.w.stride - p.w.padding;
        point = {n * p.x_at.n + y * p.x_at.h + x * p.x_at.w, y, x};
        line = n * p.dout_at.n + out_y * p.dout_at.h + out_x * p.dout_at.w;
      });
    }
    load_tile<kConfig, kConfig.block_m, kA>(
        sA, WindowTile<T>{a, table.rows, table.points + at, p.h.in, p.w.in, p.x_at.c != 1, rows, left});
    load_tile<kConfig, kConfig.block_n, kB>(sB, LineTile<T>{b, table.lines + at, p.dout_at.c, columns, left});
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
