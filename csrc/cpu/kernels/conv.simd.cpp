// conv, forward and the gradient of x: an implicit product of pixels x (taps, channels) and (taps, channels) x columns.
//
//   forward          out[n, o, p, q] = bias[o] + sum over (c, i, j) of weight[o, c, i, j] x[n, c, p SH + i DH - PH,
//   ...] gradient of x    dx[n, c, h, w] = sum over (o, i, j) of weight[o, c, i, j] dout[n, o, (h + PH - i DH) / SH,
//   ...]
//
// Both gather. Of the gradient, the positions with one remainder modulo the stride are one such sum, over the taps that
// meet them, in flipped order; SH SW of them make up dx.
//
// An item is a band (some rows of an image, or some small images) of one group and its columns, all of them or a part.
// It copies what the band reads to scratch, once, with the zeros around it and with the channels of a pixel next to
// each other; NHWC data without padding are read in place. There is no matrix of patches: a tile (conv_tile.h) is up to
// kRows pixels of a line, a row of the kernel is one run of its k, and neighbours overlap. Weights are packed before,
// by all threads.
//
// Work 2 N P Q O (C / groups) KH KW flops; compulsory traffic x, weight and out once. The FMA units are the roof but
// for few channels: with C = 1 it is the writing of out.
//
// Bits: an element is, per chunk of channels (chunk_channels), one FMA chain over (tap, channel) from 0; bias and
// chunks are added in order. Where taps are columns (spread) it is the bias and then, tap by tap, their sums over
// channels.
//
// Groups of single channels have kernels of their own (conv_depthwise.h).
//
// Reference: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning" (2014), section 3; Georganas et al.,
// "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures" (2018).
#include "conv_depthwise.h"
#include "conv_gather.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kBandPixels = 192;  // sums of 64 columns: 48 KB
constexpr int64_t kSpreadPixels = 784;
constexpr int64_t kItems = 16;  // of a call, at least

template <class S>
struct GatherPlan {
  using T = compute_t<S>;
  Columns<T> columns;
  Bands bands;
  int64_t chunk, num_chunks;
  int64_t column_blocks;  // items of one band
  bool in_place;          // src is read where it is
  bool direct;            // tiles write to dst
  // Elements of the workspace.
  int64_t packed, bias, window, sums, runs;

  static int64_t band_pixels(const Gather<S>& p) {
    int64_t pixels = p.tap_columns == 0 ? kBandPixels : kSpreadPixels;
    while (pixels > 32 && ceil_div(p.batch * p.P * p.Q, pixels) * p.groups < kItems) pixels /= 2;
    return pixels;
  }

  explicit GatherPlan(const Gather<S>& p) : columns(p.N), bands(p.batch, p.P, p.Q, band_pixels(p)) {
    chunk = chunk_channels<T>(p.K, p.taps(), TileConfig<T>::kBlockK);
    num_chunks = p.taps() == 0 ? 1 : max_of(ceil_div(p.K, chunk), int64_t{1});
    constexpr int64_t kBlockSlivers = 8;
    column_blocks = ceil_div(columns.num_slivers, kBlockSlivers);
    const int64_t items = bands.count() * p.groups;
    if (items * column_blocks < kItems)
      column_blocks = min_of(columns.num_slivers, ceil_div(kItems, max_of(items, int64_t{1})));
    if (p.tap_columns != 0) column_blocks = 1;
    const TapAxis &h = p.taps_h, &w = p.taps_w;
    in_place = !kIsHalf<S> && p.src.c == 1 && h.offset >= 0 && w.offset >= 0 &&
               h.offset + h.window(p.sum_rows(p.P)) <= p.src.height && w.offset + w.window(p.sum_cols()) <= p.src.width;
    direct = !kIsHalf<S> && p.dst.c == 1 && p.tap_columns == 0;
    packed = p.groups * p.taps() * p.K * columns.padded();
    bias = p.bias == nullptr || p.tap_columns != 0 ? 0 : round_up(p.groups * columns.padded(), 16);
    window = in_place ? 0 : bands.images * h.window(p.sum_rows(bands.rows)) * w.window(p.sum_cols()) * chunk;
    sums = direct ? 0
                  : bands.images * p.sum_rows(bands.rows) * p.sum_cols() *
                        columns.slivers.begin(min_of(columns.num_slivers, int64_t{1})) * Vec<T>::kLanes *
                        ceil_div(columns.num_slivers, max_of(column_blocks, int64_t{1}));
    runs = p.taps();
  }
  size_t bytes(int threads) const {
    Carver c{nullptr};
    carve(c, threads);
    return c.bytes;
  }
  struct Pieces {
    T *packed, *bias, *windows, *sums;
    ConvRun* runs;
  };
  Pieces carve(Carver& c, int threads) const {
    Pieces r;
    r.packed = c.take<T>(packed);
    r.bias = c.take<T>(bias);
    r.windows = c.take<T>(threads * round_up(window, 16));
    r.sums = c.take<T>(threads * round_up(sums, 16));
    r.runs = c.take<ConvRun>(threads * runs);
    return r;
  }
};

