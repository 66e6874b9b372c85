// conv, the gradients of weight and bias: products of (taps, channels) x pixels and pixels x columns.
//
//   dweight[o, c, i, j] = sum over (n, p, q) of x[n, c, p SH + i DH - PH, q SW + j DW - PW] dout[n, o, p, q]
//   dbias[o] = sum over (n, p, q) of dout[n, o, p, q]
//
// The pixels are cut into bands (rows of an image, or some small images), the bands into parts. An item is one part of
// one group, a chunk of its channels and a block of its columns. Band by band it copies x and dout to scratch, as the
// forward does, and adds to its own dweight: a tile (conv_tile.h) is up to kRows channels next to each other, of one
// tap or of taps that follow each other, and its k are the pixels of the band, a run for each of its rows. Parts are
// then added in order, on the way to the layout of dweight.
//
// Work 2 N P Q O (C / groups) KH KW flops; compulsory traffic x and dout once. The FMA units are the roof but for few
// channels: with C = 1 it is the reading of dout.
//
// Bits: per band one FMA chain over its pixels in order, from 0; bands of a part, and then parts, are added in order.
//
// Reference: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning" (2014), section 3.
#include "conv_depthwise.h"
#include "conv_plan.h"
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kBandPixels = 192;            // 24 KB of dout for a sliver of two vectors
constexpr int64_t kItems = 16;                  // parts are as many as give so many
constexpr int64_t kPartElements = 4 * 1048576;  // of all parts

template <class S>
struct WeightProblem {
  Images<const S> x, dout;
  int64_t K, N, groups;  // channels and columns of one group
  int64_t batch, P, Q;
  TapAxis taps_h, taps_w;
  S *dweight, *dbias;  // nullptr where not wanted
  int64_t weight_n, weight_k, weight_h, weight_w, bias_n;

  explicit WeightProblem(const fa_conv_bwd_weight_params& p)
      : x(p.x),
        dout(p.dout),
        K(p.dweight.shape[1]),
        N(p.dweight.shape[0] / p.geometry.groups),
        groups(p.geometry.groups),
        batch(p.dout.shape[0]),
        P(p.dout.shape[2]),
        Q(p.dout.shape[3]),
        taps_h(forward_taps(p.geometry, 0, p.dweight.shape[2])),
        taps_w(forward_taps(p.geometry, 1, p.dweight.shape[3])),
        dweight(data<S>(p.dweight)),
        dbias(data<S>(p.dbias)),
        weight_n(p.dweight.strides[0]),
        weight_k(p.dweight.strides[1]),
        weight_h(p.dweight.strides[2]),
        weight_w(p.dweight.strides[3]),
        bias_n(p.dbias.data == nullptr ? 0 : p.dbias.strides[0]) {}
  int64_t taps() const { return taps_h.count * taps_w.count; }

  bool is_depthwise() const { return groups > 1 && K == 1 && N == 1 && dweight != nullptr && batch * P * Q > 0; }
  DepthwiseWeight<S> depthwise() const {
    return {x, dout, batch, groups, P, Q, taps_h, taps_w, dweight, dbias, weight_n, weight_h, weight_w, bias_n};
  }
};

template <class S>
struct WeightPlan {
  using T = compute_t<S>;
  Columns<T> columns;
  Bands bands;
  int64_t chunk, num_chunks;
  int64_t column_blocks;
  int64_t parts;
  bool x_in_place, dout_in_place;
  int64_t part_elements, sums, bias, x_window, dout_window, runs;

