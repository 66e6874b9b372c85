// conv whose groups are single channels: every output channel sees one input channel, and a product of matrices would
// have one column.
//
//   forward, gradient of x
//     dst[n, c, p, q] = bias[c] + sum over taps (i, j) of weight[c, i, j] src[n, c, h(p, i), w(q, j)]
//   gradient of the weight
//     dweight[c, i, j] = sum over (n, p, q) of x[n, c, h(p, i), w(q, j)] dout[n, c, p, q]
//
// Channels last: vectors lie along C, weights are packed by tap, four pixels share what is loaded of them; taps outside
// of the image are left out. Else an item is a plane (of the weight's gradient a channel): some of its rows are copied
// to scratch with their zeros, columns of one remainder modulo the stride next to each other, so that vectors lie along
// a row of outputs whatever stride and dilation are.
//
// Traffic: src and dst once. With 3 x 3 taps the loads of one FMA, about one and a half, are what a core has time for:
// near the memory's limit for what is not in the cache.
//
// Bits: an output is one FMA chain over its taps from 0, then the bias. Of the weight's gradient, channels last: a
// chain per row of outputs, rows of a part and parts in order; else lanes of a plane, their fixed tree, and planes in
// order.
#pragma once

#include "conv_plan.h"
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {

template <class S>
struct Depthwise {
  Images<const S> src;
  Images<S> dst;
  int64_t batch, channels, P, Q;
  TapAxis h, w;
  const S* weight;
  int64_t weight_c, weight_h, weight_w;
  const S* bias;
  int64_t bias_c;

  int64_t taps() const { return h.count * w.count; }
  bool by_channels() const { return src.c == 1 && dst.c == 1 && channels > 1; }
  FASTATTN_INLINE compute_t<S> weight_of(int64_t c, int64_t tap) const {
    const int64_t i = tap / w.count, j = tap % w.count;
    return widen(
        weight[c * weight_c + (h.index + i * h.index_step) * weight_h + (w.index + j * w.index_step) * weight_w]);
  }
};

// Some rows of a plane in scratch, for the outputs of a band of rows.
template <class T>
struct PlaneRows {
  static constexpr int64_t kElements = 4096;  // of a band, about: the first cache holds it
  const TapAxis &h, &w;
  int64_t P, Q;
  int64_t phase, pitch, band;  // columns of one remainder, of a row of scratch; rows of outputs

  FASTATTN_INLINE PlaneRows(const TapAxis& h_, const TapAxis& w_, int64_t p, int64_t q)
      : h(h_),
        w(w_),
        P(p),
        Q(q),
        phase(round_up(q, Vec<T>::kLanes) + w.reach() / w.stride + 1),
        pitch(phase * w.stride),
        band(max_of(int64_t{1}, min_of(p, kElements / max_of(int64_t{1}, pitch * h.stride)))) {}
  int64_t elements() const { return h.window(band) * pitch; }
  FASTATTN_INLINE int64_t tap(int64_t i, int64_t j) const {
    const int64_t at = j * w.offset_step;
    return i * h.offset_step * pitch + at % w.stride * phase + at / w.stride;
  }

  template <class S>
  __attribute__((noinline)) void copy(const Images<const S>& x, const S* plane, int64_t p, int64_t rows, T* to) const {
    const int64_t top = p * h.stride + h.offset, count = h.window(rows), cols = w.window(Q);
    const int64_t begin = min_of(max_of(-w.offset, int64_t{0}), cols);
    const int64_t end = max_of(begin, min_of(cols, x.width - w.offset));
    fill_zero(to, count * pitch);
    for (int64_t r = 0; r < count; ++r, to += pitch) {
      if (top + r < 0 || top + r >= x.height) continue;
      const S* const from = plane + (top + r) * x.h + w.offset * x.w;
      if (w.stride == 1 && x.w == 1) {
        __builtin_prefetch(from + begin + 512);  // loads of short rows are masked, which no prefetcher follows
        map_row<T>(end - begin,
                   [&](int64_t i, int n) { store_lanes(load_lanes(from + begin + i, n), to + begin + i, n); });
        continue;
      }
      for (int64_t k = 0; k < w.stride; ++k) {
        for (int64_t u = begin + (k + w.stride - begin % w.stride) % w.stride; u < end; u += w.stride) {
          to[k * phase + u / w.stride] = widen(from[u * x.w]);
        }
      }
    }
  }
};

template <class S>
struct DepthwisePlan {
  using T = compute_t<S>;
  int64_t padded;               // channels, in whole vectors
  int64_t packed, scratch = 0;  // elements: of all threads, of each
  bool channels;

  explicit DepthwisePlan(const Depthwise<S>& p)
      : padded(round_up(p.channels, Vec<T>::kLanes)), channels(p.by_channels()) {
    packed = channels ? (p.taps() + 1) * padded : 0;
    if (!channels) scratch = round_up(p.taps() + PlaneRows<T>(p.h, p.w, p.P, p.Q).elements(), 16);
  }
  struct Pieces {
    T *packed, *scratch;
    int64_t* offsets;
  };
  Pieces carve(Carver& c, const Depthwise<S>& p, int threads) const {
    Pieces r;
    r.packed = c.take<T>(packed);
    r.scratch = c.take<T>(threads * scratch);
    r.offsets = c.take<int64_t>(channels ? 0 : p.taps());
    return r;
  }
  size_t bytes(const Depthwise<S>& p, int threads) const {
    Carver c{nullptr};
    carve(c, p, threads);
    return c.bytes;
  }
};

// The taps of an axis that are inside for the output at position p: [first, last).
struct TapRange {
  int64_t first, last;
  FASTATTN_INLINE TapRange(const TapAxis& axis, int64_t p, int64_t size) {
    const int64_t at = p * axis.stride + axis.offset;
    first = at >= 0 ? 0 : min_of(axis.count, ceil_div(-at, axis.offset_step));
    const bool whole = at + axis.reach() < size;  // of most positions, without a division
    last = whole ? axis.count : at >= size ? 0 : ceil_div(size - at, axis.offset_step);
  }
};

// kQ outputs of a row from q on, whose taps are those of the ranges.
template <class S, int kQ>
FASTATTN_INLINE void depthwise_pixels(const Depthwise<S>& p, int64_t padded, const compute_t<S>* packed, const S* row,
                                      S* out, int64_t q, const TapRange& in_h, const TapRange& in_w) {
  using V = Vec<compute_t<S>>;
  const int64_t step_h = p.h.offset_step * p.src.h, step_w = p.w.offset_step * p.src.w, next = p.w.stride * p.src.w;
  const S* const from = row + (q * p.w.stride + p.w.offset) * p.src.w;
  S* const to = out + q * p.dst.w;
  map_row<compute_t<S>>(p.channels, [&](int64_t c, int n) {
    V acc[kQ];
    for (int t = 0; t < kQ; ++t) acc[t] = V::zero();
    for (int64_t i = in_h.first; i < in_h.last; ++i) {
      for (int64_t j = in_w.first; j < in_w.last; ++j) {
        const V weight = V::load(packed + (i * p.w.count + j) * padded + c);
        const S* const x = from + i * step_h + j * step_w + c;
        for (int t = 0; t < kQ; ++t) fma_into(acc[t], load_lanes(x + t * next, n), weight);
      }
    }
    const V bias = V::load(packed + p.taps() * padded + c);
    for (int t = 0; t < kQ; ++t) store_lanes(p.bias == nullptr ? acc[t] : bias + acc[t], to + t * p.dst.w + c, n);
  });
}

template <class S>
FASTATTN_INLINE void depthwise_by_channels(const Depthwise<S>& p, const DepthwisePlan<S>& plan, compute_t<S>* packed,
                                           const fa_launch& launch) {
  using T = compute_t<S>;
  parallel_for(launch, p.taps() + 1, [&](int64_t tap, int) {
    for (int64_t c = 0; c < plan.padded; ++c) {
      T value = T(0);
      if (c < p.channels && tap < p.taps()) value = p.weight_of(c, tap);
      if (c < p.channels && tap == p.taps() && p.bias != nullptr) value = widen(p.bias[c * p.bias_c]);
      packed[tap * plan.padded + c] = value;
    }
  });
  constexpr int64_t kItem = 16384, kQ = 4;  // elements of an item, about
  const int64_t rows = p.batch * p.P, per_item = max_of(int64_t{1}, kItem / (p.Q * p.channels));
  parallel_for(launch, ceil_div(rows, per_item), [&](int64_t item, int) {
    for (int64_t r = item * per_item; r < min_of(rows, (item + 1) * per_item); ++r) {
      const int64_t n = r / p.P, at = r % p.P;
      const S* const row = p.src.data + n * p.src.n + (at * p.h.stride + p.h.offset) * p.src.h;
      S* const out = p.dst.data + n * p.dst.n + at * p.dst.h;
      const TapRange in_h(p.h, at, p.src.height);
      for (int64_t q = 0; q < p.Q;) {
        const TapRange first(p.w, q, p.src.width), last(p.w, min_of(p.Q, q + kQ) - 1, p.src.width);
        const bool whole = first.first == 0 && last.last == p.w.count;
        if (whole && q + kQ <= p.Q) {
          depthwise_pixels<S, kQ>(p, plan.padded, packed, row, out, q, in_h, first);
          q += kQ;
        } else {
          depthwise_pixels<S, 1>(p, plan.padded, packed, row, out, q, in_h, first);
          ++q;
        }
      }
    }
  });
}

template <class S>
FASTATTN_INLINE void depthwise_by_planes(const Depthwise<S>& p, const DepthwisePlan<S>& plan,
                                         const typename DepthwisePlan<S>::Pieces& w, const fa_launch& launch) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int kLanes = V::kLanes, kV = 4;
  const PlaneRows<T> rows(p.h, p.w, p.P, p.Q);
  const int64_t taps = p.taps();
  for (int64_t t = 0; t < taps; ++t) w.offsets[t] = rows.tap(t / p.w.count, t % p.w.count);
  parallel_for(launch, p.batch * p.channels, [&](int64_t item, int worker) {
    const int64_t n = item / p.channels, c = item % p.channels;
    T* const weights = w.scratch + worker * plan.scratch;
    T* const window = weights + taps;
    for (int64_t t = 0; t < taps; ++t) weights[t] = p.weight_of(c, t);
    const V bias = V::set(p.bias == nullptr ? T(0) : widen(p.bias[c * p.bias_c]));
    for (int64_t first = 0; first < p.P; first += rows.band) {
      const int64_t count = min_of(rows.band, p.P - first);
      rows.copy(p.src, p.src.data + n * p.src.n + c * p.src.c, first, count, window);
      for (int64_t r = 0; r < count; ++r) {
        const T* const from = window + r * p.h.stride * rows.pitch;
        S* const to = p.dst.data + n * p.dst.n + c * p.dst.c + (first + r) * p.dst.h;
        auto outputs = [&]<int kVecs>(int64_t q) __attribute__((always_inline)) {
          V acc[kVecs];
          for (int v = 0; v < kVecs; ++v) acc[v] = V::zero();
          for (int64_t t = 0; t < taps; ++t) {
            const V weight = V::set(weights[t]);
            const T* const x = from + w.offsets[t] + q;
            for (int v = 0; v < kVecs; ++v) fma_into(acc[v], V::load(x + v * kLanes), weight);
          }
          for (int v = 0; v < kVecs; ++v) {
            const V value = p.bias == nullptr ? acc[v] : bias + acc[v];
            const int64_t at = q + v * kLanes;
            const int lanes = int(min_of<int64_t>(kLanes, p.Q - at));
            if (p.dst.w == 1) {
              store_lanes(value, to + at, lanes);
              continue;
            }
            alignas(64) S values[kLanes];
            value.store(values);
            for (int i = 0; i < lanes; ++i) to[(at + i) * p.dst.w] = values[i];
          }
        };
        int64_t q = 0;
        for (; q + kV * kLanes <= p.Q; q += kV * kLanes) outputs.template operator()<kV>(q);
        for (; q < p.Q; q += kLanes) outputs.template operator()<1>(q);
      }
    }
  });
}