// dst[k][n] of one sliver of columns, from `col` on, and one chunk of channels.
template <class S>
__attribute__((noinline)) void pack_weight(const Gather<S>& p, const S* weight, int64_t channels, int64_t col,
                                           int64_t cols, int64_t width, compute_t<S>* dst) {
  auto column = [&](int64_t n) __attribute__((always_inline)) {
    if (p.tap_columns == 0) return n * p.weight_n;
    const int64_t tap = n / p.tap_columns, per_row = p.spread_w.count;
    return n % p.tap_columns * p.weight_n + tap_offset(p, p.spread_h, p.spread_w, tap / per_row, tap % per_row);
  };
  for (int64_t i = 0; i < p.taps_h.count; ++i) {
    for (int64_t j = 0; j < p.taps_w.count; ++j) {
      const S* from = weight + (p.tap_columns == 0 ? tap_offset(p, p.taps_h, p.taps_w, i, j) : 0);
      for (int64_t n = 0; n < width; ++n) {
        const S* at = from + column(n < cols ? col + n : 0);
        for (int64_t c = 0; c < channels; ++c)
          dst[c * width + n] = n < cols ? widen(at[c * p.weight_k]) : compute_t<S>(0);
      }
      dst += channels * width;
    }
  }
}

// An axis of a band's pixels.
struct PixelAxis {
  int64_t count, src, dst;
};

template <class S>
struct GatherItem {
  using T = compute_t<S>;
  const Gather<S>& p;
  const GatherPlan<S>& plan;
  Band band;
  int64_t group, sliver_begin, sliver_end;
  const T *packed, *bias;
  T *window, *sums;
  ConvRun* runs;

  // Copies a chunk of channels, or finds it in place.
  FASTATTN_INLINE Window<T> load(int64_t channel, int64_t channels) {
    const S* from = p.src.data + (group * p.K + channel) * p.src.c + band.image * p.src.n;
    const TapAxis &h = p.taps_h, &w = p.taps_w;
    if constexpr (!kIsHalf<S>) {
      if (plan.in_place) {
        return {from + (band.row * h.stride + h.offset) * p.src.h + w.offset * p.src.w, p.src.n, p.src.h, p.src.w};
      }
    }
    const int64_t rows = h.window(p.sum_rows(band.rows)), cols = w.window(p.sum_cols());
    for (int64_t i = 0; i < band.images; ++i) {
      copy_window(p.src, from + i * p.src.n, band.row * h.stride + h.offset, rows, w.offset, cols, channels,
                  window + i * rows * cols * channels, channels);
    }
    return {window, rows * cols * channels, cols * channels, channels};
  }

