// Online softmax: one associative state per row, with verbs init, update and finalize (inverse_sum, lse).
//
//   row_max = max of the scores so far,   row_sum = sum of exp(score - row_max);   identity: (-inf, 0)
//
// A vector of states, one row a lane. Scores are natural, not in units of log2: lse of a row that one key dominates is
// then that key's score to the bit, so the backward's exp(score - lse) is 1 however large the scores are; and the most
// negative finite number, which masks are made of, does not overflow to -inf. It costs one product a score.
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 3.
#pragma once

#include "cpu/simd/math.h"
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

inline constexpr double kLog2E = 1.4426950408889634074;

// 2^x for x <= 127 (1023): 0 below the subnormals and for -inf, exactly 1 at 0, NaN for NaN. 2^r, |r| <= 1/2, by a
// polynomial: f32 a minimax one of degree 6 (relative error 2e-9; degree 5 has 9e-8, which shows in the gradients and
// saves half a percent), f64 Taylor's of degree 13 (4e-18).
FASTATTN_INLINE VecF exp2_score(VecF x) {
  x = max(VecF::set(-152.0f), x);  // a NaN in x survives: it is the second operand
  VecF n = round(x), r = x - n;
  VecF p = VecF::set(0.00015353362f);
  p = fma(p, r, VecF::set(0.0013398874f));
  p = fma(p, r, VecF::set(0.009618437f));
  p = fma(p, r, VecF::set(0.055503324f));
  p = fma(p, r, VecF::set(0.24022648f));
  p = fma(p, r, VecF::set(0.6931472f));
  p = fma(p, r, VecF::set(1.0f));
  return scale2(p, n);
}
FASTATTN_INLINE VecD exp2_score(VecD x) {
  x = max(VecD::set(-1078.0), x);
  VecD n = round(x), r = x - n;
  VecD p = VecD::set(1.3691488853904129e-12);
  p = fma(p, r, VecD::set(2.5678435993488206e-11));
  p = fma(p, r, VecD::set(4.4455382718708116e-10));
  p = fma(p, r, VecD::set(7.0549116208011234e-09));
  p = fma(p, r, VecD::set(1.0178086009239699e-07));
  p = fma(p, r, VecD::set(1.3215486790144309e-06));
  p = fma(p, r, VecD::set(1.5252733804059840e-05));
  p = fma(p, r, VecD::set(1.5403530393381609e-04));
  p = fma(p, r, VecD::set(1.3333558146428443e-03));
  p = fma(p, r, VecD::set(9.6181291076284772e-03));
  p = fma(p, r, VecD::set(5.5504108664821580e-02));
  p = fma(p, r, VecD::set(2.4022650695910072e-01));
  p = fma(p, r, VecD::set(6.9314718055994531e-01));
  p = fma(p, r, VecD::set(1.0));
  return scale2(p, n);
}

// exp(x) for x <= 0, or a little above. The product's rounding moves the result by |x| eps/2 of itself, which is at
// most eps/4 of 1.
template <class T>
FASTATTN_INLINE Vec<T> exp_score(Vec<T> x) {
  return exp2_score(x * Vec<T>::set(static_cast<T>(kLog2E)));
}

template <class T>
struct SoftmaxState {
  using V = Vec<T>;
  V row_max, row_sum;

  // One score has been seen already: a sink, or -inf, which is none.
  static FASTATTN_INLINE SoftmaxState init(T first) { return {V::set(first), V::set(first == -kInf<T> ? 0 : 1)}; }

  // What scores are taken relative to: 0 while nothing was seen, since -inf - -inf is not a number.
  FASTATTN_INLINE V base() const { return select(row_max == V::set(-kInf<T>), V::zero(), row_max); }

  // Takes in the maximum of the next scores; the caller then adds their exponentials to row_sum. Returns the factor
  // that everything summed so far has shrunk by.
  FASTATTN_INLINE V update(V next_max) {
    const V old_max = row_max;
    row_max = max(old_max, next_max);
    V shrink = exp_score(old_max - base());
    row_sum = row_sum * shrink;
    return shrink;
  }

  // 1 / row_sum, or 0 for a row that saw nothing.
  FASTATTN_INLINE V inverse_sum() const { return select(row_sum == V::zero(), V::zero(), V::set(1) / row_sum); }

  // log(sum(exp(scores))), natural.
  FASTATTN_INLINE V lse() const { return select(row_sum == V::zero(), V::set(-kInf<T>), row_max + log(row_sum)); }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
