// Loops over one contiguous row of C elements, whole vectors first and then one partial vector. The order of every
// reduction is a function of C, dtype and ISA.
#pragma once

#include "cpu/simd/math.h"
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

// Views over rows have any number of leading axes; a row's number counts them in row-major order. `trailing` is 1 for
// (rows..., C), 0 for one element a row.
FASTATTN_INLINE int64_t num_rows(const fa_tensor& t, int trailing) {
  int64_t n = 1;
  for (int i = 0; i < t.ndim - trailing; ++i) n *= t.shape[i];
  return n;
}
FASTATTN_INLINE int64_t row_offset(const fa_tensor& t, int trailing, int64_t row) {
  int axis = t.ndim - trailing - 1;
  if (axis == 0) return row * t.strides[0];
  int64_t offset = 0;
  for (; axis >= 0; --axis) {
    offset += row % t.shape[axis] * t.strides[axis];
    row /= t.shape[axis];
  }
  return offset;
}
FASTATTN_INLINE int64_t row_length(const fa_tensor& t) { return t.shape[t.ndim - 1]; }

// Sums go through four accumulators that are emptied every kSumVectors vectors, so that a long row does not drift.
constexpr int kSumVectors = 256;

template <class T>
FASTATTN_INLINE Vec<compute_t<T>> load_lanes(const T* p, int n) {
  using V = Vec<compute_t<T>>;
  return n == V::kLanes ? V::load(p) : V::load(p, n);
}
template <class T>
FASTATTN_INLINE void store_lanes(Vec<compute_t<T>> v, T* p, int n) {
  n == Vec<compute_t<T>>::kLanes ? v.store(p) : v.store(p, n);
}

// T below is what is computed in: float for rows of 16-bit elements.

// f(i, n) for the vectors of a row: n lanes from element i on.
template <class T, class F>
FASTATTN_INLINE void map_row(int64_t C, F&& f) {
  constexpr int kLanes = Vec<T>::kLanes;
  int64_t i = 0;
  for (; i + kLanes <= C; i += kLanes) f(i, kLanes);
  if (i < C) f(i, int(C - i));
}

// Results that no cache holds until they are read go past the caches: a store to a line that is not there reads it
// first. In place it is there.
constexpr int64_t kStreamBytes = 32 << 20;
template <class T>
FASTATTN_INLINE bool streams(const fa_tensor& in, const fa_tensor& out) {
  return in.data != out.data && num_elements(out) * int64_t{sizeof(T)} >= kStreamBytes;
}

// Whether every row along an axis begins where a vector may be streamed to.
template <class T>
FASTATTN_INLINE bool rows_are_aligned(const fa_tensor& t, int axis) {
  constexpr int64_t kLanes = Vec<compute_t<T>>::kLanes;
  for (int i = 0; i < t.ndim; ++i) {
    if (i != axis && t.strides[i] % kLanes != 0) return false;
  }
  return reinterpret_cast<uintptr_t>(t.data) % (kLanes * sizeof(T)) == 0;
}
// Streams, row by row. The lines that two rows share are written twice, through the caches: they must be few.
constexpr int64_t kStreamedRow = 4096;  // bytes
template <class T>
FASTATTN_INLINE bool streams_rows(const fa_tensor& in, const fa_tensor& out, int axis) {
  const bool few_ends = out.shape[axis] * int64_t{sizeof(T)} >= kStreamedRow || rows_are_aligned<T>(out, axis);
  return few_ends && streams<T>(in, out);
}

// out[i] = f(i, n). Streamed, the vectors begin where out is aligned.
template <class T, class F>
FASTATTN_INLINE void store_row(T* out, int64_t C, bool stream, F&& f) {
  constexpr int64_t kLanes = Vec<compute_t<T>>::kLanes;
  if (!stream) return map_row<compute_t<T>>(C, [&](int64_t i, int n) { store_lanes(f(i, n), out + i, n); });
  constexpr uintptr_t kBytes = kLanes * sizeof(T);
  const uintptr_t ahead = (kBytes - reinterpret_cast<uintptr_t>(out) % kBytes) % kBytes / sizeof(T);
  int64_t i = min_of<int64_t>(C, static_cast<int64_t>(ahead));
  if (i > 0) f(int64_t{0}, int(i)).store(out, int(i));
  for (; i + kLanes <= C; i += kLanes) f(i, int{kLanes}).stream(out + i);
  if (i < C) f(i, int(C - i)).store(out + i, int(C - i));
}

// Sum of f(i, n); f's lanes from n on must be 0.
template <class T, class F>
FASTATTN_INLINE T sum_row(int64_t C, F&& f) {
  using V = Vec<T>;
  constexpr int kLanes = V::kLanes;
  V total = V::zero();
  int64_t i = 0;
  while (i + kLanes <= C) {
    const int64_t end = min_of<int64_t>(C, i + kSumVectors * kLanes);
    V a = V::zero(), b = V::zero(), c = V::zero(), d = V::zero();
    for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
      a += f(i, kLanes);
      b += f(i + kLanes, kLanes);
      c += f(i + 2 * kLanes, kLanes);
      d += f(i + 3 * kLanes, kLanes);
    }
    for (; i + kLanes <= end; i += kLanes) a += f(i, kLanes);
    total += (a + b) + (c + d);
  }
  if (i < C) total += f(i, int(C - i));
  return reduce_add(total);
}

// Maximum of f(i, n); f's lanes from n on must be -inf. A NaN may or may not win.
template <class T, class F>
FASTATTN_INLINE T max_row(int64_t C, F&& f) {
  using V = Vec<T>;
  constexpr int kLanes = V::kLanes;
  const V lowest = V::set(-kInf<T>);
  V a = lowest, b = lowest, c = lowest, d = lowest;
  int64_t i = 0;
  for (; i + 4 * kLanes <= C; i += 4 * kLanes) {
    a = max(a, f(i, kLanes));
    b = max(b, f(i + kLanes, kLanes));
    c = max(c, f(i + 2 * kLanes, kLanes));
    d = max(d, f(i + 3 * kLanes, kLanes));
  }
  for (; i + kLanes <= C; i += kLanes) a = max(a, f(i, kLanes));
  if (i < C) b = max(b, f(i, int(C - i)));
  return reduce_max(max(max(a, b), max(c, d)));
}

// The maximum to subtract: 0 for a row of -inf, so that -inf - m stays -inf.
template <class T>
FASTATTN_INLINE T finite_max(T m) {
  return m == -kInf<T> ? T(0) : m;
}
template <class T>
FASTATTN_INLINE Vec<T> finite_max(Vec<T> m) {
  return select(m == Vec<T>::set(-kInf<T>), Vec<T>::zero(), m);
}
template <class T>
FASTATTN_INLINE T log_of(T x) {
  T y;
  log(Vec<T>::set(x)).store(&y, 1);
  return y;
}
template <class T>
FASTATTN_INLINE T exp_of(T x) {
  T y;
  exp(Vec<T>::set(x)).store(&y, 1);
  return y;
}

}  // namespace fastattn::cpu::FASTATTN_ISA