  void run() {
    const int64_t vec_begin = plan.columns.slivers.begin(sliver_begin);
    const int64_t item_cols = (plan.columns.slivers.begin(sliver_end) - vec_begin) * Vec<T>::kLanes;
    const int64_t col_begin = vec_begin * Vec<T>::kLanes;
    const int64_t rows = p.sum_rows(band.rows), width = p.sum_cols();
    S* const out = p.dst.data + band.image * p.dst.n + band.row * p.dst.h +
                   (group * (p.tap_columns == 0 ? p.N : p.tap_columns) + col_begin) * p.dst.c;
    T* to = sums;
    PixelAxis axes[3] = {
        {band.images, 0, rows * width * item_cols}, {rows, 0, width * item_cols}, {width, 0, item_cols}};
    if constexpr (!kIsHalf<S>) {
      if (plan.direct) {
        to = out;
        axes[0].dst = p.dst.n;
        axes[1].dst = p.dst.h;
        axes[2].dst = p.dst.w;
      }
    }
    const int64_t num_chunks = plan.num_chunks;
    for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
      const int64_t channel = chunk * plan.chunk, channels = min_of(plan.chunk, p.K - channel);
      const Window<T> x = load(channel, channels);
      axes[0].src = x.image;
      axes[1].src = x.row * p.taps_h.stride;
      axes[2].src = x.pixel * p.taps_w.stride;
      multiply(x, channel, channels, axes, to, chunk == 0);
    }
    if (p.tap_columns != 0) {
      add_taps(out, rows, width, item_cols);
    } else if (!plan.direct) {
      const int64_t cols = min_of(item_cols, p.N - col_begin);
      const bool lines = p.dst.h == p.Q * p.dst.w;  // rows follow each other
      for (int64_t n = 0; n < band.images; ++n) {
        for (int64_t r = 0; r < (lines ? 1 : band.rows); ++r) {
          store_pixels(sums + (n * band.rows + r) * p.Q * item_cols, item_cols, lines ? band.rows * p.Q : p.Q, cols,
                       out + n * p.dst.n + r * p.dst.h, p.dst.c, p.dst.w);
        }
      }
    }
  }

  // An output is the sum of its taps' columns, each at the pixel that the tap reads.
  void add_taps(S* out, int64_t rows, int64_t width, int64_t pitch) {
    const TapAxis &h = p.spread_h, &w = p.spread_w;
    for (int64_t c = 0; c < p.tap_columns; ++c) {
      const T start = p.bias == nullptr ? T(0) : widen(p.bias[(group * p.tap_columns + c) * p.bias_n]);
      for (int64_t line = 0; line < band.images * band.rows; ++line) {
        const int64_t n = line / band.rows, r = line % band.rows;
        const T* const from = sums + (n * rows + r) * width * pitch + c;
        S* const to = out + n * p.dst.n + r * p.dst.h + c * p.dst.c;
        for (int64_t q = 0; q < p.Q; ++q) {
          T sum = start;
          const T* column = from + q * pitch;
          for (int64_t i = 0; i < h.count; ++i) {
            const T* at = column + i * h.offset_step * width * pitch;
            for (int64_t j = 0; j < w.count; ++j, column += p.tap_columns, at += p.tap_columns) {
              sum += at[j * w.offset_step * pitch];
            }
          }
          to[q * p.dst.w] = narrow<S>(sum);
        }
      }
    }
  }

  FASTATTN_INLINE void multiply(const Window<T>& x, int64_t channel, int64_t channels, const PixelAxis (&axes)[3],
                                T* to, bool first) {
    constexpr int64_t kLanes = Vec<T>::kLanes, kRows = TileConfig<T>::kRows;
    const auto& slivers = plan.columns.slivers;
    const int64_t col_begin = slivers.begin(sliver_begin) * kLanes;
    const TapAxis &h = p.taps_h, &w = p.taps_w;

    // Tiles go along the axis that fills them; neighbours that lie as one axis are one.
    PixelAxis tile = axes[2], middle = axes[1], outer = axes[0];
    auto fold = [&](PixelAxis& next) {
      if (next.count == 1) return true;
      if (next.src != tile.count * tile.src || next.dst != tile.count * tile.dst) return false;
      tile.count *= next.count;
      next.count = 1;
      return true;
    };
    if (fold(middle)) fold(outer);
    auto prefer = [&](PixelAxis& other) {
      if (tile.count < kRows / 2 && other.count > tile.count) {
        const PixelAxis t = tile;
        tile = other;
        other = t;
      }
    };
    prefer(middle);
    prefer(outer);
    const int64_t num_tiles = ceil_div(tile.count, kRows);
    const EvenSplit tiles(tile.count, num_tiles);

    ConvTile<T> t;
    t.runs = runs;
    t.a_stride = tile.src;
    for (int64_t s = sliver_begin; s < sliver_end; ++s) {
      const int64_t vec = slivers.begin(s), vecs = slivers.begin(s + 1) - vec, width = vecs * kLanes;
      const int64_t cols = min_of(p.N - vec * kLanes, width), at = vec * kLanes - col_begin;
      // A row of taps whose channels follow each other is one run.
      const bool one_run = w.offset_step * x.pixel == channels;
      const int64_t per_row = one_run ? 1 : w.count, run_len = one_run ? w.count * channels : channels;
      t.num_runs = run_len == 0 ? 0 : h.count * per_row;
      t.run_len = run_len;
      for (int64_t i = 0; i < t.num_runs; ++i) {
        runs[i] = {i / per_row * h.offset_step * x.row + i % per_row * w.offset_step * x.pixel, i * run_len * width};
      }
      t.b = packed + p.taps() * (channel * plan.columns.padded() + vec * kLanes * channels);
      t.b_stride = width;
      t.tail = static_cast<int>(cols - (vecs - 1) * kLanes);
      t.dst_stride = tile.dst;
      for (int64_t o = 0; o < outer.count; ++o) {
        for (int64_t m = 0; m < middle.count; ++m) {
          const T* const from = x.data + o * outer.src + m * middle.src;
          T* const line = to + at + o * outer.dst + m * middle.dst;
          for (int64_t i = 0; i < num_tiles; ++i) {
            const int64_t begin = tiles.begin(i), rows = tiles.begin(i + 1) - begin;
            t.a = from + begin * tile.src;
            t.dst = line + begin * tile.dst;
            t.add = first ? bias == nullptr ? nullptr : bias + vec * kLanes : t.dst;
            t.add_stride = first ? 0 : tile.dst;
            kConvTiles<T, true>.fn[rows - 1][vecs - 1](t);
          }
        }
      }
    }
  }
};

