// The norms of rows: layer_norm, and rms_norm, which is the same without a mean. kCentred tells them apart; both use
// layer_norm's params, those of the mean and the bias being absent from the other.
//
// A row belongs to one thread and stays in cache between passes: forward takes three (the variance about the mean, not
// from the sum of squares, which cancels), or two without a mean; backward two. Backward's items are blocks of a fixed
// number of rows; each sums its dweight and dbias into its own part of the workspace, four rows at a time, and the
// parts are added in block order. Traffic: forward reads x and writes out, backward reads x and dout and writes dx,
// each once.
#pragma once

#include "row_behind.h"
#include "row_blocks.h"

namespace fastattn::cpu::FASTATTN_ISA {

constexpr int64_t kNormItemElements = 16384;
constexpr int64_t kNormStreamedRows = 64;  // of an item at least: its first and last are not read and stored together

// A (C) argument as a contiguous array: as it is, or copied to buffer, which moves on; nullptr where it is absent.
FASTATTN_INLINE bool needs_copy(const fa_tensor& t) { return t.data != nullptr && t.strides[0] != 1 && t.shape[0] > 1; }
template <class T>
FASTATTN_INLINE const T* contiguous(const fa_tensor& t, compute_t<T>*& buffer) {
  const T* from = data<T>(t);
  if (!needs_copy(t)) return from;
  T* copy = reinterpret_cast<T*>(buffer);
  for (int64_t i = 0; i < t.shape[0]; ++i) copy[i] = from[i * t.strides[0]];
  buffer += padded(t.shape[0]);
  return copy;
}

// (x - mean) rstd
template <bool kCentred, class V>
FASTATTN_INLINE V unit(V x, V mean, V rstd) {
  return (kCentred ? x - mean : x) * rstd;
}

// Where results go past the caches, those of a row go out while the next one is read.
template <class T, bool kCentred, bool kWeight, bool kBias>
void norm_rows(const fa_layer_norm_fwd_params& p, const fa_launch& launch, const T* weight, const T* bias) {
  using A = compute_t<T>;
  using V = Vec<A>;
  const int64_t R = num_rows(p.x, 1), C = row_length(p.x);
  const bool stream = streams_rows<T>(p.x, p.out, p.x.ndim - 1);
  const int64_t least = stream ? min_of(kNormStreamedRows, R / (4 * num_threads())) : 1;
  const int64_t per_item = max_of(max_of<int64_t>(1, least), kNormItemElements / max_of<int64_t>(1, C));
  parallel_for(launch, ceil_div(R, per_item), [&](int64_t item, int) {
    struct {
      const T* x;
      V mean, rstd;
    } done{};
    RowBehind<T> behind;
    auto results = [&](int64_t i, int n) __attribute__((always_inline)) {
      V y = unit<kCentred>(load_lanes(done.x + i, n), done.mean, done.rstd);
      if constexpr (kWeight && kBias) {
        y = fma(y, load_lanes(weight + i, n), load_lanes(bias + i, n));
      } else if constexpr (kWeight) {
        y = y * load_lanes(weight + i, n);
      } else if constexpr (kBias) {
        y = y + load_lanes(bias + i, n);
      }
      return y;
    };
    for (int64_t r = item * per_item; r < min_of(R, (item + 1) * per_item); ++r) {
      const T* x = data<T>(p.x) + row_offset(p.x, 1, r);
      const T* next = r + 1 < R ? data<T>(p.x) + row_offset(p.x, 1, r + 1) : x;
      T* out = data<T>(p.out) + row_offset(p.out, 1, r);
      A m = 0;
      if constexpr (kCentred) {
        m = sum_row<A>(C, [&](int64_t i, int n) { return load_lanes(x + i, n); }) / static_cast<A>(C);
      }
      const V mean = V::set(m);
      auto squares = [&](auto meanwhile) __attribute__((always_inline)) {
        return sum_row<A>(
            C, [&](int64_t i, int n) __attribute__((always_inline)) {
              __builtin_prefetch(next + i, 0, 2);
              V d = load_lanes(x + i, n);
              if constexpr (kCentred) d = n == V::kLanes ? d - mean : select(Mask<A>::first(n), d - mean, V::zero());
              meanwhile(i);
              return d * d;
            });
      };
      A square;
      if (behind.is_none()) {
        square = squares([](int64_t) {});
      } else {
        behind.begin(x, true, results);
        square = squares([&](int64_t i) __attribute__((always_inline)) { behind.stream(i, results); });
      }
      A root;
      sqrt(V::set(square / static_cast<A>(C) + static_cast<A>(p.eps))).store(&root, 1);
      done = {x, mean, V::set(1 / root)};
      if (stream) {
        behind = {out, C};
      } else {
        store_row(out, C, false, results);
      }
      if (p.mean.data != nullptr) data<A>(p.mean)[r * p.mean.strides[0]] = m;
      if (p.rstd.data != nullptr) data<A>(p.rstd)[r * p.rstd.strides[0]] = 1 / root;
    }
    if (!behind.is_none()) behind.finish(results);
    if (stream) stream_fence();
  });
}

// One row of the backward, and what its elements need once its two sums are known.
template <class T>
struct NormRow {
  const T* x;
  const T* dout;
  T* dx;
  const T* next_x;  // of the row that comes so many rows later as are finished together
  const T* next_dout;
  Vec<compute_t<T>> mean, rstd, mean_g, mean_gn;
};

// dx of kRows rows, and their share of dweight and dbias: those are read and written once for all of the rows. The next
// rows are called for in both passes, x while the sums are taken and dout here. stream: dx, whose rows are aligned,
// goes past the caches.
template <class T, bool kCentred, bool kWeight, int kRows>
FASTATTN_INLINE void finish_rows(const NormRow<T> (&rows)[kRows], const T* weight, int64_t C, compute_t<T>* dweight,
                                 compute_t<T>* dbias, bool stream) {
  using A = compute_t<T>;
  using V = Vec<A>;
  map_row<A>(C, [&](int64_t i, int n) {
    V dw = V::zero(), db = V::zero(), w = V::zero();
    if constexpr (kWeight) w = load_lanes(weight + i, n);
    if (dweight != nullptr) {
      dw = load_lanes(dweight + i, n);
      if constexpr (kCentred) db = load_lanes(dbias + i, n);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const NormRow<T>& row = rows[r];
      __builtin_prefetch(row.next_dout + i, 0, 2);
      const V y = unit<kCentred>(load_lanes(row.x + i, n), row.mean, row.rstd), d = load_lanes(row.dout + i, n);
      dw = fma(d, y, dw);
      if constexpr (kCentred) db += d;
      if (row.dx == nullptr) continue;
      const V g = kWeight ? d * w : d;
      V dx = fnma(y, row.mean_gn, g);
      if constexpr (kCentred) dx = dx - row.mean_g;
      if (stream && n == V::kLanes) {
        (row.rstd * dx).stream(row.dx + i);
      } else {
        store_lanes(row.rstd * dx, row.dx + i, n);
      }
    }
    if (dweight != nullptr) {
      store_lanes(dw, dweight + i, n);
      if constexpr (kCentred) store_lanes(db, dbias + i, n);
    }
  });
}

// The rows of one block of the backward; dweight and, with a mean, dbias (C) are the block's own parts, or
// nullptr.
template <class T, bool kCentred, bool kWeight>
FASTATTN_INLINE void norm_backward_rows(const fa_layer_norm_bwd_params& p, const T* weight, int64_t begin, int64_t end,
                                        compute_t<T>* dweight, compute_t<T>* dbias, bool stream) {
  using A = compute_t<T>;
  using V = Vec<A>;
  constexpr int kLanes = V::kLanes;
  const int64_t R = num_rows(p.x, 1), C = row_length(p.x);
  if (dweight != nullptr) {
    map_row<A>(C, [&](int64_t i, int n) {
      store_lanes(V::zero(), dweight + i, n);
      if constexpr (kCentred) store_lanes(V::zero(), dbias + i, n);
    });
  }
  auto start_row = [&](int64_t r, int64_t rows) {
    const int64_t next = min_of(r + rows, R - 1);
    NormRow<T> row{data<T>(p.x) + row_offset(p.x, 1, r),
                   data<T>(p.dout) + row_offset(p.dout, 1, r),
                   p.dx.data == nullptr ? nullptr : data<T>(p.dx) + row_offset(p.dx, 1, r),
                   data<T>(p.x) + row_offset(p.x, 1, next),
                   data<T>(p.dout) + row_offset(p.dout, 1, next),
                   V::set(kCentred ? data<A>(p.mean)[r * p.mean.strides[0]] : A(0)),
                   V::set(data<A>(p.rstd)[r * p.rstd.strides[0]]),
                   V::zero(),
                   V::zero()};
    if (row.dx == nullptr) return row;
    V sum_g[2] = {V::zero(), V::zero()}, sum_gn[2] = {V::zero(), V::zero()};
    auto add = [&](int64_t i, int n, int k) {
      __builtin_prefetch(row.next_x + i, 0, 2);
      const V y = unit<kCentred>(load_lanes(row.x + i, n), row.mean, row.rstd);
      V g = load_lanes(row.dout + i, n);  // 0 in the lanes from n on
      if constexpr (kWeight) g = g * load_lanes(weight + i, n);
      if constexpr (kCentred) sum_g[k] += g;
      sum_gn[k] = fma(g, y, sum_gn[k]);
    };
    int64_t i = 0;
    for (; i + 2 * kLanes <= C; i += 2 * kLanes) {
      add(i, kLanes, 0);
      add(i + kLanes, kLanes, 1);
    }
    for (; i < C; i += kLanes) add(i, int(min_of<int64_t>(kLanes, C - i)), 0);
    const A count = static_cast<A>(C);
    if constexpr (kCentred) row.mean_g = V::set(reduce_add(sum_g[0] + sum_g[1]) / count);
    row.mean_gn = V::set(reduce_add(sum_gn[0] + sum_gn[1]) / count);
    return row;
  };
  int64_t r = begin;
  for (; r + 4 <= end; r += 4) {
    const NormRow<T> rows[4] = {start_row(r, 4), start_row(r + 1, 4), start_row(r + 2, 4), start_row(r + 3, 4)};
    finish_rows<T, kCentred, kWeight>(rows, weight, C, dweight, dbias, stream);
  }
  for (; r < end; ++r) {
    const NormRow<T> rows[1] = {start_row(r, 1)};
    finish_rows<T, kCentred, kWeight>(rows, weight, C, dweight, dbias, stream);
  }
  if (stream) stream_fence();
}

// Forward, for a kernel that has described itself with a workspace of norm_workspace().
template <class T>
FASTATTN_INLINE size_t norm_workspace(const fa_layer_norm_fwd_params& p) {
  return size_t((needs_copy(p.weight) + needs_copy(p.bias)) * padded(row_length(p.x))) * sizeof(compute_t<T>);
}
template <class T, bool kCentred>
void norm_forward(const fa_layer_norm_fwd_params& p, const fa_launch& launch) {
  auto* buffer = static_cast<compute_t<T>*>(launch.workspace);
  const T* weight = contiguous<T>(p.weight, buffer);
  const T* bias = contiguous<T>(p.bias, buffer);
  if constexpr (kCentred) {
    if (weight != nullptr && bias != nullptr) return norm_rows<T, true, true, true>(p, launch, weight, bias);
    if (bias != nullptr) return norm_rows<T, true, false, true>(p, launch, weight, bias);
  }
  if (weight != nullptr) return norm_rows<T, kCentred, true, false>(p, launch, weight, bias);
  norm_rows<T, kCentred, false, false>(p, launch, weight, bias);
}

// Backward, likewise.
template <class T, bool kCentred>
struct NormBackward {
  using A = compute_t<T>;
  const fa_layer_norm_bwd_params& p;
  const int64_t R, C;
  const RowBlocks blocks;
  const bool sums;
  const bool stream;
  const int64_t part_stride;

