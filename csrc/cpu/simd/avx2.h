// AVX2 with FMA and F16C: 8 floats or 4 doubles. The interface is described in simd.h.
#pragma once

#include <immintrin.h>

namespace fastattn::cpu::FASTATTN_ISA {

// A sliding window over this gives the mask of the first n lanes: n ones, then zeros.
alignas(64) inline constexpr int32_t kMaskWindow32[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
alignas(64) inline constexpr int64_t kMaskWindow64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

template <>
struct Mask<float> {
  __m256 m;
  static FASTATTN_INLINE Mask first(int n) {
    return {_mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMaskWindow32 + 8 - n)))};
  }
  friend FASTATTN_INLINE Mask operator&(Mask a, Mask b) { return {_mm256_and_ps(a.m, b.m)}; }
  friend FASTATTN_INLINE Mask operator|(Mask a, Mask b) { return {_mm256_or_ps(a.m, b.m)}; }
  friend FASTATTN_INLINE Mask operator!(Mask a) {
    return {_mm256_xor_ps(a.m, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))};
  }
};
template <>
struct Mask<double> {
  __m256d m;
  static FASTATTN_INLINE Mask first(int n) {
    return {_mm256_castsi256_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMaskWindow64 + 4 - n)))};
  }
  friend FASTATTN_INLINE Mask operator&(Mask a, Mask b) { return {_mm256_and_pd(a.m, b.m)}; }
  friend FASTATTN_INLINE Mask operator|(Mask a, Mask b) { return {_mm256_or_pd(a.m, b.m)}; }
  friend FASTATTN_INLINE Mask operator!(Mask a) {
    return {_mm256_xor_pd(a.m, _mm256_castsi256_pd(_mm256_set1_epi32(-1)))};
  }
};
FASTATTN_INLINE bool any(Mask<float> a) { return _mm256_movemask_ps(a.m) != 0; }
FASTATTN_INLINE bool any(Mask<double> a) { return _mm256_movemask_pd(a.m) != 0; }
FASTATTN_INLINE bool all(Mask<float> a) { return _mm256_movemask_ps(a.m) == 0xff; }
FASTATTN_INLINE bool all(Mask<double> a) { return _mm256_movemask_pd(a.m) == 0xf; }

