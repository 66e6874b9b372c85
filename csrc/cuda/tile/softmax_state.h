// Online softmax: one associative state, with the verbs of the CPU's (csrc/cpu/kernels/softmax_state.h).
//
//   row_max = max of the scores so far,   row_sum = sum of exp(score - row_max);   identity: (-inf, 0)
//
// Scores are natural, not in units of log2, for the reasons given there. A thread holds the state of the part of a row
// that it has seen; rescale_to brings parts to a common maximum, after which their sums add up. Source: Milakov and
// Gimelshein, "Online normalizer calculation for softmax" (2018), section 3.
#pragma once

#include "cuda/platform.h"
#include "cuda/ptx/math.h"

namespace fastattn::cuda {

inline constexpr float kLog2E = 1.44269504f;
inline constexpr float kInf = __builtin_inff();

// exp(x) for x <= 0, or a little above: |x| eps / 2 of itself by the product, 2 units in the last place by ex2.
__device__ inline float exp_score(float x) { return ptx::exp2_approx(x * kLog2E); }

struct SoftmaxState {
  float row_max, row_sum;

  __device__ static SoftmaxState init() { return {-kInf, 0.0f}; }

  // What scores are taken relative to: 0 while nothing was seen, since -inf - -inf is not a number.
  __device__ float base() const { return row_max == -kInf ? 0.0f : row_max; }

  // Brings the state to a maximum that is no less than its own.
  __device__ void rescale_to(float new_max) {
    const float old_max = row_max;
    row_max = new_max;
    row_sum = old_max == -kInf ? row_sum : __fmul_rn(row_sum, exp_score(old_max - new_max));
  }

  // Takes in n scores.
  template <int n>
  __device__ void update(const float (&scores)[n]) {
    float new_max = row_max;
    for (int i = 0; i < n; ++i) new_max = fmaxf(new_max, scores[i]);
    rescale_to(new_max);
    for (int i = 0; i < n; ++i) row_sum += exp_score(scores[i] - base());
  }

  // 1 / row_sum, or 0 for a row that saw nothing.
  __device__ float inverse_sum() const { return row_sum == 0.0f ? 0.0f : 1.0f / row_sum; }

  // log(sum(exp(scores))), natural.
  __device__ float lse() const { return row_sum == 0.0f ? -kInf : row_max + logf(row_sum); }
};

}  // namespace fastattn::cuda
