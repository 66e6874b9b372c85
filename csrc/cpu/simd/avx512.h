// AVX-512 (F, BW, DQ, VL): 16 floats or 8 doubles. The interface is described in simd.h.
#pragma once

#include <immintrin.h>

namespace fastattn::cpu::FASTATTN_ISA {

template <>
struct Mask<float> {
  __mmask16 m;
  static FASTATTN_INLINE Mask first(int n) {
    return {static_cast<__mmask16>(_bzhi_u32(0xffff, static_cast<unsigned>(n)))};
  }
  friend FASTATTN_INLINE Mask operator&(Mask a, Mask b) { return {static_cast<__mmask16>(a.m & b.m)}; }
  friend FASTATTN_INLINE Mask operator|(Mask a, Mask b) { return {static_cast<__mmask16>(a.m | b.m)}; }
  friend FASTATTN_INLINE Mask operator!(Mask a) { return {static_cast<__mmask16>(~a.m)}; }
};
template <>
struct Mask<double> {
  __mmask8 m;
  static FASTATTN_INLINE Mask first(int n) {
    return {static_cast<__mmask8>(_bzhi_u32(0xff, static_cast<unsigned>(n)))};
  }
  friend FASTATTN_INLINE Mask operator&(Mask a, Mask b) { return {static_cast<__mmask8>(a.m & b.m)}; }
  friend FASTATTN_INLINE Mask operator|(Mask a, Mask b) { return {static_cast<__mmask8>(a.m | b.m)}; }
  friend FASTATTN_INLINE Mask operator!(Mask a) { return {static_cast<__mmask8>(~a.m)}; }
};
FASTATTN_INLINE bool any(Mask<float> a) { return a.m != 0; }
FASTATTN_INLINE bool any(Mask<double> a) { return a.m != 0; }
FASTATTN_INLINE bool all(Mask<float> a) { return a.m == 0xffff; }
FASTATTN_INLINE bool all(Mask<double> a) { return a.m == 0xff; }

// Sixteen 16-bit floats, in memory or in the lanes of a vector.
FASTATTN_INLINE __m512 widen(__m256i x, const bf16*) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
FASTATTN_INLINE __m512 widen(__m256i x, const f16*) { return _mm512_cvtph_ps(x); }
FASTATTN_INLINE __m256i narrow(__m512 x, const bf16*) {
  const __m512i bits = _mm512_castps_si512(x), high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, is_nan, high, _mm512_set1_epi32(0x40)));
}
FASTATTN_INLINE __m256i narrow(__m512 x, const f16*) {
  return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

template <>
struct Vec<float> {
  static constexpr int kLanes = 16;
  __m512 v;
  static FASTATTN_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
  static FASTATTN_INLINE Vec set(float x) { return {_mm512_set1_ps(x)}; }
  static FASTATTN_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static FASTATTN_INLINE Vec load(const float* p, int n) { return {_mm512_maskz_loadu_ps(Mask<float>::first(n).m, p)}; }
  FASTATTN_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  FASTATTN_INLINE void stream(float* p) const { _mm512_stream_ps(p, v); }
  FASTATTN_INLINE void store(float* p, int n) const { _mm512_mask_storeu_ps(p, Mask<float>::first(n).m, v); }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  static FASTATTN_INLINE Vec load(const H* p) {
    return {widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), p)};
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  static FASTATTN_INLINE Vec load(const H* p, int n) {
    return {widen(_mm256_maskz_loadu_epi16(Mask<float>::first(n).m, p), p)};
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  FASTATTN_INLINE void store(H* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(v, p));
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  FASTATTN_INLINE void stream(H* p) const {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), narrow(v, p));
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  FASTATTN_INLINE void store(H* p, int n) const {
    _mm256_mask_storeu_epi16(p, Mask<float>::first(n).m, narrow(v, p));
  }
};
template <>
struct Vec<double> {
  static constexpr int kLanes = 8;
  __m512d v;
  static FASTATTN_INLINE Vec zero() { return {_mm512_setzero_pd()}; }
  static FASTATTN_INLINE Vec set(double x) { return {_mm512_set1_pd(x)}; }
  static FASTATTN_INLINE Vec load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static FASTATTN_INLINE Vec load(const double* p, int n) {
    return {_mm512_maskz_loadu_pd(Mask<double>::first(n).m, p)};
  }
  FASTATTN_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }
  FASTATTN_INLINE void stream(double* p) const { _mm512_stream_pd(p, v); }
  FASTATTN_INLINE void store(double* p, int n) const { _mm512_mask_storeu_pd(p, Mask<double>::first(n).m, v); }
};

FASTATTN_INLINE void stream_fence() { _mm_sfence(); }

using VecF = Vec<float>;
using VecD = Vec<double>;

