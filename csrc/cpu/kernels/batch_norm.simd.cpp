// batch_norm: out = (x - mean) rstd weight + bias, with the mean and the variance of a channel over batch and
// positions.
//
//   x, out, dout, dx (N, C, S1, S2), any strides   weight, bias, running_mean, running_var, mean, rstd (C)
//
// The M = N S1 S2 elements of a channel are cut into blocks of a fixed number. A block's sums are made while it is in
// the cache: first its mean, then the squares about that (from the sum of squares alone the variance of a channel far
// from 0 cancels). The blocks of a channel are joined in pairs, whose pairs are joined, and so on: a tree that is a
// function of M. Two loops, by the strides:
//   planes     the vectors lie along the positions; an item is some blocks of kBlockElements elements of one channel
//   channels   the channels are contiguous (channels-last), the vectors lie along them; an item is some blocks of
//              kBlockRows positions, for as many channels as fit in registers
//
// Memory-bound. The statistics must be known before the first element of out can be written: where x is larger than the
// cache, the forward reads it twice and writes out once, and the backward reads x and dout twice and writes dx once.
// That is the floor, and what is done here; a forward that does not train reads x once.
#include "elementwise.h"
#include "number.h"
#include "row_blocks.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kBlockElements = 4096;  // of a channel: 16 KB of f32, read twice
constexpr int64_t kBlockRows = 256;
constexpr int64_t kItemElements = 16384;
constexpr int kTileVectors = 4;

// Two sums of a channel: forward the mean and the squares about it, backward those of dout and dout (x - mean).
template <class A>
struct Pair {
  A first, second;
};
// Of two neighbouring ranges of na and nb elements.
template <class A>
FASTATTN_INLINE Pair<A> join_moments(Pair<A> a, Pair<A> b, A na, A nb) {
  const A delta = b.first - a.first, share = nb / (na + nb);
  return {a.first + delta * share, a.second + b.second + delta * delta * na * share};
}

template <class T>
struct BatchNorm {
  using A = compute_t<T>;
  using V = Vec<A>;
  static constexpr int kLanes = V::kLanes;
  static constexpr int64_t kTile = kTileVectors * kLanes;

  const fa_tensor &x, &other;  // x and out, or x and dout
  const int64_t C, S1, S2, M;
  const bool channels;
  const int64_t block, blocks;    // elements of a channel in a block, blocks of a channel
  const int64_t tiles, per_item;  // channels: tiles of them; blocks of an item
  Pair<A>* parts = nullptr;       // (C, blocks)
  A *mean = nullptr, *scale = nullptr, *shift = nullptr, *slope = nullptr;  // (C)
  size_t workspace = 0;

  BatchNorm(const fa_tensor& x_, const fa_tensor& other_, bool sums, void* base)
      : x(x_),
        other(other_),
        C(x.shape[1]),
        S1(x.shape[2]),
        S2(x.shape[3]),
        M(x.shape[0] * S1 * S2),
        channels(C > 1 && x.strides[1] == 1 && other.strides[1] == 1),
        block(channels ? kBlockRows : kBlockElements),
        blocks(ceil_div(M, block)),
        tiles(channels ? ceil_div(C, kTile) : C),
        per_item(max_of<int64_t>(1, kItemElements / (block * (channels ? min_of(C, kTile) : 1)))) {
    Carver carve{static_cast<char*>(base)};
    if (sums) parts = carve.take<Pair<A>>(C * blocks);
    mean = carve.take<A>(C);
    scale = carve.take<A>(C);
    shift = carve.take<A>(C);
    slope = carve.take<A>(C);
    workspace = carve.bytes;
  }

  // Where an element of a channel lies, from the number that counts them in row-major order.
  struct Position {
    int64_t n, s1, s2;
    FASTATTN_INLINE int64_t offset(const fa_tensor& t) const {
      return n * t.strides[0] + s1 * t.strides[2] + s2 * t.strides[3];
    }
  };
  // f(position, n) for the runs of n elements along S2 that cover [begin, end), of at most `most`.
  template <class F>
  FASTATTN_INLINE void for_rows(int64_t begin, int64_t end, int64_t most, F&& f) const {
    Position at{begin / S2 / S1, begin / S2 % S1, begin % S2};
    while (begin < end) {
      const int64_t n = min_of(most, min_of(end - begin, S2 - at.s2));
      f(at, n);
      begin += n;
      at.s2 += n;
      if (at.s2 < S2) continue;
      at.s2 = 0;
      if (++at.s1 < S1) continue;
      at.s1 = 0;
      ++at.n;
    }
  }