template <class S>
__attribute__((noinline)) void run_depthwise(const Depthwise<S>& p, const fa_launch& launch) {
  const DepthwisePlan<S> plan(p);
  Carver carver{static_cast<char*>(launch.workspace)};
  const auto w = plan.carve(carver, p, launch.num_threads);
  if (plan.channels) {
    depthwise_by_channels(p, plan, w.packed, launch);
  } else {
    depthwise_by_planes(p, plan, w, launch);
  }
}

// The gradient of the weight -----------------------------------------------------------------------------------------

template <class S>
struct DepthwiseWeight {
  Images<const S> x, dout;
  int64_t batch, channels, P, Q;
  TapAxis h, w;
  S *dweight, *dbias;
  int64_t weight_c, weight_h, weight_w, bias_c;

  using T = compute_t<S>;
  static constexpr int64_t kParts = 16;
  int64_t taps() const { return h.count * w.count; }
  bool by_channels() const { return x.c == 1 && dout.c == 1 && channels > 1; }
  int64_t padded() const { return round_up(channels, Vec<T>::kLanes); }
  int64_t parts() const { return min_of(kParts, batch * P); }
  int64_t scratch() const {  // of a thread
    return round_up(PlaneRows<T>(h, w, P, Q).elements() + taps() + 1, 16);
  }
  size_t bytes(int threads) const {
    return sizeof(T) * static_cast<size_t>(by_channels() ? parts() * (taps() + 1) * padded() : threads * scratch());
  }
  FASTATTN_INLINE void store(int64_t c, int64_t tap, T value) const {
    if (tap < taps()) {
      dweight[c * weight_c + tap / w.count * weight_h + tap % w.count * weight_w] = narrow<S>(value);
    } else if (dbias != nullptr) {
      dbias[c * bias_c] = narrow<S>(value);
    }
  }
};

