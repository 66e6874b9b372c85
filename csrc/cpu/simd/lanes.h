// Lanes that move: between pairs of vectors, and to and from bytes.
//
//   deinterleave(a, b)   the even and the odd lanes of a followed by b
//   interleave(even, odd)   such a and b
//   load_bytes<T>(const uint8_t* p, n), store_bytes(v, uint8_t* p, n)   n lanes of whole numbers below 256; of the
//   others load_bytes makes 0
#pragma once

#include "simd.h"

namespace fastattn::cpu::FASTATTN_ISA {

template <class T>
struct Pair {
  Vec<T> first, second;
};
template <class T>
FASTATTN_INLINE Vec<T> load_bytes(const uint8_t* p, int n);

#if defined(FASTATTN_ISA_IS_AVX512)

FASTATTN_INLINE Pair<float> deinterleave(VecF a, VecF b) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return {{_mm512_permutex2var_ps(a.v, even, b.v)}, {_mm512_permutex2var_ps(a.v, odd, b.v)}};
}
FASTATTN_INLINE Pair<double> deinterleave(VecD a, VecD b) {
  return {{_mm512_permutex2var_pd(a.v, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b.v)},
          {_mm512_permutex2var_pd(a.v, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b.v)}};
}
FASTATTN_INLINE Pair<float> interleave(VecF even, VecF odd) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  return {{_mm512_permutex2var_ps(even.v, low, odd.v)}, {_mm512_permutex2var_ps(even.v, high, odd.v)}};
}
FASTATTN_INLINE Pair<double> interleave(VecD even, VecD odd) {
  return {{_mm512_permutex2var_pd(even.v, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), odd.v)},
          {_mm512_permutex2var_pd(even.v, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), odd.v)}};
}

template <>
FASTATTN_INLINE VecF load_bytes<float>(const uint8_t* p, int n) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(Mask<float>::first(n).m, p)))};
}
template <>
FASTATTN_INLINE VecD load_bytes<double>(const uint8_t* p, int n) {
  return {_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_maskz_loadu_epi8(Mask<double>::first(n).m, p)))};
}
FASTATTN_INLINE void store_bytes(VecF a, uint8_t* p, int n) {
  _mm_mask_storeu_epi8(p, Mask<float>::first(n).m, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a.v)));
}
FASTATTN_INLINE void store_bytes(VecD a, uint8_t* p, int n) {
  _mm_mask_storeu_epi8(p, Mask<double>::first(n).m, _mm256_cvtepi32_epi8(_mm512_cvttpd_epi32(a.v)));
}

#elif defined(FASTATTN_ISA_IS_AVX2)

FASTATTN_INLINE Pair<float> deinterleave(VecF a, VecF b) {
  const __m256 low = _mm256_permute2f128_ps(a.v, b.v, 0x20), high = _mm256_permute2f128_ps(a.v, b.v, 0x31);
  return {{_mm256_shuffle_ps(low, high, 0x88)}, {_mm256_shuffle_ps(low, high, 0xdd)}};
}
FASTATTN_INLINE Pair<double> deinterleave(VecD a, VecD b) {
  const __m256d low = _mm256_permute2f128_pd(a.v, b.v, 0x20), high = _mm256_permute2f128_pd(a.v, b.v, 0x31);
  return {{_mm256_unpacklo_pd(low, high)}, {_mm256_unpackhi_pd(low, high)}};
}
FASTATTN_INLINE Pair<float> interleave(VecF even, VecF odd) {
  const __m256 low = _mm256_unpacklo_ps(even.v, odd.v), high = _mm256_unpackhi_ps(even.v, odd.v);
  return {{_mm256_permute2f128_ps(low, high, 0x20)}, {_mm256_permute2f128_ps(low, high, 0x31)}};
}
FASTATTN_INLINE Pair<double> interleave(VecD even, VecD odd) {
  const __m256d low = _mm256_unpacklo_pd(even.v, odd.v), high = _mm256_unpackhi_pd(even.v, odd.v);
  return {{_mm256_permute2f128_pd(low, high, 0x20)}, {_mm256_permute2f128_pd(low, high, 0x31)}};
}

// n <= kLanes bytes; a whole vector's go as one.
template <int kLanes>
FASTATTN_INLINE void copy_bytes(const uint8_t* from, uint8_t* to, int n) {
  if (n == kLanes) {
    __builtin_memcpy(to, from, kLanes);
  } else {
    for (int i = 0; i < n; ++i) to[i] = from[i];
  }
}
template <int kLanes>
FASTATTN_INLINE __m128i low_bytes(const uint8_t* p, int n) {
  alignas(8) uint8_t bytes[8] = {};
  copy_bytes<kLanes>(p, bytes, n);
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
}
template <int kLanes>
FASTATTN_INLINE void store_low_bytes(__m128i words, uint8_t* p, int n) {
  alignas(8) uint8_t bytes[8];
  _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes), _mm_packus_epi16(words, words));
  copy_bytes<kLanes>(bytes, p, n);
}
template <>
FASTATTN_INLINE VecF load_bytes<float>(const uint8_t* p, int n) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low_bytes<8>(p, n)))};
}
template <>
FASTATTN_INLINE VecD load_bytes<double>(const uint8_t* p, int n) {
  return {_mm256_cvtepi32_pd(_mm_cvtepu8_epi32(low_bytes<4>(p, n)))};
}
FASTATTN_INLINE void store_bytes(VecF a, uint8_t* p, int n) {
  const __m256i whole = _mm256_cvttps_epi32(a.v);
  store_low_bytes<8>(_mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)), p, n);
}
FASTATTN_INLINE void store_bytes(VecD a, uint8_t* p, int n) {
  const __m128i whole = _mm256_cvttpd_epi32(a.v);
  store_low_bytes<4>(_mm_packus_epi32(whole, whole), p, n);
}

#else

template <class T>
FASTATTN_INLINE Pair<T> deinterleave(Vec<T> a, Vec<T> b) {
  return {a, b};
}
template <class T>
FASTATTN_INLINE Pair<T> interleave(Vec<T> even, Vec<T> odd) {
  return {even, odd};
}
template <class T>
FASTATTN_INLINE Vec<T> load_bytes(const uint8_t* p, int n) {
  return {n > 0 ? static_cast<T>(*p) : T(0)};
}
template <class T>
FASTATTN_INLINE void store_bytes(Vec<T> a, uint8_t* p, int n) {
  if (n > 0) *p = static_cast<uint8_t>(static_cast<int32_t>(a.v));
}

#endif

}  // namespace fastattn::cpu::FASTATTN_ISA