  explicit NormBackward(const fa_layer_norm_bwd_params& params)
      : p(params),
        R(num_rows(p.x, 1)),
        C(row_length(p.x)),
        blocks(R, C),
        sums(p.dweight.data != nullptr || p.dbias.data != nullptr),
        stream(p.dx.data != nullptr && streams<T>(p.x, p.dx) && streams<T>(p.dout, p.dx) &&
               rows_are_aligned<T>(p.dx, p.dx.ndim - 1)),
        part_stride((kCentred ? 2 : 1) * padded(C)) {}

  Work work(double flops) const {
    const double n = static_cast<double>(num_elements(p.x));
    const int64_t elements = (needs_copy(p.weight) ? padded(C) : 0) + (sums ? blocks.count * part_stride : 0);
    return {.workspace = size_t(elements) * sizeof(A),
            .flops = flops * n,
            .bytes = (p.dx.data != nullptr ? 3 : 2) * sizeof(T) * n};
  }

  void run(const fa_launch& launch) const {
    A* parts = static_cast<A*>(launch.workspace);
    const T* weight = contiguous<T>(p.weight, parts);
    parallel_for(launch, blocks.count, [&](int64_t block, int) {
      A* dweight = sums ? parts + block * part_stride : nullptr;
      A* dbias = sums && kCentred ? dweight + padded(C) : nullptr;
      const int64_t begin = block * blocks.rows, end = min_of(R, begin + blocks.rows);
      if (weight != nullptr) {
        norm_backward_rows<T, kCentred, true>(p, weight, begin, end, dweight, dbias, stream);
      } else {
        norm_backward_rows<T, kCentred, false>(p, weight, begin, end, dweight, dbias, stream);
      }
    });
    if (p.dweight.data != nullptr) add_parts<T>(launch, parts, blocks.count, part_stride, p.dweight);
    if (p.dbias.data != nullptr) add_parts<T>(launch, parts + padded(C), blocks.count, part_stride, p.dbias);
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
