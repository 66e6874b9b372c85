// SIMD vectors of the ISA that this translation unit is compiled for. A kernel source includes this header and is
// compiled once per ISA, with FASTATTN_ISA set to scalar, avx2 or avx512; everything lands in
// fastattn::cpu::FASTATTN_ISA, so that no inline function compiled for one ISA can be the copy that the linker keeps
// for another.
//
// Vec<T>, T = float or double, and Mask<T>:
//   Vec<T>::kLanes; zero(), set(x), load(p), load(p, n), v.store(p), v.store(p, n)   (n < kLanes lanes; the others read
//   0)
//   v.stream(p): a store that goes past the caches, to an address that is a multiple of what it stores; another thread
//   sees it after this one's stream_fence()
//   + - * / unary -, fma(a, b, c) = a * b + c, fnma(a, b, c) = c - a * b (one rounding each, but on scalar), sqrt, abs
//   max(a, b), min(a, b): b where either is NaN (as x86 defines them)
//   a < b, <=, >, >=, ==: Mask (false on NaN); is_nan(a); m & n, m | n, !m, any(m), all(m), first(n): lanes below n
//   select(m, a, b) = m ? a : b;   load_mask(const uint8_t* p, n): bytes that are not 0
//   round(a) to nearest even;   scale2(a, n) = a * 2^n for an integral n in the exponent's range
//   copysign(a, b): |a| with b's sign;   split_exponent(a): a = mantissa * 2^exponent, 1 <= mantissa < 2, for a normal
//   a >
//   0
//   reduce_add(a), reduce_max(a): over lanes, in one fixed tree order
//
// 16-bit storage, T = bf16 or f16: compute_t<T> is float (and T itself for the others). Vec<float>::load and store take
// bf16* and f16* too and convert, rounding to nearest even; widen(x) and narrow<T>(y) do so for one element. NaNs stay
// NaN. bf16 keeps subnormal numbers on every ISA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "common/half.h"

#define FASTATTN_INLINE inline __attribute__((always_inline))

#if !defined(FASTATTN_ISA)
#error "compile kernel sources with -DFASTATTN_ISA=scalar|avx2|avx512"
#endif

#define FASTATTN_STRING_(x) #x
#define FASTATTN_STRING(x) FASTATTN_STRING_(x)
#define FASTATTN_ISA_NAME FASTATTN_STRING(FASTATTN_ISA)

namespace fastattn::cpu::FASTATTN_ISA {

template <class T>
struct Vec;
template <class T>
struct Mask;
template <class T>
struct Split {
  Vec<T> mantissa, exponent;
};

template <class T>
struct ComputeType {
  using type = T;
};
template <>
struct ComputeType<bf16> {
  using type = float;
};
template <>
struct ComputeType<f16> {
  using type = float;
};
template <class T>
using compute_t = typename ComputeType<T>::type;
template <class T>
inline constexpr bool kIsHalf = !std::is_same_v<T, compute_t<T>>;

// One element, by its bits.
FASTATTN_INLINE float widen(bf16 x) { return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16); }
FASTATTN_INLINE float widen(f16 x) {
  const uint32_t sign = (x.bits & 0x8000u) << 16, rest = x.bits & 0x7fffu;
  if (rest >= 0x7c00) {  // inf, or a NaN, made quiet
    return __builtin_bit_cast(float, sign | 0x7f800000u | (rest & 0x3ff) << 13 | (rest > 0x7c00 ? 0x400000u : 0u));
  }
  if (rest >= 0x400) return __builtin_bit_cast(float, sign | ((rest << 13) + (112u << 23)));
  return __builtin_bit_cast(float, sign | __builtin_bit_cast(uint32_t, static_cast<float>(rest) * 0x1p-24f));
}
template <class T>
FASTATTN_INLINE T widen(T x) {
  return x;
}

template <class T>
FASTATTN_INLINE T narrow(compute_t<T> x) {
  return x;
}
template <>
FASTATTN_INLINE bf16 narrow<bf16>(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  if (x != x) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
template <>
FASTATTN_INLINE f16 narrow<f16>(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  uint32_t half;
  if (size > 0x7f800000) {
    half = 0x7e00 | (size >> 13 & 0x3ff);
  } else if (size >= 0x477ff000) {  // 65520 and more round to inf
    half = 0x7c00;
  } else if (size >= 0x38800000) {  // 2^-14, the smallest normal number
    half = (size + 0xfff + (size >> 13 & 1) - (112u << 23)) >> 13;
  } else {  // 1/2 has an ulp of 2^-24, which is that of f16's subnormal numbers: the sum rounds
    half = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, size) + 0.5f) - 0x3f000000u;
  }
  return {static_cast<uint16_t>(sign | half)};
}

}  // namespace fastattn::cpu::FASTATTN_ISA

#if defined(FASTATTN_ISA_IS_AVX512)
#include "avx512.h"
#elif defined(FASTATTN_ISA_IS_AVX2)
#include "avx2.h"
#else
#include "scalar.h"
#endif

namespace fastattn::cpu::FASTATTN_ISA {

template <class T>
FASTATTN_INLINE Vec<T>& operator+=(Vec<T>& a, Vec<T> b) {
  return a = a + b;
}
template <class T>
FASTATTN_INLINE Vec<T>& operator*=(Vec<T>& a, Vec<T> b) {
  return a = a * b;
}

// std::min and std::max are weak symbols outside the namespace where the compiler does not inline them.
template <class T>
FASTATTN_INLINE constexpr T min_of(T a, T b) {
  return b < a ? b : a;
}
template <class T>
FASTATTN_INLINE constexpr T max_of(T a, T b) {
  return a < b ? b : a;
}
FASTATTN_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
FASTATTN_INLINE constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

template <class T>
inline constexpr T kInf = static_cast<T>(__builtin_huge_val());
template <class T>
inline constexpr T kNaN = static_cast<T>(__builtin_nan(""));

}  // namespace fastattn::cpu::FASTATTN_ISA