FASTATTN_INLINE VecF operator+(VecF a, VecF b) { return {_mm512_add_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD operator+(VecD a, VecD b) { return {_mm512_add_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF operator-(VecF a, VecF b) { return {_mm512_sub_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD operator-(VecD a, VecD b) { return {_mm512_sub_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF operator*(VecF a, VecF b) { return {_mm512_mul_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD operator*(VecD a, VecD b) { return {_mm512_mul_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF operator/(VecF a, VecF b) { return {_mm512_div_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD operator/(VecD a, VecD b) { return {_mm512_div_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF operator-(VecF a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
FASTATTN_INLINE VecD operator-(VecD a) { return {_mm512_xor_pd(a.v, _mm512_set1_pd(-0.0))}; }
FASTATTN_INLINE VecF fma(VecF a, VecF b, VecF c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
FASTATTN_INLINE VecD fma(VecD a, VecD b, VecD c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
FASTATTN_INLINE VecF fnma(VecF a, VecF b, VecF c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
FASTATTN_INLINE VecD fnma(VecD a, VecD b, VecD c) { return {_mm512_fnmadd_pd(a.v, b.v, c.v)}; }
FASTATTN_INLINE VecF max(VecF a, VecF b) { return {_mm512_max_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD max(VecD a, VecD b) { return {_mm512_max_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF min(VecF a, VecF b) { return {_mm512_min_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD min(VecD a, VecD b) { return {_mm512_min_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF sqrt(VecF a) { return {_mm512_sqrt_ps(a.v)}; }
FASTATTN_INLINE VecD sqrt(VecD a) { return {_mm512_sqrt_pd(a.v)}; }
FASTATTN_INLINE VecF abs(VecF a) { return {_mm512_abs_ps(a.v)}; }
FASTATTN_INLINE VecD abs(VecD a) { return {_mm512_abs_pd(a.v)}; }

FASTATTN_INLINE Mask<float> operator<(VecF a, VecF b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
FASTATTN_INLINE Mask<double> operator<(VecD a, VecD b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)}; }
FASTATTN_INLINE Mask<float> operator<=(VecF a, VecF b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
FASTATTN_INLINE Mask<double> operator<=(VecD a, VecD b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ)}; }
FASTATTN_INLINE Mask<float> operator>(VecF a, VecF b) { return b < a; }
FASTATTN_INLINE Mask<double> operator>(VecD a, VecD b) { return b < a; }
FASTATTN_INLINE Mask<float> operator>=(VecF a, VecF b) { return b <= a; }
FASTATTN_INLINE Mask<double> operator>=(VecD a, VecD b) { return b <= a; }
FASTATTN_INLINE Mask<float> operator==(VecF a, VecF b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
FASTATTN_INLINE Mask<double> operator==(VecD a, VecD b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)}; }
FASTATTN_INLINE Mask<float> is_nan(VecF a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
FASTATTN_INLINE Mask<double> is_nan(VecD a) { return {_mm512_cmp_pd_mask(a.v, a.v, _CMP_UNORD_Q)}; }
FASTATTN_INLINE VecF select(Mask<float> m, VecF a, VecF b) { return {_mm512_mask_blend_ps(m.m, b.v, a.v)}; }
FASTATTN_INLINE VecD select(Mask<double> m, VecD a, VecD b) { return {_mm512_mask_blend_pd(m.m, b.v, a.v)}; }

template <class T>
FASTATTN_INLINE Mask<T> load_mask(const uint8_t* p, int n);
template <>
FASTATTN_INLINE Mask<float> load_mask<float>(const uint8_t* p, int n) {
  __m128i bytes = _mm_maskz_loadu_epi8(Mask<float>::first(n).m, p);
  return {_mm_test_epi8_mask(bytes, bytes)};
}
template <>
FASTATTN_INLINE Mask<double> load_mask<double>(const uint8_t* p, int n) {
  __m128i bytes = _mm_maskz_loadu_epi8(Mask<double>::first(n).m, p);
  return {static_cast<__mmask8>(_mm_test_epi8_mask(bytes, bytes))};
}

FASTATTN_INLINE VecF round(VecF a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
FASTATTN_INLINE VecD round(VecD a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
FASTATTN_INLINE VecF scale2(VecF a, VecF n) { return {_mm512_scalef_ps(a.v, n.v)}; }
FASTATTN_INLINE VecD scale2(VecD a, VecD n) { return {_mm512_scalef_pd(a.v, n.v)}; }

FASTATTN_INLINE VecF copysign(VecF a, VecF b) {
  const __m512 sign = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(sign, a.v), _mm512_and_ps(sign, b.v))};
}
FASTATTN_INLINE VecD copysign(VecD a, VecD b) {
  const __m512d sign = _mm512_set1_pd(-0.0);
  return {_mm512_or_pd(_mm512_andnot_pd(sign, a.v), _mm512_and_pd(sign, b.v))};
}
FASTATTN_INLINE Split<float> split_exponent(VecF a) {
  return {{_mm512_getmant_ps(a.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src)}, {_mm512_getexp_ps(a.v)}};
}
FASTATTN_INLINE Split<double> split_exponent(VecD a) {
  return {{_mm512_getmant_pd(a.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src)}, {_mm512_getexp_pd(a.v)}};
}

FASTATTN_INLINE float reduce_add(VecF a) { return _mm512_reduce_add_ps(a.v); }
FASTATTN_INLINE double reduce_add(VecD a) { return _mm512_reduce_add_pd(a.v); }
FASTATTN_INLINE float reduce_max(VecF a) { return _mm512_reduce_max_ps(a.v); }
FASTATTN_INLINE double reduce_max(VecD a) { return _mm512_reduce_max_pd(a.v); }

}  // namespace fastattn::cpu::FASTATTN_ISA
