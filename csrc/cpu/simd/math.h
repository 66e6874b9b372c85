// Vector math, one definition for every ISA, over the primitives of simd.h. The largest error measured for each
// function stands in docs/numerics.md, and tests/cpu/test_simd_math.py holds every ISA to it.
#pragma once

#include "simd.h"

namespace fastattn::cpu::FASTATTN_ISA {

// exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2, r by a two-part ln 2 so that n * ln2_high is exact.
// Below kExpMin the result is 0, above kExpMax inf; NaN stays NaN.
// Source of the scheme: Cody and Waite, "Software Manual for the Elementary Functions" (1980), chapter 6.
FASTATTN_INLINE VecF exp(VecF x) {
  const VecF lo = VecF::set(-104.0f), hi = VecF::set(89.0f);
  VecF c = min(hi, max(lo, x));  // a NaN in x survives: it is the second operand
  VecF n = round(c * VecF::set(1.44269504f));
  VecF r = fnma(n, VecF::set(6.93359375e-1f), c);
  r = fnma(n, VecF::set(-2.12194440e-4f), r);
  VecF p = VecF::set(1.0f / 5040);
  p = fma(p, r, VecF::set(1.0f / 720));
  p = fma(p, r, VecF::set(1.0f / 120));
  p = fma(p, r, VecF::set(1.0f / 24));
  p = fma(p, r, VecF::set(1.0f / 6));
  p = fma(p, r, VecF::set(0.5f));
  p = fma(p * r, r, r) + VecF::set(1.0f);
  return scale2(p, n);
}

FASTATTN_INLINE VecD exp(VecD x) {
  const VecD lo = VecD::set(-746.0), hi = VecD::set(710.0);
  VecD c = min(hi, max(lo, x));
  VecD n = round(c * VecD::set(1.4426950408889634074));
  VecD r = fnma(n, VecD::set(6.93147180369123816490e-1), c);
  r = fnma(n, VecD::set(1.90821492927058770002e-10), r);
  VecD p = VecD::set(1.0 / 6227020800.0);
  p = fma(p, r, VecD::set(1.0 / 479001600.0));
  p = fma(p, r, VecD::set(1.0 / 39916800.0));
  p = fma(p, r, VecD::set(1.0 / 3628800.0));
  p = fma(p, r, VecD::set(1.0 / 362880.0));
  p = fma(p, r, VecD::set(1.0 / 40320.0));
  p = fma(p, r, VecD::set(1.0 / 5040.0));
  p = fma(p, r, VecD::set(1.0 / 720.0));
  p = fma(p, r, VecD::set(1.0 / 120.0));
  p = fma(p, r, VecD::set(1.0 / 24.0));
  p = fma(p, r, VecD::set(1.0 / 6.0));
  p = fma(p, r, VecD::set(0.5));
  p = fma(p * r, r, r) + VecD::set(1.0);
  return scale2(p, n);
}

}  // namespace fastattn::cpu::FASTATTN_ISA
