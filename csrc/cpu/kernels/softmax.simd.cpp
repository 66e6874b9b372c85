// softmax and log_softmax over one axis, forward and backward, and logsumexp.
//
//   s = scale * x + mask,  m = max(s),  l = sum(exp(s - m))
//   out = exp(s - m) / l   or   out = s - (m + log(l))   or   out = m + log(l)
//
// A row is one position of every other axis; it has C elements and is computed by one thread. How a row is read depends
// on the strides:
//   along    the axis is contiguous: vectors along the row, three passes over a row that stays in cache
//   across   another axis is contiguous: vectors across neighbouring rows, so a lane owns a row and nothing is
//            transposed or copied; a tile of rows goes through the same three passes
//   gathered neither is: a row is gathered into a buffer of C elements, and goes along
//
// Traffic: x read once and out written once from DRAM while 2 C elements fit in L2; while a row is exponentiated (the
// pass that computes) the next one is prefetched (what the first pass would wait for). Where out is large it goes past
// the caches, a row behind (row_behind.h): exponentials wait in buffers. Nothing to keep: m = -inf is replaced
// by 0, so that l = 0 and no inf - inf occurs; a NaN still reaches l.
//
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 2, for the safe form.
#include "cpu/simd/math.h"
#include "elementwise.h"
#include "softmax_along.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kItemElements = 16384;
constexpr int kTile = 16;  // vectors of rows that go across together: 1 KB of the contiguous axis
// Rows across that are longer than this do not stay in cache between passes (a power of two for a stride leaves only a
// few sets of it): the maximum and the sum are found in one pass and exp is evaluated twice.
constexpr int64_t kCachedAxis = 256;
// Elements; the exponentials of a longer row wait in out, which is not streamed then.
constexpr int64_t kBufferedRow = 65536;
// The exponentials of a row up to this wait in a buffer in L1, in whole vectors: a part of one, stored to out, is read
// back late.
constexpr int64_t kShortRow = 1024;
constexpr int64_t kStreamedRows = 16;  // of an item at least: its first and last have nothing to go out or in meanwhile
constexpr int64_t kOnlineStep = 8;     // elements of each row between two looks at the maximum

// --- across --------------------------------------------------------------------------------------------------------

// n neighbouring rows; element c of row j is at x[c * x_stride + j].
template <class T, MaskKind kMask>
FASTATTN_INLINE void tile_across(Logits<T, kMask> s, T* out, int64_t C, int64_t x_stride, int64_t mask_stride,
                                 int64_t out_stride, int n, fa_softmax_form form) {
  using A = compute_t<T>;
  using V = Vec<A>;
  constexpr int kLanes = V::kLanes;
  const T* x = s.x;
  const char* mask = static_cast<const char*>(s.mask);
  mask_stride *= kMask == MaskKind::kAdd ? sizeof(T) : 1;
  auto line = [&](int64_t c) {
    s.x = x + c * x_stride;
    if constexpr (kMask != MaskKind::kNone) s.mask = mask + c * mask_stride;
  };
  // Row statistics; lanes past n are never stored to out.
  alignas(64) A stat[kTile * kLanes];  // the maximum; at the end the log of the normaliser, in the log form
  alignas(64) A sum[kTile * kLanes];   // the normaliser; at the end its inverse
  const V hidden = V::set(-kInf<A>);
  auto lanes = [&](int j) { return min_of(kLanes, n - j); };
  auto logits = [&](int j) { return n - j >= kLanes ? s.load(j) : s.load(j, n - j); };

  // Exponentials wait in out for the sum; 16 bits are too few for that.
  const bool cached = C <= kCachedAxis && !kIsHalf<T>;
  const int64_t step = cached ? C : kOnlineStep;
  for (int j = 0; j < n; j += kLanes) {
    V::set(-kInf<A>).store(stat + j);
    V::zero().store(sum + j);
  }
  for (int64_t begin = 0; begin < C; begin += step) {
    const int64_t end = min_of(C, begin + step);
    for (int j = 0; j < n; j += kLanes) {
      const V before = V::load(stat + j);
      V m = before;
      for (int64_t c = begin; c < end; ++c) {
        line(c);
        m = max(m, logits(j));
      }
      // A maximum of -inf has a sum of 0 (or NaN), whatever it is scaled by.
      const V shift = shift_of(m, form);
      V rescaled = V::load(sum + j) * exp(select(before == hidden, V::zero(), before - shift));
      V part = V::zero();
      for (int64_t c = begin; c < end; ++c) {
        line(c);
        __builtin_prefetch(x + (c + step) * x_stride + j, 0, 2);
        V e = exp(logits(j) - shift);
        part += e;
        if (cached && form == FA_SOFTMAX) e.store(out + c * out_stride + j, lanes(j));
      }
      (rescaled + part).store(sum + j);
      m.store(stat + j);
    }
  }
  for (int j = 0; j < n; j += kLanes) {
    V l = V::load(sum + j);
    // inf as the log of an empty row's normaliser: s - inf = -inf for its s of -inf.
    const V m = shift_of(V::load(stat + j), form);
    if (form == FA_LOGSUMEXP) {
      select(l == V::zero(), hidden, m + log(l)).store(out + j, lanes(j));
      continue;
    }
    (form == FA_LOG_SOFTMAX ? select(l == V::zero(), V::set(kInf<A>), m + log(l)) : m).store(stat + j);
    select(l == V::zero(), V::zero(), V::set(1) / l).store(sum + j);
  }
  if (form == FA_LOGSUMEXP) return;
  for (int64_t c = 0; c < C; ++c) {
    line(c);
    T* to = out + c * out_stride;
    for (int j = 0; j < n; j += kLanes) {
      if (!cached) __builtin_prefetch(x + (c + kOnlineStep) * x_stride + j, 0, 2);
      V y;
      if (form == FA_LOG_SOFTMAX) {
        y = logits(j) - V::load(stat + j);
      } else if (cached) {
        y = V::load(to + j, lanes(j)) * V::load(sum + j);
      } else {
        y = exp_negative(logits(j) - V::load(stat + j)) * V::load(sum + j);
      }
      y.store(to + j, lanes(j));
    }
  }
}