  explicit WeightPlan(const WeightProblem<S>& p) : columns(p.N), bands(p.batch, p.P, p.Q, kBandPixels) {
    // Channels x taps of an item's own dweight, and its columns: 512 x 96 floats stay in L2.
    chunk = chunk_channels<T>(p.K, p.taps(), TileConfig<T>::kBlockK / 2);
    num_chunks = p.dweight == nullptr ? 1 : max_of(ceil_div(p.K, chunk), int64_t{1});
    constexpr int64_t kBlockSlivers = 2;
    column_blocks = ceil_div(columns.num_slivers, kBlockSlivers);
    part_elements = p.groups * p.taps() * p.K * columns.padded();
    const int64_t blocks = max_of(p.groups * num_chunks * column_blocks, int64_t{1});
    parts = min_of(ceil_div(kItems, blocks), kPartElements / max_of(part_elements, int64_t{1}));
    parts = max_of(int64_t{1}, min_of(parts, bands.count()));
    const TapAxis &h = p.taps_h, &w = p.taps_w;
    x_in_place = !kIsHalf<S> && p.x.c == 1 && h.offset >= 0 && w.offset >= 0 &&
                 h.offset + h.window(p.P) <= p.x.height && w.offset + w.window(p.Q) <= p.x.width;
    // Where many tiles read it, a copy of a sliver whose pixels follow each other is worth more than it costs: pixels
    // of 64 columns or more, a power of two, meet in few sets of the cache.
    constexpr int64_t kFewRows = 64;
    dout_in_place = !kIsHalf<S> && p.dout.c == 1 && (kMaskedLoads || p.N % Vec<T>::kLanes == 0) &&
                    (p.dweight == nullptr || p.taps() * chunk <= kFewRows);
    sums = p.dweight == nullptr ? 0 : parts * part_elements;
    bias = parts * p.groups * columns.padded();
    x_window = x_in_place ? 0 : bands.images * h.window(bands.rows) * w.window(p.Q) * chunk;
    dout_window = dout_in_place ? 0 : bands.images * bands.rows * p.Q * TileConfig<T>::kCols;
    runs = bands.images * bands.rows;
  }
  struct Pieces {
    T *sums, *bias, *x, *dout;
    ConvRun* runs;
  };
  Pieces carve(Carver& c, int threads) const {
    Pieces r;
    r.sums = c.take<T>(sums);
    r.bias = c.take<T>(bias);
    r.x = c.take<T>(threads * round_up(x_window, 16));
    r.dout = c.take<T>(threads * round_up(dout_window, 16));
    r.runs = c.take<ConvRun>(threads * runs);
    return r;
  }
  size_t bytes(int threads) const {
    Carver c{nullptr};
    carve(c, threads);
    return c.bytes;
  }
};

template <class S>
struct WeightItem {
  using T = compute_t<S>;
  static constexpr int64_t kLanes = Vec<T>::kLanes;
  const WeightProblem<S>& p;
  const WeightPlan<S>& plan;
  int64_t band_begin, band_end, group, chunk, sliver_begin, sliver_end;
  T* sums;  // of the group
  T* bias;
  T *x_scratch, *dout_scratch;
  ConvRun* runs;
  Ahead x_ahead, dout_ahead;  // of the next band
  int64_t x_lines, dout_lines;

  void run() {
    const int64_t channel = chunk * plan.chunk, channels = min_of(plan.chunk, p.K - channel);
    for (int64_t b = band_begin; b < band_end; ++b) {
      const Band band(plan.bands, b);
      const bool first = b == band_begin;
      Window<T> x{};
      const bool multiplies = p.dweight != nullptr && channels > 0;
      if (multiplies) x = load_x(band, channel, channels);
      if (multiplies && p.groups == 1 && b + 1 < band_end) call_ahead(Band(plan.bands, b + 1), channels);
      for (int64_t sliver = sliver_begin; sliver < sliver_end; ++sliver) {
        const int64_t vec = plan.columns.slivers.begin(sliver), vecs = plan.columns.slivers.begin(sliver + 1) - vec;
        const Window<T> dout = load_dout(band, vec * kLanes, vecs * kLanes);
        if (p.dbias != nullptr && chunk == 0) add_bias(band, dout, vec, vecs, first);
        if (multiplies) multiply(band, x, dout, channel, channels, vec, vecs, first);
      }
    }
  }

