// Vector math, one definition for every ISA, over the primitives of simd.h. The largest error measured for each
// function stands in docs/numerics.md, and tests/core/test_simd_math.py holds every ISA to it.
//
// Polynomials are near-minimax fits (Chebyshev, or Lawson's weighted least squares) of this project's own, made in 50
// digits; the fitted function and its domain stand beside each. Everything is branch-free: both sides of a range split
// are computed and one is selected.
#pragma once

#include "simd.h"

namespace fastattn::cpu::FASTATTN_ISA {

// c[0] x^n + ... + c[n] by Horner's rule.
template <class T, class... C>
FASTATTN_INLINE Vec<T> poly(Vec<T> x, T first, C... rest) {
  Vec<T> p = Vec<T>::set(first);
  ((p = fma(p, x, Vec<T>::set(rest))), ...);
  return p;
}

// The same by even and odd powers, an even number of coefficients: one multiplication more, half the chain. For loops
// that wait for latency: a core holds only four or so iterations of 30 operations in flight.
template <class T, class... C>
FASTATTN_INLINE Vec<T> poly_split(Vec<T> x, C... coefficients) {
  constexpr int kCount = sizeof...(C);
  static_assert(kCount % 2 == 0 && kCount >= 4);
  const T c[kCount] = {coefficients...};
  Vec<T> square = x * x;
  Vec<T> odd = Vec<T>::set(c[0]), even = Vec<T>::set(c[1]);
#pragma GCC unroll 16
  for (int i = 2; i < kCount; i += 2) {
    odd = fma(odd, square, Vec<T>::set(c[i]));
    even = fma(even, square, Vec<T>::set(c[i + 1]));
  }
  return fma(odd, x, even);
}

// --- exp -----------------------------------------------------------------------------------------------------------
// exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2, r by a two-part ln 2 so that n * ln2_high is exact.
// Source of the scheme: Cody and Waite, "Software Manual for the Elementary Functions" (1980), chapter 6.

// exp(r) - 1 for |r| <= ln(2) / 2, with a small relative error: r + r^2 P(r), P fitted to (exp(r) - 1 - r) / r^2.
FASTATTN_INLINE VecF expm1_reduced(VecF r) {
  VecF p = poly(r, 1.39262681e-3f, 8.36324667e-3f, 4.16665541e-2f, 1.66665766e-1f, 0.5f);
  return fma(p * r, r, r);
}
FASTATTN_INLINE VecD expm1_reduced(VecD r) {
  VecD p = poly(r, 2.5100494788905040488e-8, 2.7620230567506897894e-7, 2.7557268229963225661e-6,
                2.4801520996825695798e-5, 1.9841269863201828392e-4, 1.3888888917406445626e-3, 8.3333333333300321239e-3,
                4.1666666666623741555e-2, 1.6666666666666667462e-1, 0.5);
  return fma(p * r, r, r);
}

// x - n ln 2, and n = round(x / ln 2).
FASTATTN_INLINE VecF multiple_of_ln2(VecF x) { return round(x * VecF::set(1.44269504f)); }
FASTATTN_INLINE VecD multiple_of_ln2(VecD x) { return round(x * VecD::set(1.4426950408889634074)); }
FASTATTN_INLINE VecF minus_ln2(VecF x, VecF n) {
  VecF r = fnma(n, VecF::set(6.93359375e-1f), x);
  return fnma(n, VecF::set(-2.12194440e-4f), r);
}
FASTATTN_INLINE VecD minus_ln2(VecD x, VecD n) {
  VecD r = fnma(n, VecD::set(6.93147180369123816490e-1), x);
  return fnma(n, VecD::set(1.90821492927058770002e-10), r);
}

// exp(x) for an x in the range where n is a legal exponent: lo <= x <= hi, or NaN.
template <class T>
FASTATTN_INLINE Vec<T> exp_in_range(Vec<T> x) {
  Vec<T> n = multiple_of_ln2(x);
  return scale2(expm1_reduced(minus_ln2(x, n)) + Vec<T>::set(1), n);
}

// Below lo the result is 0, above hi inf; NaN stays NaN (it is the second operand of max and min).
FASTATTN_INLINE VecF exp(VecF x) { return exp_in_range(min(VecF::set(89.0f), max(VecF::set(-104.0f), x))); }
FASTATTN_INLINE VecD exp(VecD x) { return exp_in_range(min(VecD::set(710.0), max(VecD::set(-746.0), x))); }
// exp(x) of an x that is 0 or less, a little more by its rounding, or NaN.
FASTATTN_INLINE VecF exp_negative(VecF x) { return exp_in_range(max(VecF::set(-104.0f), x)); }
FASTATTN_INLINE VecD exp_negative(VecD x) { return exp_in_range(max(VecD::set(-746.0), x)); }

// 2^r / 2 for |r| <= 1/2.
FASTATTN_INLINE VecF half_exp2_reduced(VecF r) {
  return poly(r, 7.72658145e-5f, 6.6954317e-4f, 4.80904128e-3f, 2.775178555e-2f, 1.20113254e-1f, 3.46573594e-1f, 0.5f);
}

// --- log -----------------------------------------------------------------------------------------------------------
// log(x) = e ln 2 + log(1 + f), x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2);  log(1 + f) = f - f^2/2 + s (f^2/2 + z
// R(z)), s = f / (2 + f), z = s^2, R fitted to (2 atanh(s) / s - 2) / z.
// Source of the scheme: FreeBSD msun, e_log.c (Sun Microsystems, 1993).
FASTATTN_INLINE VecF log_series(VecF z) {
  return z * poly(z, 2.33304672e-1f, 2.85508208e-1f, 4.00001218e-1f, 6.66666666e-1f);
}
FASTATTN_INLINE VecD log_series(VecD z) {
  return z * poly(z, 1.461644968504340586e-1, 1.5331721600556041269e-1, 1.818288912526172208e-1,
                  2.2222211134795079855e-1, 2.8571428625975484921e-1, 3.999999999989950449e-1,
                  6.6666666666666696862e-1);
}
FASTATTN_INLINE VecF ln2_high(VecF) { return VecF::set(6.93359375e-1f); }
FASTATTN_INLINE VecF ln2_low(VecF) { return VecF::set(-2.12194440e-4f); }
FASTATTN_INLINE VecD ln2_high(VecD) { return VecD::set(6.93147180369123816490e-1); }
FASTATTN_INLINE VecD ln2_low(VecD) { return VecD::set(1.90821492927058770002e-10); }
FASTATTN_INLINE constexpr float min_normal(float) { return 1.17549435e-38f; }
FASTATTN_INLINE constexpr double min_normal(double) { return 2.2250738585072014e-308; }

template <class T>
FASTATTN_INLINE Vec<T> log(Vec<T> x) {
  using V = Vec<T>;
  const V one = V::set(1);
  // Subnormals are brought into range first: split_exponent reads the bits of a normal number.
  auto small = x < V::set(min_normal(T(0)));
  Split<T> parts = split_exponent(select(small, x * V::set(T(1ll << 54)), x));
  V e = select(small, parts.exponent - V::set(54), parts.exponent);
  auto big = parts.mantissa > V::set(T(1.4142135623730951));
  V f = select(big, parts.mantissa * V::set(T(0.5)), parts.mantissa) - one;
  e = select(big, e + one, e);
  V s = f / (V::set(2) + f);
  V half_square = V::set(T(0.5)) * f * f;
  V series = log_series(s * s);
  V correction = fma(e, ln2_low(x), s * (half_square + series));
  V y = fma(e, ln2_high(x), f - (half_square - correction));
  y = select(x == V::set(kInf<T>), x, y);
  y = select(x == V::zero(), V::set(-kInf<T>), y);
  return select(x >= V::zero(), y, V::set(kNaN<T>));
}

// --- tanh ----------------------------------------------------------------------------------------------------------
// tanh(a) = a + a z P(z), z = a^2, for a = |x| below 0.6, P fitted to (tanh(a) / a - 1) / z;  1 - 2 / (exp(2a) + 1)
// from there on, and from 10 (20) on it rounds to 1.
FASTATTN_INLINE VecF tanh_series(VecF z) {
  return z * poly(z, -6.26911972e-3f, 2.1110959e-2f, -5.38739488e-2f, 1.33329154e-1f, -3.33333303e-1f);
}
FASTATTN_INLINE VecD tanh_series(VecD z) {
  return z * poly(z, -1.8335962110039419923e-5, 8.1547378065253651385e-5, -2.32251040679385094e-4,
                  5.8805415484187290001e-4, -1.4554648028007449162e-3, 3.5920831663434575029e-3,
                  -8.8632321135414731873e-3, 2.1869488383780929152e-2, -5.3968253964757624783e-2,
                  1.3333333333330196177e-1, -3.3333333333333328669e-1);
}
template <class T>
FASTATTN_INLINE Vec<T> tanh(Vec<T> x) {
  using V = Vec<T>;
  const V one = V::set(1), two = V::set(2), split = V::set(T(0.6));
  V a = min(V::set(sizeof(T) == 4 ? T(10) : T(20)), abs(x));
  V inner = min(split, a);
  V near = fma(a, tanh_series(inner * inner), a);
  V far = one - two / (exp_in_range(a * two) + one);
  return copysign(select(a < split, near, far), x);
}

// --- the normal distribution's tail, erf -----------------------------------------------------------------------------
// Q(t) = (1 - erf(t / sqrt 2)) / 2 = exp(-t^2 / 2) M(t) for t >= 0, M a polynomial in s = 1 / (1 + c t), of which M is
// a smooth function over all the range. The rounding error of t^2, which exp would blow up, is put back into its
// argument where fma is fused.

// M(t) for 0 <= t <= 14.6 (float), 39 (double): beyond, t Q(t) is less than the smallest subnormal.
FASTATTN_INLINE VecF tail_over_density(VecF t) {
  VecF s = VecF::set(1.0f) / fma(t, VecF::set(0.26f), VecF::set(1.0f));
  return poly_split(s, 3.39263038e-2f, -1.70519449e-1f, 2.90983921e-1f, -2.00813584e-1f, 2.00119558e-1f, 3.12064684e-2f,
                    1.0948199e-1f, 1.0171534e-1f, 1.03906623e-1f, -7.16730732e-6f);
}
FASTATTN_INLINE VecD tail_over_density(VecD t) {
  VecD s = VecD::set(1.0) / fma(t, VecD::set(0.21875), VecD::set(1.0));
  return s * poly(s, -1.31311720751156853e-3, 1.42914291253401287e-2, -7.05432934173590678e-2, 2.07929949719722926e-1,
                  -4.06585607685309426e-1, 5.58073416000463059e-1, -5.62652447336221496e-1, 4.36545864304704612e-1,
                  -2.65433725842253889e-1, 1.22698591969817815e-1, -5.03833272537461317e-2, 1.51519873365512006e-2,
                  4.95847740228004159e-3, 2.01721440805893746e-2, 3.33916043718720711e-2, 4.85154514401009286e-2,
                  6.28118432833733241e-2, 7.47408283992680827e-2, 8.30926836603746601e-2, 8.72686238092337334e-2,
                  8.72686238387095876e-2);
}
FASTATTN_INLINE VecF last_tail(VecF) { return VecF::set(14.5f); }
FASTATTN_INLINE VecD last_tail(VecD) { return VecD::set(38.8); }

// exp(-t^2 / 2) = value * 2^exponent, kept apart so that a product with it is rounded once where it is subnormal.
template <class T>
struct Density {
  Vec<T> value, exponent;
};
template <class T>
FASTATTN_INLINE Density<T> normal_density(Vec<T> t) {
  using V = Vec<T>;
  V square = t * t;
  V rest = fma(t, t, -square);  // 0 where fma is not fused
  V y = square * V::set(T(-0.5));
  V n = multiple_of_ln2(y);
  V r = fnma(rest, V::set(T(0.5)), minus_ln2(y, n));
  return {expm1_reduced(r) + V::set(1), n};
}

// erf(x) = x + x (c + z P(z)), z = x^2, below 1: P fitted to (erf(x) / x - 2 / sqrt(pi)) / z, c = 2 / sqrt(pi) - 1.
FASTATTN_INLINE VecF erf_series(VecF z) {
  return poly(z, 8.37975558e-5f, -8.16198654e-4f, 5.20457878e-3f, -2.686170e-2f, 1.12837537e-1f, -3.76126384e-1f,
              1.28379167e-1f);
}
FASTATTN_INLINE VecD erf_series(VecD z) {
  return poly(z, 6.1740972213052543004e-11, -1.1500357159785294822e-9, 1.4692484859133263156e-8,
              -1.6355118610877705691e-7, 1.646144665692856114e-6, -1.492562250448983131e-5, 1.2055332214716275726e-4,
              -8.5483270100333279946e-4, 5.2239776253035178947e-3, -2.6866170645123839488e-2, 1.1283791670955110207e-1,
              -3.7612638903183752409e-1, 1.2837916709551257390e-1);
}
template <class T>
FASTATTN_INLINE Vec<T> erf(Vec<T> x) {
  using V = Vec<T>;
  const V one = V::set(1);
  V a = abs(x);
  V z = min(one, a);
  V near = fma(a, erf_series(z * z), a);
  V t = min(V::set(10), a * V::set(T(1.4142135623730950488)));
  Density<T> e = normal_density(t);
  V far = one - scale2(e.value * tail_over_density(t) * V::set(2), e.exponent);
  return copysign(select(a < one, near, far), x);
}

// --- gelu ----------------------------------------------------------------------------------------------------------
// gelu(x) = x Phi(x) = max(x, 0) - |x| Q(|x|): no cancellation on either side, so the left tail keeps its digits.
// gelu'(x) = Phi(x) + x phi(x) = D for x <= 0, 1 - D for x > 0, D = Q(t) - t phi(t) = exp(-t^2 / 2) (M(t) - t / sqrt(2
// pi)), t = |x|.
FASTATTN_INLINE VecD gelu(VecD x) {
  VecD t = min(last_tail(x), abs(x));
  Density<double> e = normal_density(t);
  VecD tail = scale2(e.value * (tail_over_density(t) * t), e.exponent);
  // Near 0, where M's rounding errors are largest, x (1 + erf(x / sqrt 2)) / 2 by erf's series.
  VecD y = min(VecD::set(1.0), t * VecD::set(0.70710678118654752440));
  VecD half_erf = copysign(VecD::set(0.5) * fma(y, erf_series(y * y), y), x);
  VecD near = fma(x, half_erf, x * VecD::set(0.5));
  return select(t < VecD::set(1.0), near, max(VecD::zero(), x) - tail);
}
// The float tail is 2^(t P(t) - 1), one polynomial fitted to log2(2 Q(t)) / t and no division, up to t = 9, where the
// product is 1e-18, and 0 beyond.
FASTATTN_INLINE VecF gelu(VecF x) {
  const VecF last = VecF::set(9.0f);
  VecF t = min(last, abs(x));
  VecF y = t * poly_split(t, -7.28515246e-11f, 4.09873248e-09f, -1.02044478e-07f, 1.47671644e-06f, -1.36369183e-05f,
                          8.13765329e-05f, -2.75853354e-4f, -3.50199694e-05f, 7.01143903e-3f, -5.24941655e-2f,
                          -4.59202022e-1f, -1.15110633f);
  VecF n = round(y);
  VecF tail = scale2(t * half_exp2_reduced(y - n), n);
  return max(VecF::zero(), x) - select(t < last, tail, VecF::zero());
}
template <class T>
FASTATTN_INLINE Vec<T> gelu_grad(Vec<T> x) {
  using V = Vec<T>;
  V t = min(last_tail(x), abs(x));
  Density<T> e = normal_density(t);
  V d = scale2(e.value * fnma(t, V::set(T(0.39894228040143267794)), tail_over_density(t)), e.exponent);
  return select(x > V::zero(), V::set(1) - d, d);
}

// The tanh form is x * sigmoid(2u) = x / (1 + exp(-2u)), 2u = 2 sqrt(2/pi) (x + 0.044715 x^3), x held where exp(-2u)
// overflows to inf, and the quotient is then 0.
template <class T>
FASTATTN_INLINE Vec<T> last_gelu_tanh() {
  return Vec<T>::set(sizeof(T) == 4 ? T(10.5) : T(23));
}
template <class T>
FASTATTN_INLINE Vec<T> gelu_tanh(Vec<T> x) {
  using V = Vec<T>;
  const V last = last_gelu_tanh<T>();
  V floor = max(-last, x);
  V c = min(last, floor);
  V y = c * fnma(c * c, V::set(T(0.071354816272600248776)), V::set(T(-1.5957691216057307118)));
  y = min(V::set(sizeof(T) == 4 ? T(89) : T(710)), max(V::set(sizeof(T) == 4 ? T(-104) : T(-746)), y));
  return floor / (V::set(1) + exp_in_range(y));
}
// The derivative is s + x s (1 - s) 2u', s = sigmoid(2u), from e = exp(-|2u|) <= 1, so that neither s nor 1 - s
// cancels.
template <class T>
FASTATTN_INLINE Vec<T> gelu_tanh_grad(Vec<T> x) {
  using V = Vec<T>;
  const V last = last_gelu_tanh<T>(), one = V::set(1);
  V c = min(last, max(-last, x));
  V square = c * c;
  V a = abs(c) * fma(square, V::set(T(0.071354816272600248776)), V::set(T(1.5957691216057307118)));
  V e = exp_negative(-a);
  V slope = fma(square, V::set(T(3 * 0.071354816272600248776)), V::set(T(1.5957691216057307118)));
  V inverse = one / (one + e);
  V s = select(c > V::zero(), inverse, e * inverse);
  return fma(c * slope, e * inverse * inverse, s);
}

// --- sigmoid and silu ------------------------------------------------------------------------------------------------
// sigmoid(x) = 1 / (1 + e) and its complement e / (1 + e) for x > 0, the other way round for x <= 0, from e = exp(-|x|)
// <= 1: neither overflows or cancels. silu(x) = x sigmoid(x), silu'(x) = sigmoid(x) + x sigmoid(x) (1 - sigmoid(x)).
template <class T>
struct Sigmoid {
  Vec<T> value, complement;
};
template <class T>
FASTATTN_INLINE Sigmoid<T> sigmoid_parts(Vec<T> x) {
  using V = Vec<T>;
  const V one = V::set(1);
  V e = exp_negative(-abs(x));
  V larger = one / (one + e), smaller = e * larger;
  auto positive = x > V::zero();
  return {select(positive, larger, smaller), select(positive, smaller, larger)};
}
// Beyond -last, sigmoid(x) is 0, and silu(x) too, also for -inf; beyond last, 1 - sigmoid(x) is.
template <class T>
FASTATTN_INLINE Vec<T> last_silu() {
  return Vec<T>::set(sizeof(T) == 4 ? T(105) : T(747));
}
template <class T>
FASTATTN_INLINE Vec<T> sigmoid(Vec<T> x) {
  return sigmoid_parts(x).value;
}
template <class T>
FASTATTN_INLINE Vec<T> sigmoid_grad(Vec<T> x) {
  Sigmoid<T> s = sigmoid_parts(x);
  return s.value * s.complement;
}
template <class T>
FASTATTN_INLINE Vec<T> silu(Vec<T> x) {
  return max(-last_silu<T>(), x) * sigmoid_parts(x).value;
}
template <class T>
FASTATTN_INLINE Vec<T> silu_grad(Vec<T> x) {
  Sigmoid<T> s = sigmoid_parts(x);
  Vec<T> c = min(last_silu<T>(), max(-last_silu<T>(), x));
  return fma(c * s.value, s.complement, s.value);
}

}  // namespace fastattn::cpu::FASTATTN_ISA
