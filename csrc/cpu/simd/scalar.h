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
  template <class U>
  FASTATTN_INLINE void stream(U* p) const {
    store(p);
  }
  FASTATTN_INLINE void store(T* p, int n) const {
    if (n > 0) *p = v;
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  static FASTATTN_INLINE Vec load(const H* p) {
    return {widen(*p)};
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  static FASTATTN_INLINE Vec load(const H* p, int n) {
    return {n > 0 ? widen(*p) : T(0)};
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  FASTATTN_INLINE void store(H* p) const {
    *p = narrow<H>(v);
  }
  template <class H, class = std::enable_if_t<kIsHalf<H>>>
  FASTATTN_INLINE void store(H* p, int n) const {
    if (n > 0) *p = narrow<H>(v);
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

FASTATTN_INLINE void stream_fence() {}

using VecF = Vec<float>;
using VecD = Vec<double>;

FASTATTN_INLINE VecF sqrt(VecF a) { return {__builtin_sqrtf(a.v)}; }
FASTATTN_INLINE VecD sqrt(VecD a) { return {__builtin_sqrt(a.v)}; }
FASTATTN_INLINE VecF abs(VecF a) { return {__builtin_fabsf(a.v)}; }
FASTATTN_INLINE VecD abs(VecD a) { return {__builtin_fabs(a.v)}; }
FASTATTN_INLINE VecF round(VecF a) { return {__builtin_rintf(a.v)}; }
FASTATTN_INLINE VecD round(VecD a) { return {__builtin_rint(a.v)}; }
FASTATTN_INLINE VecF copysign(VecF a, VecF b) { return {__builtin_copysignf(a.v, b.v)}; }
FASTATTN_INLINE VecD copysign(VecD a, VecD b) { return {__builtin_copysign(a.v, b.v)}; }

// 2^n is built in two halves, so that results in the subnormal range and n = 128 (1024) come out right. The exponent of
// a NaN's n is anything; a carries the NaN.
FASTATTN_INLINE VecF scale2(VecF a, VecF n) {
  uint32_t whole = n.v == n.v ? static_cast<uint32_t>(static_cast<int32_t>(n.v)) : 0;
  uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(whole) >> 1);
  float p = __builtin_bit_cast(float, (half + 127) << 23);
  float q = __builtin_bit_cast(float, (whole - half + 127) << 23);
  return {a.v * p * q};
}
FASTATTN_INLINE VecD scale2(VecD a, VecD n) {
  uint64_t whole = n.v == n.v ? static_cast<uint64_t>(static_cast<int64_t>(n.v)) : 0;
  uint64_t half = static_cast<uint64_t>(static_cast<int64_t>(whole) >> 1);
  double p = __builtin_bit_cast(double, (half + 1023) << 52);
  double q = __builtin_bit_cast(double, (whole - half + 1023) << 52);
  return {a.v * p * q};
}

FASTATTN_INLINE Split<float> split_exponent(VecF a) {
  uint32_t bits = __builtin_bit_cast(uint32_t, a.v);
  return {{__builtin_bit_cast(float, (bits & 0x7fffff) | 0x3f800000)},
          {static_cast<float>(static_cast<int32_t>(bits >> 23) - 127)}};
}
FASTATTN_INLINE Split<double> split_exponent(VecD a) {
  uint64_t bits = __builtin_bit_cast(uint64_t, a.v);
  return {{__builtin_bit_cast(double, (bits & 0xfffffffffffff) | 0x3ff0000000000000)},
          {static_cast<double>(static_cast<int64_t>(bits >> 52) - 1023)}};
}

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