  FASTATTN_INLINE void call_ahead(const Band& next, int64_t channels) {
    x_ahead = ahead_of(p.x, next.image, next.images, next.row * p.taps_h.stride + p.taps_h.offset,
                       p.taps_h.window(next.rows));
    dout_ahead = ahead_of(p.dout, next.image, next.images, next.row, next.rows);
    const int64_t tiles = p.taps() * channels / TileConfig<T>::kRows * (sliver_end - sliver_begin);
    x_lines = x_ahead.lines() / max_of(tiles, int64_t{1}) + 1;
    dout_lines = dout_ahead.lines() / max_of(tiles, int64_t{1}) + 1;
  }

  FASTATTN_INLINE Window<T> load_x(const Band& band, int64_t channel, int64_t channels) {
    const S* from = p.x.data + (group * p.K + channel) * p.x.c + band.image * p.x.n;
    const TapAxis &h = p.taps_h, &w = p.taps_w;
    if constexpr (!kIsHalf<S>) {
      if (plan.x_in_place) {
        return {from + (band.row * h.stride + h.offset) * p.x.h + w.offset * p.x.w, p.x.n, p.x.h, p.x.w};
      }
    }
    const int64_t rows = h.window(band.rows), cols = w.window(p.Q);
    for (int64_t i = 0; i < band.images; ++i) {
      copy_window(p.x, from + i * p.x.n, band.row * h.stride + h.offset, rows, w.offset, cols, channels,
                  x_scratch + i * rows * cols * channels, channels);
    }
    return {x_scratch, rows * cols * channels, cols * channels, channels};
  }

  FASTATTN_INLINE Window<T> load_dout(const Band& band, int64_t col, int64_t width) {
    const S* from = p.dout.data + (group * p.N + col) * p.dout.c + band.image * p.dout.n;
    if constexpr (!kIsHalf<S>) {
      if (plan.dout_in_place) return {from + band.row * p.dout.h, p.dout.n, p.dout.h, p.dout.w};
    }
    const int64_t image = band.rows * p.Q * width;
    for (int64_t i = 0; i < band.images; ++i) {
      copy_window(p.dout, from + i * p.dout.n, band.row, band.rows, 0, p.Q, min_of(width, p.N - col),
                  dout_scratch + i * image, width);
    }
    return {dout_scratch, image, p.Q * width, width};
  }

  FASTATTN_INLINE void add_bias(const Band& band, const Window<T>& dout, int64_t vec, int64_t vecs, bool first) {
    using V = Vec<T>;
    for (int64_t v = 0; v < vecs; ++v) {
      const int lanes = static_cast<int>(min_of(kLanes, p.N - (vec + v) * kLanes));
      V sum = V::zero();
      auto add_row = [&](auto whole, const T* from) __attribute__((always_inline)) {
        auto load = [&](int64_t q) __attribute__((always_inline)) {
          const T* at = from + q * dout.pixel;
          return decltype(whole)::value ? V::load(at) : V::load(at, lanes);
        };
        int64_t q = 0;
        for (; q + 4 <= p.Q; q += 4) sum += (load(q) + load(q + 1)) + (load(q + 2) + load(q + 3));
        for (; q < p.Q; ++q) sum += load(q);
      };
      for (int64_t n = 0; n < band.images; ++n) {
        for (int64_t r = 0; r < band.rows; ++r) {
          const T* from = dout.data + n * dout.image + r * dout.row + v * kLanes;
          if (lanes == kLanes) {
            add_row(std::true_type{}, from);
          } else {
            add_row(std::false_type{}, from);
          }
        }
      }
      T* to = bias + (vec + v) * kLanes;
      (first ? sum : V::load(to) + sum).store(to);
    }
  }