// f<k>(j): taps [j, j + k) of a row, at most four at a time.
template <class F>
FASTATTN_INLINE void tap_groups(int64_t count, F&& f) {
  for (int64_t j = 0; j < count; j += 4) {
    switch (min_of<int64_t>(4, count - j)) {
      case 1: f.template operator()<1>(j); break;
      case 2: f.template operator()<2>(j); break;
      case 3: f.template operator()<3>(j); break;
      default: f.template operator()<4>(j);
    }
  }
}

// A row of outputs: what it gives to the sums [tap][channel], the last of them the bias's.
template <class S>
FASTATTN_INLINE void add_weight_row(const DepthwiseWeight<S>& p, int64_t n, int64_t at, compute_t<S>* sums) {
  using T = compute_t<S>;
  using V = Vec<T>;
  const int64_t padded = p.padded(), step = p.w.offset_step * p.x.w, next = p.w.stride * p.x.w;
  const S* const dout = p.dout.data + n * p.dout.n + at * p.dout.h;
  const TapRange in_h(p.h, at, p.x.height);
  map_row<T>(p.channels, [&](int64_t c, int lanes) {
    for (int64_t i = in_h.first; i < in_h.last; ++i) {
      const S* const row =
          p.x.data + n * p.x.n + (at * p.h.stride + p.h.offset + i * p.h.offset_step) * p.x.h + p.w.offset * p.x.w + c;
      tap_groups(
          p.w.count, [&]<int kJ>(int64_t first) __attribute__((always_inline)) {
            V acc[kJ];
            for (int j = 0; j < kJ; ++j) acc[j] = V::zero();
            for (int64_t q = 0; q < p.Q; ++q) {
              const V g = load_lanes(dout + q * p.dout.w + c, lanes);
              const S* const x = row + q * next + first * step;
              const int64_t w = q * p.w.stride + p.w.offset + first * p.w.offset_step;
              if (w >= 0 && w + (kJ - 1) * p.w.offset_step < p.x.width) {
                for (int j = 0; j < kJ; ++j) fma_into(acc[j], load_lanes(x + j * step, lanes), g);
                continue;
              }
              for (int j = 0; j < kJ; ++j) {
                const int64_t col = w + j * p.w.offset_step;
                if (col >= 0 && col < p.x.width) fma_into(acc[j], load_lanes(x + j * step, lanes), g);
              }
            }
            for (int j = 0; j < kJ; ++j) {
              T* const to = sums + (i * p.w.count + first + j) * padded + c;
              (V::load(to) + acc[j]).store(to);
            }
          });
    }
    if (p.dbias == nullptr) return;
    V sum = V::zero();
    for (int64_t q = 0; q < p.Q; ++q) sum += load_lanes(dout + q * p.dout.w + c, lanes);
    T* const to = sums + p.taps() * padded + c;
    (V::load(to) + sum).store(to);
  });
}