template <class T>
FASTATTN_INLINE void tile_across_bwd(const T* out, const T* dout, T* dx, int64_t C, int64_t out_stride,
                                     int64_t dout_stride, int64_t dx_stride, int n, compute_t<T> scale, bool log_form) {
  using A = compute_t<T>;
  using V = Vec<A>;
  constexpr int kLanes = V::kLanes;
  alignas(64) A sum[kTile * kLanes];
  for (int j = 0; j < n; j += kLanes) V::zero().store(sum + j);
  for (int64_t c = 0; c < C; ++c) {
    for (int j = 0; j < n; j += kLanes) {
      const int m = min_of(kLanes, n - j);
      V g = V::load(dout + c * dout_stride + j, m);
      if (!log_form) g = g * V::load(out + c * out_stride + j, m);
      (V::load(sum + j) + g).store(sum + j);
    }
  }
  const V factor = V::set(scale);
  for (int64_t c = 0; c < C; ++c) {
    for (int j = 0; j < n; j += kLanes) {
      const int m = min_of(kLanes, n - j);
      V y = V::load(out + c * out_stride + j, m), g = V::load(dout + c * dout_stride + j, m), t = V::load(sum + j);
      V d = log_form ? select(y == V::set(-kInf<A>), V::zero(), factor * fnma(exp_negative(y), t, g))
                     : factor * y * (g - t);
      d.store(dx + c * dx_stride + j, m);
    }
  }
}

// --- how a call is laid out ------------------------------------------------------------------------------------------

enum class Route { kAlong, kAcross, kGathered };

FASTATTN_INLINE fa_tensor without_axis(const fa_tensor& t, int axis) {
  fa_tensor r = t;
  --r.ndim;
  for (int i = axis; i < r.ndim; ++i) {
    r.shape[i] = t.shape[i + 1];
    r.strides[i] = t.strides[i + 1];
  }
  return r;
}

// How the rows of three views of one shape, the last one written, are walked.
struct Plan {
  int64_t C, num_rows;
  int64_t axis_stride[3];
  StridedShape<3> rows;
  Route route;
  int tile;          // across: rows of a tile
  int64_t units;     // rows, or tiles
  int64_t per_item;  // units of an item
  int64_t num_items;