  // One sliver of dweight, over one band.
  FASTATTN_INLINE void multiply(const Band& band, const Window<T>& x, const Window<T>& dout, int64_t channel,
                                int64_t channels, int64_t vec, int64_t vecs, bool first) {
    constexpr int64_t kRows = TileConfig<T>::kRows;
    const TapAxis &h = p.taps_h, &w = p.taps_w;
    const int64_t padded = plan.columns.padded();
    ConvTile<T> t;
    t.a_stride = w.stride * x.pixel;
    t.b_stride = dout.pixel;
    // Rows that follow each other, in both, are one run.
    const bool lines = h.stride * x.row == p.Q * t.a_stride && dout.row == p.Q * t.b_stride;
    const int64_t image_runs = lines ? 1 : band.rows;
    for (int64_t n = 0; n < band.images; ++n) {
      for (int64_t r = 0; r < image_runs; ++r) {
        runs[n * image_runs + r] = {n * x.image + r * h.stride * x.row, n * dout.image + r * dout.row};
      }
    }
    t.runs = runs;
    t.num_runs = band.images * image_runs;
    t.run_len = lines ? band.rows * p.Q : p.Q;
    t.b = dout.data;
    t.tail = plan.dout_in_place ? static_cast<int>(min_of(p.N - vec * kLanes, vecs * kLanes) - (vecs - 1) * kLanes)
                                : static_cast<int>(kLanes);
    t.add_stride = t.dst_stride = padded;
    // Taps that follow each other along a row are more rows of a tile.
    const bool one_run = w.offset_step * x.pixel == channels;
    const int64_t length = one_run ? w.count * channels : channels, per_row = one_run ? 1 : w.count;
    const int64_t num_tiles = ceil_div(length, kRows);
    const EvenSplit tiles(length, num_tiles);
    for (int64_t m = 0; m < h.count * per_row; ++m) {
      const T* from = x.data + m / per_row * h.offset_step * x.row + m % per_row * w.offset_step * x.pixel;
      T* to = sums + (channel * p.taps() + m * length) * padded + vec * kLanes;
      for (int64_t i = 0; i < num_tiles; ++i) {
        const int64_t begin = tiles.begin(i), rows = tiles.begin(i + 1) - begin;
        t.a = from + begin;
        t.dst = to + begin * padded;
        t.add = first ? nullptr : t.dst;
        x_ahead.call(x_lines);
        dout_ahead.call(dout_lines);
        kConvTiles<T, false>.fn[rows - 1][vecs - 1](t);
      }
    }
  }
};

// Adds the parts of dweight: an item is a vector of columns of some (channel, tap).
template <class S>
__attribute__((noinline)) void add_weight_parts(const WeightProblem<S>& p, const WeightPlan<S>& plan,
                                                const compute_t<S>* sums, const fa_launch& launch) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes, kChannels = 16;
  const int64_t padded = plan.columns.padded(), taps = p.taps(), group_elements = taps * p.K * padded;
  const int64_t channel_items = ceil_div(p.K, kChannels);
  parallel_for(launch, p.groups * plan.columns.vecs * channel_items, [&](int64_t item, int) {
    const int64_t first = item % channel_items * kChannels, vec = item / channel_items % plan.columns.vecs;
    const int64_t group = item / channel_items / plan.columns.vecs;
    const int64_t lanes = min_of(kLanes, p.N - vec * kLanes);
    S* const out = p.dweight + (group * p.N + vec * kLanes) * p.weight_n;
    const T* const from = sums + group * group_elements + vec * kLanes;
    for (int64_t c = first; c < min_of(p.K, first + kChannels); ++c) {
      const int64_t chunk = c / plan.chunk * plan.chunk, length = min_of(plan.chunk, p.K - chunk);
      for (int64_t tap = 0; tap < taps; ++tap) {
        const T* at = from + (chunk * taps + tap * length + c - chunk) * padded;
        V sum = V::load(at);
        for (int64_t part = 1; part < plan.parts; ++part) sum += V::load(at + part * plan.part_elements);
        alignas(64) T values[kLanes];
        sum.store(values);
        S* to = out + c * p.weight_k + tap / p.taps_w.count * p.weight_h + tap % p.taps_w.count * p.weight_w;
        for (int64_t n = 0; n < lanes; ++n) to[n * p.weight_n] = narrow<S>(values[n]);
      }
    }
  });
}

