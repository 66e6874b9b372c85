// SIMD vectors of the ISA that this translation unit is compiled for. A kernel source includes this header and is
// compiled once per ISA, with FASTATTN_ISA set to scalar, avx2 or avx512; everything lands in
// fastattn::cpu::FASTATTN_ISA, so that no inline function compiled for one ISA can be the copy that the linker keeps
// for another.
//
// Vec<T>, T = float or double, and Mask<T>:
//   Vec<T>::kLanes; zero(), set(x), load(p), load(p, n), v.store(p), v.store(p, n)   (n < kLanes lanes; the others read
//   0)
//   + - * / unary -, fma(a, b, c) = a * b + c, fnma(a, b, c) = c - a * b (one rounding each, but on scalar), sqrt, abs
//   max(a, b), min(a, b): b where either is NaN (as x86 defines them)
//   a < b, <=, >, >=, ==: Mask (false on NaN); is_nan(a); m & n, m | n, !m, any(m), all(m), first(n): lanes below n
//   select(m, a, b) = m ? a : b;   load_mask(const uint8_t* p, n): bytes that are not 0
//   round(a) to nearest even;   scale2(a, n) = a * 2^n for an integral n in the exponent's range
//   copysign(a, b): |a| with b's sign;   split_exponent(a): a = mantissa * 2^exponent, 1 <= mantissa < 2, for a normal
//   a >
//   0
//   reduce_add(a), reduce_max(a): over lanes, in one fixed tree order
#pragma once

#include <cstddef>
#include <cstdint>

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