  // A run of a channel: n elements from element p of plane `plane` on. Where it begins and ends, and so the lanes of
  // its elements, does not depend on how the plane lies in memory.
  struct Run {
    int64_t c, plane, p, n;
  };
  // f(run) for runs of channel c that cover [begin, end).
  template <class F>
  FASTATTN_INLINE void for_runs(int64_t c, int64_t begin, int64_t end, F&& f) const {
    const int64_t size = S1 * S2, most = is_flat(x) && is_flat(other) ? size : kElementwiseBuffer;
    Run run{c, begin / size, begin % size, 0};
    while (begin < end) {
      run.n = min_of(most, min_of(end - begin, size - run.p));
      f(run);
      begin += run.n;
      run.p += run.n;
      if (run.p < size) continue;
      run.p = 0;
      ++run.plane;
    }
  }
  FASTATTN_INLINE bool is_flat(const fa_tensor& t) const { return S1 == 1 && t.strides[3] == 1; }
  FASTATTN_INLINE T* start(const fa_tensor& t, const Run& run) const {
    return data<T>(t) + run.c * t.strides[1] + run.plane * t.strides[0];
  }
  // f(element of the run, where it is, n) for the pieces of a run that lie along S2.
  template <class F>
  FASTATTN_INLINE void for_pieces(const fa_tensor& t, const Run& run, F&& f) const {
    for (int64_t i = 0; i < run.n;) {
      const int64_t s1 = (run.p + i) / S2, s2 = (run.p + i) % S2, n = min_of(run.n - i, S2 - s2);
      f(i, start(t, run) + s1 * t.strides[2] + s2 * t.strides[3], n);
      i += n;
    }
  }
  // The elements of a run, in buffer where they are not contiguous; and back to memory from there.
  FASTATTN_INLINE const T* read(const fa_tensor& t, const Run& run, T* buffer) const {
    if (is_flat(t)) return start(t, run) + run.p;
    for_pieces(t, run, [&](int64_t i, const T* from, int64_t n) { gather(from, t.strides[3], buffer + i, n); });
    return buffer;
  }
  FASTATTN_INLINE void write(const fa_tensor& t, const Run& run, const T* buffer) const {
    for_pieces(t, run, [&](int64_t i, T* to, int64_t n) { scatter(buffer + i, to, t.strides[3], n); });
  }

  // f(b, begin, end, tile) for the blocks of every tile of channels.
  template <class F>
  FASTATTN_INLINE void for_blocks(const fa_launch& launch, F&& f) const {
    const int64_t groups = ceil_div(blocks, per_item);
    parallel_for(launch, tiles * groups, [&](int64_t item, int) {
      // Tiles of one range of positions follow each other: they share its pages.
      const int64_t tile = channels ? item % tiles : item / groups, group = channels ? item / tiles : item % groups;
      for (int64_t b = group * per_item; b < min_of(blocks, (group + 1) * per_item); ++b) {
        f(b, b * block, min_of(M, (b + 1) * block), tile);
      }
    });
  }

  // f<kVectors>(c, n) for a tile of channels: all of its vectors at once, or, of the last tile, one with n lanes at a
  // time.
  template <class F>
  FASTATTN_INLINE void for_vectors(int64_t tile, F&& f) const {
    int64_t c = tile * kTile;
    if (c + kTile <= C) return f.template operator()<kTileVectors>(c, kLanes);
    for (; c < C; c += kLanes) f.template operator()<1>(c, int(min_of<int64_t>(kLanes, C - c)));
  }
  // f(x, other) for the elements [begin, end) of all channels: where channel 0 is.
  template <class F>
  FASTATTN_INLINE void for_positions(int64_t begin, int64_t end, F&& f) const {
    for_rows(begin, end, M, [&](const Position& at, int64_t n) {
      const T *from = data<T>(x) + at.offset(x), *second = data<T>(other) + at.offset(other);
      for (int64_t i = 0; i < n; ++i) f(from + i * x.strides[3], second + i * other.strides[3]);
    });
  }
  FASTATTN_INLINE void store_parts(int64_t b, int64_t c, int n, V first, V second) const {
    alignas(64) A lanes[2][kLanes];
    first.store(lanes[0]);
    second.store(lanes[1]);
    for (int i = 0; i < n; ++i) parts[(c + i) * blocks + b] = {lanes[0][i], lanes[1][i]};
  }