template <class S>
__attribute__((noinline)) void run_gather(const Gather<S>& p, const fa_launch& launch) {
  using T = compute_t<S>;
  if (p.batch * p.P * p.Q * p.N * p.groups == 0) return;
  if (is_depthwise(p)) return run_depthwise(depthwise_of(p), launch);
  const GatherPlan<S> plan(p);
  constexpr int64_t kLanes = Vec<T>::kLanes;
  Carver carver{static_cast<char*>(launch.workspace)};
  const auto w = plan.carve(carver, launch.num_threads);
  const int64_t padded = plan.columns.padded(), group_packed = p.taps() * p.K * padded;

  parallel_for(launch, p.groups * plan.columns.num_slivers * plan.num_chunks, [&](int64_t item, int) {
    const int64_t chunk = item % plan.num_chunks, sliver = item / plan.num_chunks % plan.columns.num_slivers;
    const int64_t group = item / plan.num_chunks / plan.columns.num_slivers;
    const int64_t channel = chunk * plan.chunk, channels = min_of(plan.chunk, p.K - channel);
    const int64_t vec = plan.columns.slivers.begin(sliver),
                  width = (plan.columns.slivers.begin(sliver + 1) - vec) * kLanes;
    const int64_t cols = min_of(p.N - vec * kLanes, width);
    pack_weight(p, p.weight + group * p.weight_group + channel * p.weight_k, channels, vec * kLanes, cols, width,
                w.packed + group * group_packed + p.taps() * (channel * padded + vec * kLanes * channels));
    if (plan.bias != 0 && chunk == 0) {
      for (int64_t n = 0; n < width; ++n) {
        w.bias[group * padded + vec * kLanes + n] =
            n < cols ? widen(p.bias[(group * p.N + vec * kLanes + n) * p.bias_n]) : T(0);
      }
    }
  });

  const EvenSplit blocks(plan.columns.num_slivers, plan.column_blocks);
  parallel_for(launch, plan.bands.count() * p.groups * plan.column_blocks, [&](int64_t index, int worker) {
    const int64_t block = index % plan.column_blocks, group = index / plan.column_blocks % p.groups;
    GatherItem<S> item{p,
                       plan,
                       Band(plan.bands, index / plan.column_blocks / p.groups),
                       group,
                       blocks.begin(block),
                       blocks.begin(block + 1),
                       w.packed + group * group_packed,
                       plan.bias == 0 ? nullptr : w.bias + group * padded,
                       w.windows + worker * round_up(plan.window, 16),
                       w.sums + worker * round_up(plan.sums, 16),
                       w.runs + worker * plan.runs};
    item.run();
  });
}