  // may_broadcast: the view (the mask) that may also have a stride of 0 where the others are contiguous, or -1.
  FASTATTN_INLINE Plan(const fa_tensor& a, const fa_tensor& b, const fa_tensor& written, int axis, int may_broadcast,
                       int lanes)
      : Plan(a, b, written, axis, may_broadcast, lanes, without_axis(a, axis), without_axis(b, axis),
             without_axis(written, axis)) {}

 private:
  FASTATTN_INLINE Plan(const fa_tensor& a, const fa_tensor& b, const fa_tensor& written, int axis, int may_broadcast,
                       int lanes, const fa_tensor& ra, const fa_tensor& rb, const fa_tensor& rw)
      : C(written.shape[axis]),
        axis_stride{a.strides[axis], b.strides[axis], written.strides[axis]},
        rows({&ra, &rb, &rw}, AxisOrder::kAny) {
    num_rows = rows.size;
    auto contiguous = [&](auto stride_of) {
      for (int v = 0; v < 3; ++v) {
        const int64_t stride = stride_of(v);
        if (stride != 1 && !(stride == 0 && v == may_broadcast)) return false;
      }
      return true;
    };
    const int64_t inner = rows.shape[rows.ndim - 1];
    tile = kTile * lanes;
    if (contiguous([&](int v) { return axis_stride[v]; })) {
      route = Route::kAlong;
    } else if (inner >= 4 && contiguous([&](int v) { return rows.strides[v][rows.ndim - 1]; })) {
      route = Route::kAcross;
    } else {
      route = Route::kGathered;
    }
    const bool across = route == Route::kAcross && num_rows > 0;
    units = across ? num_rows / inner * ceil_div(inner, tile) : num_rows;
    per_item = max_of<int64_t>(1, kItemElements / max_of<int64_t>(1, across ? C * min_of<int64_t>(tile, inner) : C));
    num_items = C == 0 ? 0 : ceil_div(units, per_item);
  }

 public:
  // Items of at least so many units, where that leaves some for every thread.
  void group(int64_t least) {
    per_item = max_of(per_item, min_of(least, ceil_div(units, int64_t{4} * num_threads())));
    num_items = ceil_div(units, per_item);
  }
};

// Calls row(cursor, next) with the offsets of each row of an item in order, and those of the row after it.
template <class F>
FASTATTN_INLINE void for_each_row(const Plan& plan, int64_t item, F&& row) {
  const int64_t first = item * plan.per_item, end = min_of(first + plan.per_item, plan.num_rows);
  StridedCursor<3> cursor(plan.rows, first);
  for (int64_t r = first; r < end; ++r) {
    const int64_t here[3] = {cursor.offset[0], cursor.offset[1], cursor.offset[2]};
    if (r + 1 < plan.num_rows) cursor.advance(1);
    row(here, cursor.offset);
  }
}
// Calls f(offsets, n) with the first row's offsets and the number of rows of each tile of an item.
template <class F>
FASTATTN_INLINE void for_each_tile(const Plan& plan, int64_t item, F&& f) {
  const int64_t first = item * plan.per_item, end = min_of(first + plan.per_item, plan.units);
  const int64_t inner = plan.rows.shape[plan.rows.ndim - 1], tiles = ceil_div(inner, int64_t(plan.tile));
  for (int64_t unit = first; unit < end; ++unit) {
    const int64_t column = unit % tiles * plan.tile;
    const StridedCursor<3> cursor(plan.rows, unit / tiles * inner + column);
    f(cursor.offset, int(min_of<int64_t>(plan.tile, inner - column)));
  }
}

// Whether the rows of a call go past the caches.
template <class T>
FASTATTN_INLINE bool streams_forward(const fa_softmax_fwd_params& p, const Plan& plan) {
  return plan.route == Route::kAlong && p.form != FA_LOGSUMEXP && plan.C <= kBufferedRow &&
         streams_rows<T>(p.x, p.out, p.axis);
}

// A buffer of a row in whole vectors. Of two, streamed, the one is read where the other is written: half a page apart
// in their pages, since a load that follows a store to the same place in another page waits for it.
template <class T>
FASTATTN_INLINE int64_t buffer_elements(int64_t C, bool stream) {
  constexpr int64_t kPage = 4096 / sizeof(T);
  return stream ? round_up(C, kPage) + kPage / 2 : round_up(C, 64 / sizeof(T));
}
// How many a worker has that streams rows.
constexpr int64_t kTwoRows = 8192;  // elements
FASTATTN_INLINE int64_t streamed_buffers(int64_t C) { return C <= kTwoRows ? 2 : 1; }