template <class S>
FASTATTN_INLINE void depthwise_weight_by_channels(const DepthwiseWeight<S>& p, const fa_launch& launch) {
  using T = compute_t<S>;
  T* const sums = static_cast<T*>(launch.workspace);
  const int64_t padded = p.padded(), size = (p.taps() + 1) * padded;
  const EvenSplit parts(p.batch * p.P, p.parts());
  parallel_for(launch, p.parts(), [&](int64_t part, int) {
    fill_zero(sums + part * size, size);
    for (int64_t r = parts.begin(part); r < parts.begin(part + 1); ++r) {
      add_weight_row(p, r / p.P, r % p.P, sums + part * size);
    }
  });
  parallel_for(launch, p.taps() + 1, [&](int64_t tap, int) {
    for (int64_t c = 0; c < p.channels; ++c) {
      T sum = sums[tap * padded + c];
      for (int64_t part = 1; part < p.parts(); ++part) sum += sums[part * size + tap * padded + c];
      p.store(c, tap, sum);
    }
  });
}

template <class S>
FASTATTN_INLINE void depthwise_weight_by_planes(const DepthwiseWeight<S>& p, const fa_launch& launch) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int kLanes = V::kLanes;
  const PlaneRows<T> rows(p.h, p.w, p.P, p.Q);
  parallel_for(launch, p.channels, [&](int64_t c, int worker) {
    T* const window = static_cast<T*>(launch.workspace) + worker * p.scratch();
    T* const sums = window + rows.elements();
    for (int64_t t = 0; t <= p.taps(); ++t) sums[t] = T(0);
    for (int64_t n = 0; n < p.batch; ++n) {
      for (int64_t first = 0; first < p.P; first += rows.band) {
        const int64_t count = min_of(rows.band, p.P - first);
        rows.copy(p.x, p.x.data + n * p.x.n + c * p.x.c, first, count, window);
        const S* const dout = p.dout.data + n * p.dout.n + c * p.dout.c + first * p.dout.h;
        auto gradient = [&](int64_t r, int64_t q, int lanes) __attribute__((always_inline)) {
          const S* const from = dout + r * p.dout.h + q * p.dout.w;
          if (p.dout.w == 1) return load_lanes(from, lanes);
          alignas(64) T values[kLanes] = {};
          for (int i = 0; i < lanes; ++i) values[i] = widen(from[i * p.dout.w]);
          return V::load(values);
        };
        for (int64_t i = 0; i < p.h.count; ++i) {
          tap_groups(
              p.w.count, [&]<int kJ>(int64_t j0) __attribute__((always_inline)) {
                V acc[kJ];
                int64_t at[kJ];
                for (int j = 0; j < kJ; ++j) {
                  acc[j] = V::zero();
                  at[j] = rows.tap(i, j0 + j);
                }
                for (int64_t r = 0; r < count; ++r) {
                  const T* const x = window + r * p.h.stride * rows.pitch;
                  map_row<T>(p.Q, [&](int64_t q, int lanes) {
                    const V g = gradient(r, q, lanes);
                    for (int j = 0; j < kJ; ++j) fma_into(acc[j], V::load(x + at[j] + q), g);
                  });
                }
                for (int j = 0; j < kJ; ++j) sums[i * p.w.count + j0 + j] += reduce_add(acc[j]);
              });
        }
        if (p.dbias == nullptr) continue;
        V sum = V::zero();
        for (int64_t r = 0; r < count; ++r) {
          map_row<T>(p.Q, [&](int64_t q, int lanes) { sum += gradient(r, q, lanes); });
        }
        sums[p.taps()] += reduce_add(sum);
      }
    }
    for (int64_t t = 0; t <= p.taps(); ++t) p.store(c, t, sums[t]);
  });
}

template <class S>
__attribute__((noinline)) void run_depthwise_weight(const DepthwiseWeight<S>& p, const fa_launch& launch) {
  if (p.by_channels()) {
    depthwise_weight_by_channels(p, launch);
  } else {
    depthwise_weight_by_planes(p, launch);
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