double flops_of(const fa_tensor& pixels, const fa_tensor& weight) {
  return 2.0 * static_cast<double>(pixels.shape[0] * pixels.shape[2] * pixels.shape[3]) *
         static_cast<double>(num_elements(weight));
}

template <class S>
FASTATTN_INLINE size_t gather_bytes(const Gather<S>& p) {
  if (p.batch * p.P * p.Q * p.N * p.groups == 0) return 0;
  if (is_depthwise(p)) return DepthwisePlan<S>(depthwise_of(p)).bytes(depthwise_of(p), num_threads());
  return GatherPlan<S>(p).bytes(num_threads());
}

}  // namespace

fa_status conv_fwd(const fa_conv_fwd_params& p, fa_launch& launch) {
  return visit_float(
      p.x.dtype, launch, [&]<class S>() __attribute__((always_inline)) {
        const Gather<S> gather = spread(forward_gather<S>(p));
        if (launch.query) {
          const double elements = static_cast<double>(num_elements(p.x) + num_elements(p.weight) + num_elements(p.out));
          describe<"conv_fwd", S>(
              launch,
              {.workspace = gather_bytes(gather), .flops = flops_of(p.out, p.weight), .bytes = sizeof(S) * elements});
          return FA_OK;
        }
        describe<"conv_fwd", S>(launch);
        run_gather(gather, launch);
        return FA_OK;
      });
}

fa_status conv_bwd_input(const fa_conv_bwd_input_params& p, fa_launch& launch) {
  return visit_float(
      p.dx.dtype, launch, [&]<class S>() __attribute__((always_inline)) {
        const int64_t phases_h = min_of(p.geometry.stride[0], max_of(p.dx.shape[2], int64_t{1}));
        const int64_t phases_w = min_of(p.geometry.stride[1], max_of(p.dx.shape[3], int64_t{1}));
        size_t workspace = 0;
        if (!launch.query) describe<"conv_bwd_input", S>(launch);
        for (int64_t i = 0; i < phases_h; ++i) {
          for (int64_t j = 0; j < phases_w; ++j) {
            const Gather<S> gather = spread(backward_gather<S>(p, i, j));
            if (launch.query) {
              workspace = max_of(workspace, gather_bytes(gather));
            } else {
              run_gather(gather, launch);
            }
          }
        }
        if (launch.query) {
          const double elements =
              static_cast<double>(num_elements(p.dx) + num_elements(p.weight) + num_elements(p.dout));
          describe<"conv_bwd_input", S>(
              launch, {.workspace = workspace, .flops = flops_of(p.dout, p.weight), .bytes = sizeof(S) * elements});
        }
        return FA_OK;
      });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