template <class T, MaskKind kMask>
void forward(const fa_softmax_fwd_params& p, const fa_launch& launch, Plan plan) {
  using A = compute_t<T>;
  const T* x = data<T>(p.x);
  T* out = data<T>(p.out);
  const char* mask = data<char>(p.mask);
  constexpr int64_t kMaskSize = kMask == MaskKind::kAdd ? sizeof(T) : 1;
  const Vec<A> scale = Vec<A>::set(static_cast<A>(p.scale));
  const auto form = static_cast<fa_softmax_form>(p.form);
  const int64_t C = plan.C;
  const bool stream = streams_forward<T>(p, plan);
  if (stream) plan.group(kStreamedRows);
  parallel_for(launch, plan.num_items, [&](int64_t item, int worker) {
    A* buffer =
        static_cast<A*>(launch.workspace) + worker * (stream ? streamed_buffers(C) : 1) * buffer_elements<A>(C, stream);
    alignas(64) A short_row[kShortRow];
    if (stream) {
      StreamedRows<T, kMask> rows(C, buffer, buffer + (streamed_buffers(C) - 1) * buffer_elements<A>(C, true), form);
      for_each_row(plan, item, [&](const int64_t* at, const int64_t* next) {
        rows.add({x + at[0], mask + at[1] * kMaskSize, plan.axis_stride[1] != 0, scale}, out + at[2], x + next[0]);
      });
      rows.finish();
      stream_fence();
    } else if (plan.route == Route::kAlong) {
      for_each_row(plan, item, [&](const int64_t* at, const int64_t* next) {
        const Logits<T, kMask> s{x + at[0], mask + at[1] * kMaskSize, plan.axis_stride[1] != 0, scale};
        const bool is_short = C <= kShortRow, buffered = is_short || kIsHalf<T>;
        A* exps = is_short ? short_row : buffer;
        if constexpr (!kIsHalf<T>) {
          if (!buffered) exps = out + at[2];
        }
        row_along(s, out + at[2], exps, buffered, x + next[0], C, form);
      });
    } else if (plan.route == Route::kAcross) {
      const bool steps = plan.rows.strides[1][plan.rows.ndim - 1] != 0;
      for_each_tile(plan, item, [&](const int64_t* at, int n) {
        const Logits<T, kMask> s{x + at[0], mask + at[1] * kMaskSize, steps, scale};
        tile_across(s, out + at[2], C, plan.axis_stride[0], plan.axis_stride[1], plan.axis_stride[2], n, form);
      });
    } else {
      for_each_row(plan, item, [&](const int64_t* at, const int64_t*) {
        for (int64_t i = 0; i < C; ++i) {
          const Logits<T, kMask> s{x + at[0] + i * plan.axis_stride[0],
                                   mask + (at[1] + i * plan.axis_stride[1]) * kMaskSize, false, scale};
          s.load(0, 1).store(buffer + i, 1);
        }
        const Logits<A, MaskKind::kNone> s{buffer, nullptr, false, Vec<A>::set(1)};
        row_along(s, buffer, buffer, true, buffer, C, form);
        const int64_t results = form == FA_LOGSUMEXP ? 1 : C;
        for (int64_t i = 0; i < results; ++i) out[at[2] + i * plan.axis_stride[2]] = narrow<T>(buffer[i]);
      });
    }
  });
}