  // f(i, n, chain) for the vectors of a run, which go to two chains in turn.
  template <class F>
  static FASTATTN_INLINE void in_chains(int64_t n, F&& f) {
    int64_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      f(i, kLanes, 0);
      f(i + kLanes, kLanes, 1);
    }
    for (; i < n; i += kLanes) f(i, int(min_of<int64_t>(kLanes, n - i)), 0);
  }

  // The parts of the forward.
  void moments(const fa_launch& launch) const {
    for_blocks(launch, [&](int64_t b, int64_t begin, int64_t end, int64_t tile) {
      const A count = static_cast<A>(end - begin);
      if (channels) {
        for_vectors(tile, [&]<int kVectors>(int64_t c, int n) {
          V mean_of[kVectors], square[kVectors];
          for (int k = 0; k < kVectors; ++k) mean_of[k] = square[k] = V::zero();
          for_positions(begin, end, [&](const T* from, const T*) {
#pragma GCC unroll 4
            for (int k = 0; k < kVectors; ++k) mean_of[k] += load_lanes(from + c + k * kLanes, n);
          });
          for (int k = 0; k < kVectors; ++k) mean_of[k] = mean_of[k] / V::set(count);
          for_positions(begin, end, [&](const T* from, const T*) {
#pragma GCC unroll 4
            for (int k = 0; k < kVectors; ++k) {
              const V d = load_lanes(from + c + k * kLanes, n) - mean_of[k];
              square[k] = fma(d, d, square[k]);
            }
          });
          for (int k = 0; k < kVectors; ++k) store_parts(b, c + k * kLanes, n, mean_of[k], square[k]);
        });
        return;
      }
      alignas(64) T buffer[kElementwiseBuffer];
      V sum[2] = {V::zero(), V::zero()}, square[2] = {V::zero(), V::zero()};
      for_runs(tile, begin, end, [&](const Run& run) {
        const T* from = read(x, run, buffer);
        in_chains(run.n, [&](int64_t i, int m, int k) { sum[k] += load_lanes(from + i, m); });
      });
      const A m = reduce_add(sum[0] + sum[1]) / count;
      const V centre = V::set(m);
      for_runs(tile, begin, end, [&](const Run& run) {
        const T* from = read(x, run, buffer);
        in_chains(run.n, [&](int64_t i, int l, int k) {
          V d = load_lanes(from + i, l) - centre;
          if (l < kLanes) d = select(Mask<A>::first(l), d, V::zero());
          square[k] = fma(d, d, square[k]);
        });
      });
      parts[tile * blocks + b] = {m, reduce_add(square[0] + square[1])};
    });
  }

  // The parts of the backward.
  void products(const fa_launch& launch) const {
    for_blocks(launch, [&](int64_t b, int64_t begin, int64_t end, int64_t tile) {
      if (channels) {
        for_vectors(tile, [&]<int kVectors>(int64_t c, int n) {
          V centre[kVectors], sum[kVectors], product[kVectors];
          for (int k = 0; k < kVectors; ++k) {
            centre[k] = load_lanes(mean + c + k * kLanes, n);
            sum[k] = product[k] = V::zero();
          }
          for_positions(begin, end, [&](const T* from, const T* dout) {
#pragma GCC unroll 4
            for (int k = 0; k < kVectors; ++k) {
              const V g = load_lanes(dout + c + k * kLanes, n);
              sum[k] += g;
              product[k] = fma(g, load_lanes(from + c + k * kLanes, n) - centre[k], product[k]);
            }
          });
          for (int k = 0; k < kVectors; ++k) store_parts(b, c + k * kLanes, n, sum[k], product[k]);
        });
        return;
      }
      alignas(64) T buffer[kElementwiseBuffer], second_buffer[kElementwiseBuffer];
      V sum[2] = {V::zero(), V::zero()}, product[2] = {V::zero(), V::zero()};
      const V centre = V::set(mean[tile]);
      for_runs(tile, begin, end, [&](const Run& run) {
        const T *from = read(x, run, buffer), *dout = read(other, run, second_buffer);
        in_chains(run.n, [&](int64_t i, int l, int k) {
          const V g = load_lanes(dout + i, l);  // 0 in the lanes from l on
          sum[k] += g;
          product[k] = fma(g, load_lanes(from + i, l) - centre, product[k]);
        });
      });
      parts[tile * blocks + b] = {reduce_add(sum[0] + sum[1]), reduce_add(product[0] + product[1])};
    });
  }

  // The parts of channel c joined: each with its neighbour, then the pairs with theirs.
  template <class F>
  FASTATTN_INLINE Pair<A> join(int64_t c, F&& f) const {
    Pair<A>* part = parts + c * blocks;
    if (blocks == 0) return {0, 0};
    for (int64_t step = 1; step < blocks; step *= 2) {
      for (int64_t i = 0; i + step < blocks; i += 2 * step) {
        const int64_t middle = (i + step) * block, end = min_of(M, (i + 2 * step) * block);
        part[i] = f(part[i], part[i + step], static_cast<A>(middle - i * block), static_cast<A>(end - middle));
      }
    }
    return part[0];
  }

  // f(c) for every channel.
  template <class F>
  FASTATTN_INLINE void for_channels(const fa_launch& launch, F&& f) const {
    const int64_t each = max_of<int64_t>(1, 1024 / max_of<int64_t>(1, blocks));
    parallel_for(launch, ceil_div(C, each), [&](int64_t item, int) {
      for (int64_t c = item * each; c < min_of(C, (item + 1) * each); ++c) f(c);
    });
  }

  // to = f(x, other, mean, scale, shift, slope of the channel) for every element; f leaves alone what it does not use.
  template <bool kReadsOther, class F>
  void map(const fa_launch& launch, const fa_tensor& to, F&& f) const {
    for_blocks(launch, [&](int64_t, int64_t begin, int64_t end, int64_t tile) {
      if (channels && to.strides[1] == 1) {
        for_rows(begin, end, M, [&](const Position& at, int64_t rows) {
          const T *from = data<T>(x) + at.offset(x), *second = data<T>(other) + at.offset(other);
          T* out = data<T>(to) + at.offset(to);
          for_vectors(tile, [&]<int kVectors>(int64_t first, int n) {
            for (int64_t i = 0; i < rows; ++i) {
#pragma GCC unroll 4
              for (int k = 0; k < kVectors; ++k) {
                const int64_t c = first + k * kLanes;
                const V g = kReadsOther ? load_lanes(second + i * other.strides[3] + c, n) : V::zero();
                store_lanes(f(load_lanes(from + i * x.strides[3] + c, n), g, load_lanes(mean + c, n),
                              load_lanes(scale + c, n), load_lanes(shift + c, n), load_lanes(slope + c, n)),
                            out + i * to.strides[3] + c, n);
              }
            }
          });
        });
        return;
      }
      const int64_t last = channels ? min_of(C, (tile + 1) * kTile) : tile + 1;
      for (int64_t c = channels ? tile * kTile : tile; c < last; ++c) {
        const V m = V::set(mean[c]), s = V::set(scale[c]), t = V::set(shift[c]), u = V::set(slope[c]);
        alignas(64) T buffer[3][kElementwiseBuffer];
        for_runs(c, begin, end, [&](const Run& run) {
          const T *from = read(x, run, buffer[0]), *g = kReadsOther ? read(other, run, buffer[1]) : nullptr;
          auto value = [&](int64_t i, int l) {
            return f(load_lanes(from + i, l), kReadsOther ? load_lanes(g + i, l) : V::zero(), m, s, t, u);
          };
          if (is_flat(to)) {
            T* out = start(to, run) + run.p;
            map_row<A>(run.n, [&](int64_t i, int l) { store_lanes(value(i, l), out + i, l); });
            return;
          }
          Run part = run;  // to alone may lie in pieces
          for (part.n = 0; part.p < run.p + run.n; part.p += part.n) {
            const int64_t done = part.p - run.p;
            part.n = min_of(run.n - done, kElementwiseBuffer);
            map_row<A>(part.n, [&](int64_t i, int l) { store_lanes(value(done + i, l), buffer[2] + i, l); });
            write(to, part, buffer[2]);
          }
        });
      }
    });
  }
};

