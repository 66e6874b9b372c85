// transpose_each: kLanes rows of kLanes elements, read with a row stride, given as kLanes vectors.
//
//   f(k, v), v[n] = src[n * src_stride + k],   0 <= n, k < Vec<T>::kLanes
//
// Rows are gathered 128 bits at a time, so that lane l of a register holds rows l * P ... (P elements in 128 bits);
// what is left is a P x P transpose inside each lane: half the shuffles of a full-width one, and the inserts come from
// memory.
#pragma once

#include "simd.h"

namespace fastattn::cpu::FASTATTN_ISA {

#if defined(FASTATTN_ISA_IS_AVX512)

FASTATTN_INLINE __m512 gather_128(const float* p, int64_t lane_stride) {
  __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
  v = _mm512_insertf32x4(v, _mm_loadu_ps(p + lane_stride), 1);
  v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 2 * lane_stride), 2);
  return _mm512_insertf32x4(v, _mm_loadu_ps(p + 3 * lane_stride), 3);
}
FASTATTN_INLINE __m512d gather_128(const double* p, int64_t lane_stride) {
  __m512d v = _mm512_castpd128_pd512(_mm_loadu_pd(p));
  v = _mm512_insertf64x2(v, _mm_loadu_pd(p + lane_stride), 1);
  v = _mm512_insertf64x2(v, _mm_loadu_pd(p + 2 * lane_stride), 2);
  return _mm512_insertf64x2(v, _mm_loadu_pd(p + 3 * lane_stride), 3);
}
FASTATTN_INLINE __m512 unpack_low(__m512 a, __m512 b) { return _mm512_unpacklo_ps(a, b); }
FASTATTN_INLINE __m512 unpack_high(__m512 a, __m512 b) { return _mm512_unpackhi_ps(a, b); }
FASTATTN_INLINE __m512d unpack_low(__m512d a, __m512d b) { return _mm512_unpacklo_pd(a, b); }
FASTATTN_INLINE __m512d unpack_high(__m512d a, __m512d b) { return _mm512_unpackhi_pd(a, b); }
FASTATTN_INLINE __m512 unpack_low_pairs(__m512 a, __m512 b) {
  return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
FASTATTN_INLINE __m512 unpack_high_pairs(__m512 a, __m512 b) {
  return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

#elif defined(FASTATTN_ISA_IS_AVX2)

FASTATTN_INLINE __m256 gather_128(const float* p, int64_t lane_stride) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + lane_stride), 1);
}
FASTATTN_INLINE __m256d gather_128(const double* p, int64_t lane_stride) {
  return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(p + lane_stride), 1);
}
FASTATTN_INLINE __m256 unpack_low(__m256 a, __m256 b) { return _mm256_unpacklo_ps(a, b); }
FASTATTN_INLINE __m256 unpack_high(__m256 a, __m256 b) { return _mm256_unpackhi_ps(a, b); }
FASTATTN_INLINE __m256d unpack_low(__m256d a, __m256d b) { return _mm256_unpacklo_pd(a, b); }
FASTATTN_INLINE __m256d unpack_high(__m256d a, __m256d b) { return _mm256_unpackhi_pd(a, b); }
FASTATTN_INLINE __m256 unpack_low_pairs(__m256 a, __m256 b) {
  return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}
FASTATTN_INLINE __m256 unpack_high_pairs(__m256 a, __m256 b) {
  return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
}

#endif

#if defined(FASTATTN_ISA_IS_AVX512) || defined(FASTATTN_ISA_IS_AVX2)

template <class F>
FASTATTN_INLINE void transpose_each(const float* src, int64_t src_stride, F&& f) {
#pragma GCC unroll 4
  for (int k = 0; k < VecF::kLanes; k += 4) {
    auto r0 = gather_128(src + k, 4 * src_stride);
    auto r1 = gather_128(src + k + src_stride, 4 * src_stride);
    auto r2 = gather_128(src + k + 2 * src_stride, 4 * src_stride);
    auto r3 = gather_128(src + k + 3 * src_stride, 4 * src_stride);
    auto low01 = unpack_low(r0, r1), low23 = unpack_low(r2, r3);
    auto high01 = unpack_high(r0, r1), high23 = unpack_high(r2, r3);
    f(k, VecF{unpack_low_pairs(low01, low23)});
    f(k + 1, VecF{unpack_high_pairs(low01, low23)});
    f(k + 2, VecF{unpack_low_pairs(high01, high23)});
    f(k + 3, VecF{unpack_high_pairs(high01, high23)});
  }
}

template <class F>
FASTATTN_INLINE void transpose_each(const double* src, int64_t src_stride, F&& f) {
#pragma GCC unroll 4
  for (int k = 0; k < VecD::kLanes; k += 2) {
    auto r0 = gather_128(src + k, 2 * src_stride);
    auto r1 = gather_128(src + k + src_stride, 2 * src_stride);
    f(k, VecD{unpack_low(r0, r1)});
    f(k + 1, VecD{unpack_high(r0, r1)});
  }
}

#else

template <class T, class F>
FASTATTN_INLINE void transpose_each(const T* src, int64_t, F&& f) {
  f(0, Vec<T>::load(src));
}

#endif

// dst[k * dst_stride + n] = src[n * src_stride + k],   0 <= n, k < Vec<T>::kLanes
template <class T>
FASTATTN_INLINE void transpose_block(const T* src, int64_t src_stride, T* dst, int64_t dst_stride) {
  transpose_each(
      src, src_stride, [&](int k, Vec<T> v) __attribute__((always_inline)) { v.store(dst + k * dst_stride); });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
