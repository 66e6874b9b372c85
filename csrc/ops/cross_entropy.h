/* cross_entropy of logits (..., C), classes along the last axis, against target: class ids (...) or probabilities
 * (..., C).
 *
 *   q_ic = weight_c ((1 - label_smoothing) y_ic + label_smoothing / C),   y = target, or 1 at the class id and else 0
 *   loss_i = sum_c q_ic (lse_i - logits_ic),   lse_i = log(sum(exp(logits_i)))      (0 where target_i == ignore_index)
 *   reduction none: loss (...);  sum: loss () = sum_i loss_i;  mean: sum_i loss_i / divisor
 *   divisor: of class ids the sum of weight[target_i] over the rows not ignored (NaN if there are none); of
 *            probabilities the number of rows
 *
 * Absent, weight is 1. q = 0 adds 0 whatever the logit. lse (...) is kept for the backward:
 *   dlogits_ic = g_i (exp(logits_ic - lse_i) sum_k q_ik - q_ic),   g_i = dloss [/ divisor]          (0 where ignored)
 *   dtarget_ic = g_i (1 - label_smoothing) weight_c (lse_i - logits_ic)
 *
 * A class id outside 0..C-1 that is not ignore_index is FA_INVALID, before anything is written.
 * On CUDA, where nobody waits for the ids, its row's loss is NaN, and so is the reduced loss; its gradients are 0, and
 * it does not count in the divisor. dtypes: logits, weight, probabilities, dlogits and dtarget of one floating dtype;
 * loss, lse and dloss of its accumulator's (f64 for f64, else f32); ids i32 or i64. Any strides; probabilities, dlogits
 * and dtarget contiguous along C. Source: Szegedy et al., "Rethinking the Inception architecture" (2016), section 7,
 * for the smoothing.
 */
#ifndef FASTATTN_OPS_CROSS_ENTROPY_H
#define FASTATTN_OPS_CROSS_ENTROPY_H

#include "types.h"

typedef enum fa_reduction { FA_REDUCE_NONE = 0, FA_REDUCE_SUM = 1, FA_REDUCE_MEAN = 2 } fa_reduction;

typedef struct fa_cross_entropy_fwd_params {
  fa_tensor logits; /* (..., C) */
  fa_tensor target; /* (...) or (..., C) */
  fa_tensor weight; /* (C) or absent */
  fa_tensor loss;   /* (...) or () */
  fa_tensor lse;    /* (...) or absent */
  int64_t ignore_index;
  int32_t reduction; /* fa_reduction */
  double label_smoothing;
} fa_cross_entropy_fwd_params;

typedef struct fa_cross_entropy_bwd_params {
  fa_tensor logits;
  fa_tensor target;
  fa_tensor weight;
  fa_tensor lse;
  fa_tensor dloss;   /* (...) or () */
  fa_tensor dlogits; /* (..., C) or absent */
  fa_tensor dtarget; /* (..., C) or absent */
  int64_t ignore_index;
  int32_t reduction;
  double label_smoothing;
} fa_cross_entropy_bwd_params;

#endif