template <class A>
FASTATTN_INLINE A number_or(const fa_tensor& t, int64_t c, A value) {
  return t.data == nullptr ? value : load_number<A>(t, c * t.strides[0]);
}
template <class A>
FASTATTN_INLINE void store_channel(const fa_tensor& t, int64_t c, A value) {
  if (t.data != nullptr) store_number<A>(t, c * t.strides[0], value);
}
template <class A>
FASTATTN_INLINE A root(A x) {
  A y;
  sqrt(Vec<A>::set(x)).store(&y, 1);
  return y;
}

}  // namespace

fa_status batch_norm_fwd(const fa_batch_norm_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    using A = compute_t<T>;
    const BatchNorm<T> b(p.x, p.out, p.training != 0, launch.query ? nullptr : launch.workspace);
    const double n = double(num_elements(p.x)), reads = p.training != 0 ? 2 : 1;
    describe<"batch_norm_fwd", T>(
        launch, {.workspace = b.workspace, .flops = (1 + 2 * reads) * n, .bytes = (reads + 1) * sizeof(T) * n});
    if (launch.query) return FA_OK;
    if (p.training != 0) b.moments(launch);
    b.for_channels(launch, [&](int64_t c) {
      A mean, var;
      if (p.training != 0) {
        const Pair<A> all = b.join(c, join_moments<A>);
        const A count = static_cast<A>(max_of<int64_t>(1, b.M)), momentum = static_cast<A>(p.momentum);
        mean = all.first;
        var = all.second / count;
        if (p.running_mean.data != nullptr && b.M > 0) {
          const A unbiased = all.second / static_cast<A>(max_of<int64_t>(1, b.M - 1));
          const A old_mean = number_or<A>(p.running_mean, c, 0), old_var = number_or<A>(p.running_var, c, 0);
          store_channel<A>(p.running_mean, c, (1 - momentum) * old_mean + momentum * mean);
          store_channel<A>(p.running_var, c, (1 - momentum) * old_var + momentum * unbiased);
        }
      } else {
        mean = number_or<A>(p.running_mean, c, 0);
        var = number_or<A>(p.running_var, c, 1);
      }
      const A rstd = 1 / root<A>(var + static_cast<A>(p.eps));
      store_channel<A>(p.mean, c, mean);
      store_channel<A>(p.rstd, c, rstd);
      b.mean[c] = mean;
      b.scale[c] = rstd * number_or<A>(p.weight, c, 1);
      b.shift[c] = number_or<A>(p.bias, c, 0);
      b.slope[c] = 0;
    });
    using V = Vec<A>;
    b.template map<false>(launch, p.out,
                          [](V x, V, V mean, V scale, V shift, V) { return fma(x - mean, scale, shift); });
    return FA_OK;
  });
}

