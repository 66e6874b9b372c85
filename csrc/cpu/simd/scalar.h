// One lane: what runs on any machine, and what the vector ISAs are tested against. The interface is described in
// simd.h. fma is a product and a sum here: without the instruction a fused one is a library call.
#pragma once

namespace fastattn::cpu::FASTATTN_ISA {

template <class T>
struct Mask {
  bool m;
  static FASTATTN_INLINE Mask first(int n) { return {n > 0}; }
  friend FASTATTN_INLINE Mask operator&(Mask a, Mask b) { return {a.m && b.m}; }
  friend FASTATTN_INLINE Mask operator|(Mask a, Mask b) { return {a.m || b.m}; }
  friend FASTATTN_INLINE Mask operator!(Mask a) { return {!a.m}; }
};
template <class T>
FASTATTN_INLINE bool any(Mask<T> a) {
  return a.m;
}
template <class T>
FASTATTN_INLINE bool all(Mask<T> a) {
  return a.m;
}

template <class T>
struct Vec {
  static constexpr int kLanes = 1;
  T v;
  static FASTATTN_INLINE Vec zero() { return {0}; }
  static FASTATTN_INLINE Vec set(T x) { return {x}; }
  static FASTATTN_INLINE Vec load(const T* p) { return {*p}; }
  static FASTATTN_INLINE Vec load(const T* p, int n) { return {n > 0 ? *p : T(0)}; }
  FASTATTN_INLINE void store(T* p) const { *p = v; }
  FASTATTN_INLINE void store(T* p, int n) const {
    if (n > 0) *p = v;
  }
  friend FASTATTN_INLINE Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
  friend FASTATTN_INLINE Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
  friend FASTATTN_INLINE Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
  friend FASTATTN_INLINE Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
  friend FASTATTN_INLINE Vec operator-(Vec a) { return {-a.v}; }
  friend FASTATTN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
  friend FASTATTN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {c.v - a.v * b.v}; }
  friend FASTATTN_INLINE Vec max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
  friend FASTATTN_INLINE Vec min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }
  friend FASTATTN_INLINE Mask<T> operator<(Vec a, Vec b) { return {a.v < b.v}; }
  friend FASTATTN_INLINE Mask<T> operator<=(Vec a, Vec b) { return {a.v <= b.v}; }
  friend FASTATTN_INLINE Mask<T> operator>(Vec a, Vec b) { return {a.v > b.v}; }
  friend FASTATTN_INLINE Mask<T> operator>=(Vec a, Vec b) { return {a.v >= b.v}; }
  friend FASTATTN_INLINE Mask<T> operator==(Vec a, Vec b) { return {a.v == b.v}; }
  friend FASTATTN_INLINE Mask<T> is_nan(Vec a) { return {a.v != a.v}; }
  friend FASTATTN_INLINE Vec select(Mask<T> m, Vec a, Vec b) { return {m.m ? a.v : b.v}; }
};

using VecF = Vec<float>;
using VecD = Vec<double>;

FASTATTN_INLINE VecF sqrt(VecF a) { return {__builtin_sqrtf(a.v)}; }
FASTATTN_INLINE VecD sqrt(VecD a) { return {__builtin_sqrt(a.v)}; }
FASTATTN_INLINE VecF abs(VecF a) { return {__builtin_fabsf(a.v)}; }
FASTATTN_INLINE VecD abs(VecD a) { return {__builtin_fabs(a.v)}; }
FASTATTN_INLINE VecF round(VecF a) { return {__builtin_rintf(a.v)}; }
FASTATTN_INLINE VecD round(VecD a) { return {__builtin_rint(a.v)}; }
FASTATTN_INLINE VecF scale2(VecF a, VecF n) { return {__builtin_ldexpf(a.v, static_cast<int>(n.v))}; }
FASTATTN_INLINE VecD scale2(VecD a, VecD n) { return {__builtin_ldexp(a.v, static_cast<int>(n.v))}; }

template <class T>
FASTATTN_INLINE Mask<T> load_mask(const uint8_t* p, int n) {
  return {n > 0 && *p != 0};
}
template <class T>
FASTATTN_INLINE T reduce_add(Vec<T> a) {
  return a.v;
}
template <class T>
FASTATTN_INLINE T reduce_max(Vec<T> a) {
  return a.v;
}

}  // namespace fastattn::cpu::FASTATTN_ISA