template <class S>
__attribute__((noinline)) void add_bias_parts(const WeightProblem<S>& p, const WeightPlan<S>& plan,
                                              const compute_t<S>* sums) {
  const int64_t padded = plan.columns.padded();
  for (int64_t i = 0; i < p.groups * p.N; ++i) {
    const int64_t at = i / p.N * padded + i % p.N;
    compute_t<S> sum = sums[at];
    for (int64_t part = 1; part < plan.parts; ++part) sum += sums[part * p.groups * padded + at];
    p.dbias[i * p.bias_n] = narrow<S>(sum);
  }
}

template <class S>
__attribute__((noinline)) void run_weight(const WeightProblem<S>& p, const fa_launch& launch) {
  using T = compute_t<S>;
  if (p.groups * p.N == 0) return;
  if (p.is_depthwise()) return run_depthwise_weight(p.depthwise(), launch);
  const WeightPlan<S> plan(p);
  Carver carver{static_cast<char*>(launch.workspace)};
  const auto w = plan.carve(carver, launch.num_threads);
  const int64_t padded = plan.columns.padded(), group_elements = p.taps() * p.K * padded;
  const EvenSplit parts(plan.bands.count(), plan.parts), blocks(plan.columns.num_slivers, plan.column_blocks);
  if (p.batch * p.P * p.Q == 0) {
    fill_zero(w.sums, plan.sums);
    fill_zero(w.bias, plan.bias);
  } else {
    parallel_for(launch, plan.parts * p.groups * plan.num_chunks * plan.column_blocks, [&](int64_t index, int worker) {
      const int64_t block = index % plan.column_blocks;
      index /= plan.column_blocks;
      const int64_t chunk = index % plan.num_chunks;
      index /= plan.num_chunks;
      const int64_t group = index % p.groups, part = index / p.groups;
      WeightItem<S> item{p,
                         plan,
                         parts.begin(part),
                         parts.begin(part + 1),
                         group,
                         chunk,
                         blocks.begin(block),
                         blocks.begin(block + 1),
                         w.sums + part * plan.part_elements + group * group_elements,
                         w.bias + (part * p.groups + group) * padded,
                         w.x + worker * round_up(plan.x_window, 16),
                         w.dout + worker * round_up(plan.dout_window, 16),
                         w.runs + worker * plan.runs,
                         {},
                         {},
                         0,
                         0};
      item.run();
    });
  }
  if (p.dweight != nullptr) add_weight_parts(p, plan, static_cast<const T*>(w.sums), launch);
  if (p.dbias != nullptr) add_bias_parts(p, plan, static_cast<const T*>(w.bias));
}

}  // namespace

fa_status conv_bwd_weight(const fa_conv_bwd_weight_params& p, fa_launch& launch) {
  return visit_float(
      p.x.dtype, launch, [&]<class S>() __attribute__((always_inline)) {
        const WeightProblem<S> problem(p);
        if (launch.query) {
          const double pixels = static_cast<double>(p.dout.shape[0] * p.dout.shape[2] * p.dout.shape[3]);
          const double weights = p.dweight.data == nullptr ? 0 : static_cast<double>(num_elements(p.dweight));
          const double x = p.dweight.data == nullptr ? 0 : static_cast<double>(num_elements(p.x));
          const size_t workspace = problem.groups * problem.N == 0 ? 0
                                   : problem.is_depthwise()        ? problem.depthwise().bytes(num_threads())
                                                                   : WeightPlan<S>(problem).bytes(num_threads());
          describe<"conv_bwd_weight", S>(
              launch, {.workspace = workspace,
                       .flops = 2 * pixels * weights,
                       .bytes = sizeof(S) * (x + weights + static_cast<double>(num_elements(p.dout)))});
          return FA_OK;
        }
        describe<"conv_bwd_weight", S>(launch);
        run_weight(problem, launch);
        return FA_OK;
      });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