// With h = (x - mean) rstd:   dbias = sum dout,   dweight = sum dout h,
//   dx = weight rstd (dout - dbias / M - h dweight / M)   training,   dx = weight rstd dout   not.
fa_status batch_norm_bwd(const fa_batch_norm_bwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    using A = compute_t<T>;
    const bool training = p.training != 0;
    const bool sums = training || p.dweight.data != nullptr || p.dbias.data != nullptr;
    const BatchNorm<T> b(p.x, p.dout, sums, launch.query ? nullptr : launch.workspace);
    const double n = double(num_elements(p.x)), reads = (sums ? 2 : 0) + (p.dx.data == nullptr ? 0 : training ? 3 : 2);
    describe<"batch_norm_bwd", T>(
        launch, {.workspace = b.workspace, .flops = (sums ? 9 : 1) * n, .bytes = reads * sizeof(T) * n});
    if (launch.query) return FA_OK;
    for (int64_t c = 0; c < b.C; ++c) b.mean[c] = number_or<A>(p.mean, c, 0);
    if (sums) b.products(launch);
    b.for_channels(launch, [&](int64_t c) {
      const A rstd = number_or<A>(p.rstd, c, 1), weight = number_or<A>(p.weight, c, 1);
      Pair<A> all = {0, 0};
      if (sums) {
        all = b.join(c, [](Pair<A> l, Pair<A> r, A, A) { return Pair<A>{l.first + r.first, l.second + r.second}; });
      }
      const A dweight = all.second * rstd, count = static_cast<A>(max_of<int64_t>(1, b.M));
      store_channel<A>(p.dweight, c, dweight);
      store_channel<A>(p.dbias, c, all.first);
      b.scale[c] = weight * rstd;
      b.shift[c] = all.first / count;
      b.slope[c] = dweight * rstd / count;
    });
    if (p.dx.data == nullptr) return FA_OK;
    using V = Vec<A>;
    if (training) {
      b.template map<true>(launch, p.dx, [](V x, V dout, V mean, V scale, V shift, V slope) {
        return fnma(x - mean, slope, dout - shift) * scale;
      });
    } else {
      b.template map<true>(launch, p.dx, [](V, V dout, V, V scale, V, V) { return dout * scale; });
    }
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