// Eight 16-bit floats, in memory or in the lanes of a vector.
struct Halves {
  __m128i h;
  static FASTATTN_INLINE Halves load(const void* p) { return {_mm_loadu_si128(static_cast<const __m128i*>(p))}; }
  static FASTATTN_INLINE Halves load(const uint16_t* p, int n) {
    alignas(16) uint16_t lanes[8] = {};
    for (int i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
  }
  FASTATTN_INLINE void store(void* p) const { _mm_storeu_si128(static_cast<__m128i*>(p), h); }
  FASTATTN_INLINE void store(uint16_t* p, int n) const {
    alignas(16) uint16_t lanes[8];
    store(lanes);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
};
FASTATTN_INLINE __m256 widen(Halves x, const bf16*) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x.h), 16));
}
FASTATTN_INLINE __m256 widen(Halves x, const f16*) { return _mm256_cvtph_ps(x.h); }
FASTATTN_INLINE Halves narrow(__m256 x, const bf16*) {
  const __m256i bits = _mm256_castps_si256(x), high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i words = _mm256_blendv_epi8(rounded, quiet, is_nan);
  return {_mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1))};
}
FASTATTN_INLINE Halves narrow(__m256 x, const f16*) {
  return {_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

template <>
struct Vec<float> {
  static constexpr int kLanes = 8;
  __m256 v;
  static FASTATTN_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
  static FASTATTN_INLINE Vec set(float x) { return {_mm256_set1_ps(x)}; }
  static FASTATTN_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static FASTATTN_INLINE Vec load(const float* p, int n) {
    return {_mm256_maskload_ps(p, _mm256_castps_si256(Mask<float>::first(n).m))};
  }
  FASTATTN_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  FASTATTN_INLINE void stream(float* p) const { _mm256_stream_ps(p, v); }
  FASTATTN_INLINE void store(float* p, int n) const {
    _mm256_maskstore_ps(p, _mm256_castps_si256(Mask<float>::first(n).m), v);
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  static FASTATTN_INLINE Vec load(const H* p) {
    return {widen(Halves::load(p), p)};
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  static FASTATTN_INLINE Vec load(const H* p, int n) {
    return {widen(Halves::load(&p->bits, n), p)};
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  FASTATTN_INLINE void store(H* p) const {
    narrow(v, p).store(p);
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  FASTATTN_INLINE void stream(H* p) const {
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), narrow(v, p).h);
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  FASTATTN_INLINE void store(H* p, int n) const {
    narrow(v, p).store(&p->bits, n);
  }
};
template <>
struct Vec<double> {
  static constexpr int kLanes = 4;
  __m256d v;
  static FASTATTN_INLINE Vec zero() { return {_mm256_setzero_pd()}; }
  static FASTATTN_INLINE Vec set(double x) { return {_mm256_set1_pd(x)}; }
  static FASTATTN_INLINE Vec load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static FASTATTN_INLINE Vec load(const double* p, int n) {
    return {_mm256_maskload_pd(p, _mm256_castpd_si256(Mask<double>::first(n).m))};
  }
  FASTATTN_INLINE void store(double* p) const { _mm256_storeu_pd(p, v); }
  FASTATTN_INLINE void stream(double* p) const { _mm256_stream_pd(p, v); }
  FASTATTN_INLINE void store(double* p, int n) const {
    _mm256_maskstore_pd(p, _mm256_castpd_si256(Mask<double>::first(n).m), v);
  }
};

FASTATTN_INLINE void stream_fence() { _mm_sfence(); }

using VecF = Vec<float>;
using VecD = Vec<double>;

FASTATTN_INLINE VecF operator+(VecF a, VecF b) { return {_mm256_add_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD operator+(VecD a, VecD b) { return {_mm256_add_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF operator-(VecF a, VecF b) { return {_mm256_sub_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD operator-(VecD a, VecD b) { return {_mm256_sub_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF operator*(VecF a, VecF b) { return {_mm256_mul_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD operator*(VecD a, VecD b) { return {_mm256_mul_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF operator/(VecF a, VecF b) { return {_mm256_div_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD operator/(VecD a, VecD b) { return {_mm256_div_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF operator-(VecF a) { return {_mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f))}; }
FASTATTN_INLINE VecD operator-(VecD a) { return {_mm256_xor_pd(a.v, _mm256_set1_pd(-0.0))}; }
FASTATTN_INLINE VecF fma(VecF a, VecF b, VecF c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
FASTATTN_INLINE VecD fma(VecD a, VecD b, VecD c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
FASTATTN_INLINE VecF fnma(VecF a, VecF b, VecF c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
FASTATTN_INLINE VecD fnma(VecD a, VecD b, VecD c) { return {_mm256_fnmadd_pd(a.v, b.v, c.v)}; }
FASTATTN_INLINE VecF max(VecF a, VecF b) { return {_mm256_max_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD max(VecD a, VecD b) { return {_mm256_max_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF min(VecF a, VecF b) { return {_mm256_min_ps(a.v, b.v)}; }
FASTATTN_INLINE VecD min(VecD a, VecD b) { return {_mm256_min_pd(a.v, b.v)}; }
FASTATTN_INLINE VecF sqrt(VecF a) { return {_mm256_sqrt_ps(a.v)}; }
FASTATTN_INLINE VecD sqrt(VecD a) { return {_mm256_sqrt_pd(a.v)}; }
FASTATTN_INLINE VecF abs(VecF a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
FASTATTN_INLINE VecD abs(VecD a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }

FASTATTN_INLINE Mask<float> operator<(VecF a, VecF b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
FASTATTN_INLINE Mask<double> operator<(VecD a, VecD b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ)}; }
FASTATTN_INLINE Mask<float> operator<=(VecF a, VecF b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
FASTATTN_INLINE Mask<double> operator<=(VecD a, VecD b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ)}; }
FASTATTN_INLINE Mask<float> operator>(VecF a, VecF b) { return b < a; }
FASTATTN_INLINE Mask<double> operator>(VecD a, VecD b) { return b < a; }
FASTATTN_INLINE Mask<float> operator>=(VecF a, VecF b) { return b <= a; }
FASTATTN_INLINE Mask<double> operator>=(VecD a, VecD b) { return b <= a; }
FASTATTN_INLINE Mask<float> operator==(VecF a, VecF b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
FASTATTN_INLINE Mask<double> operator==(VecD a, VecD b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ)}; }
FASTATTN_INLINE Mask<float> is_nan(VecF a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
FASTATTN_INLINE Mask<double> is_nan(VecD a) { return {_mm256_cmp_pd(a.v, a.v, _CMP_UNORD_Q)}; }
FASTATTN_INLINE VecF select(Mask<float> m, VecF a, VecF b) { return {_mm256_blendv_ps(b.v, a.v, m.m)}; }
FASTATTN_INLINE VecD select(Mask<double> m, VecD a, VecD b) { return {_mm256_blendv_pd(b.v, a.v, m.m)}; }

template <class T>
FASTATTN_INLINE Mask<T> load_mask(const uint8_t* p, int n);
template <>
FASTATTN_INLINE Mask<float> load_mask<float>(const uint8_t* p, int n) {
  alignas(8) uint8_t bytes[8] = {};
  for (int i = 0; i < n; ++i) bytes[i] = p[i];
  __m256i words = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(words, _mm256_setzero_si256()))};
}
template <>
FASTATTN_INLINE Mask<double> load_mask<double>(const uint8_t* p, int n) {
  alignas(8) uint8_t bytes[8] = {};
  for (int i = 0; i < n; ++i) bytes[i] = p[i];
  __m256i words = _mm256_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
  return {_mm256_castsi256_pd(_mm256_cmpgt_epi64(words, _mm256_setzero_si256()))};
}

FASTATTN_INLINE VecF round(VecF a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
FASTATTN_INLINE VecD round(VecD a) { return {_mm256_round_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }

// 2^n is built in two halves, so that results in the subnormal range and n = 128 (1024) come out right.
FASTATTN_INLINE VecF scale2(VecF a, VecF n) {
  __m256i whole = _mm256_cvtps_epi32(n.v);
  __m256i half = _mm256_srai_epi32(whole, 1);
  __m256i rest = _mm256_sub_epi32(whole, half);
  const __m256i bias = _mm256_set1_epi32(127);
  __m256 p = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  __m256 q = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return {_mm256_mul_ps(_mm256_mul_ps(a.v, p), q)};
}
FASTATTN_INLINE VecD scale2(VecD a, VecD n) {
  __m128i whole = _mm256_cvtpd_epi32(n.v);
  __m128i half = _mm_srai_epi32(whole, 1);
  __m128i rest = _mm_sub_epi32(whole, half);
  const __m256i bias = _mm256_set1_epi64x(1023);
  __m256d p = _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_add_epi64(_mm256_cvtepi32_epi64(half), bias), 52));
  __m256d q = _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_add_epi64(_mm256_cvtepi32_epi64(rest), bias), 52));
  return {_mm256_mul_pd(_mm256_mul_pd(a.v, p), q)};
}

FASTATTN_INLINE VecF copysign(VecF a, VecF b) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(sign, a.v), _mm256_and_ps(sign, b.v))};
}
FASTATTN_INLINE VecD copysign(VecD a, VecD b) {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return {_mm256_or_pd(_mm256_andnot_pd(sign, a.v), _mm256_and_pd(sign, b.v))};
}

FASTATTN_INLINE Split<float> split_exponent(VecF a) {
  __m256i bits = _mm256_castps_si256(a.v);
  __m256i exponent = _mm256_sub_epi32(_mm256_srli_epi32(bits, 23), _mm256_set1_epi32(127));
  __m256i mantissa =
      _mm256_or_si256(_mm256_and_si256(bits, _mm256_set1_epi32(0x7fffff)), _mm256_set1_epi32(0x3f800000));
  return {{_mm256_castsi256_ps(mantissa)}, {_mm256_cvtepi32_ps(exponent)}};
}
FASTATTN_INLINE Split<double> split_exponent(VecD a) {
  __m256i bits = _mm256_castpd_si256(a.v);
  // The exponent's bits in the mantissa of 2^52 are that double plus the exponent: there is no conversion from int64.
  const __m256d magic = _mm256_set1_pd(4503599627370496.0);
  __m256i exponent = _mm256_or_si256(_mm256_srli_epi64(bits, 52), _mm256_castpd_si256(magic));
  __m256i mantissa = _mm256_or_si256(_mm256_and_si256(bits, _mm256_set1_epi64x(0xfffffffffffff)),
                                     _mm256_set1_epi64x(0x3ff0000000000000));
  return {{_mm256_castsi256_pd(mantissa)},
          {_mm256_sub_pd(_mm256_castsi256_pd(exponent), _mm256_set1_pd(4503599627370496.0 + 1023.0))}};
}

FASTATTN_INLINE float reduce_add(VecF a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
FASTATTN_INLINE double reduce_add(VecD a) {
  __m128d x = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}
FASTATTN_INLINE float reduce_max(VecF a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
FASTATTN_INLINE double reduce_max(VecD a) {
  __m128d x = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_max_sd(x, _mm_unpackhi_pd(x, x)));
}

}  // namespace fastattn::cpu::FASTATTN_ISA