template <class T>
void backward(const fa_softmax_bwd_params& p, const fa_launch& launch, const Plan& plan) {
  using A = compute_t<T>;
  const T* out = data<T>(p.out);
  const T* dout = data<T>(p.dout);
  T* dx = data<T>(p.dx);
  const A scale = static_cast<A>(p.scale);
  const bool log_form = p.form == FA_LOG_SOFTMAX;
  const bool stream = streams_rows<T>(p.out, p.dx, p.axis) && streams<T>(p.dout, p.dx);
  const int64_t C = plan.C;
  const int64_t* stride = plan.axis_stride;
  parallel_for(launch, plan.num_items, [&](int64_t item, int worker) {
    if (plan.route == Route::kAlong) {
      for_each_row(plan, item, [&](const int64_t* at, const int64_t* next) {
        row_along_bwd(out + at[0], dout + at[1], dx + at[2], out + next[0], dout + next[1], C, scale, log_form, stream);
      });
      if (stream) stream_fence();
    } else if (plan.route == Route::kAcross) {
      for_each_tile(plan, item, [&](const int64_t* at, int n) {
        tile_across_bwd(out + at[0], dout + at[1], dx + at[2], C, stride[0], stride[1], stride[2], n, scale, log_form);
      });
    } else {
      A* y = static_cast<A*>(launch.workspace) + worker * 2 * buffer_elements<A>(C, false);
      A* g = y + buffer_elements<A>(C, false);
      for_each_row(plan, item, [&](const int64_t* at, const int64_t*) {
        for (int64_t i = 0; i < C; ++i) {
          y[i] = widen(out[at[0] + i * stride[0]]);
          g[i] = widen(dout[at[1] + i * stride[1]]);
        }
        row_along_bwd(y, g, g, y, g, C, scale, log_form, false);
        for (int64_t i = 0; i < C; ++i) dx[at[2] + i * stride[2]] = narrow<T>(g[i]);
      });
    }
  });
}

}  // namespace

fa_status softmax_fwd(const fa_softmax_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    fa_tensor mask = p.mask;
    if (mask.data == nullptr) {
      mask = p.x;
      for (int i = 0; i < mask.ndim; ++i) mask.strides[i] = 0;
    }
    using A = compute_t<T>;
    fa_tensor out = p.out;  // one result a row is planned like a row that lies as x does
    if (p.form == FA_LOGSUMEXP) {
      out.shape[p.axis] = p.x.shape[p.axis];
      out.strides[p.axis] = p.x.strides[p.axis];
    }
    const Plan plan(p.x, mask, out, p.axis, 1, Vec<A>::kLanes);
    const double n = static_cast<double>(num_elements(p.x));
    // A buffer of a worker: a row that is gathered, or the exponentials of one of 16-bit elements or streamed.
    const double written = p.form == FA_LOGSUMEXP ? static_cast<double>(plan.num_rows) : n;
    const bool stream = streams_forward<T>(p, plan);
    const bool buffered = plan.route == Route::kGathered || (plan.route == Route::kAlong && kIsHalf<T>);
    const size_t buffers = static_cast<size_t>(num_threads()) * (stream ? streamed_buffers(plan.C) : buffered ? 1 : 0);
    describe<"softmax_fwd", T>(launch, {.workspace = buffers * buffer_elements<A>(plan.C, stream) * sizeof(A),
                                        .flops = 5 * n,
                                        .bytes = sizeof(T) * (n + written)});
    if (launch.query) return FA_OK;
    if (p.form == FA_LOGSUMEXP && plan.C == 0) {
      StridedCursor<3> cursor(plan.rows, 0);
      for (int64_t r = 0; r < plan.num_rows; ++r) {
        data<T>(p.out)[cursor.offset[2]] = narrow<T>(-kInf<A>);
        if (r + 1 < plan.num_rows) cursor.advance(1);
      }
    } else if (p.mask.data == nullptr) {
      forward<T, MaskKind::kNone>(p, launch, plan);
    } else if (p.mask.dtype == FA_BOOL) {
      forward<T, MaskKind::kKeep>(p, launch, plan);
    } else {
      forward<T, MaskKind::kAdd>(p, launch, plan);
    }
    return FA_OK;
  });
}

fa_status softmax_bwd(const fa_softmax_bwd_params& p, fa_launch& launch) {
  return visit_float(p.out.dtype, launch, [&]<class T>() {
    using A = compute_t<T>;
    const Plan plan(p.out, p.dout, p.dx, p.axis, -1, Vec<A>::kLanes);
    const double n = static_cast<double>(num_elements(p.out));
    const size_t buffers = plan.route == Route::kGathered ? 2 * static_cast<size_t>(num_threads()) : 0;
    describe<"softmax_bwd", T>(launch, {.workspace = buffers * buffer_elements<A>(plan.C, false) * sizeof(A),
                                        .flops = 4 * n,
                                        .bytes = 3 * sizeof(T) * n});
    if (launch.query) return FA_OK;
    backward<T>(p, launch, plan);
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
