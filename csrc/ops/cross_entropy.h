/* cross_entropy of logits (..., C), classes along the last axis, against target (...), class ids:
 *
 *   loss_i = -log softmax(logits_i)[target_i]           (0 where target_i == ignore_index)
 *   reduction none: loss (...);  sum: loss () = sum_i loss_i;  mean: sum_i loss_i / number of rows not ignored (NaN if
 * none)
 *
 * lse (...) receives log(sum(exp(logits_i))) for the backward:
 *   dlogits_i = dloss * (softmax(logits_i) - onehot(target_i)) [/ number of rows not ignored]   (0 where ignored)
 *
 * A target outside 0..C-1 that is not ignore_index is FA_INVALID, before anything is written.
 * dtypes: logits and dlogits of one floating dtype; loss, lse and dloss of its accumulator's (f64 for f64, else f32);
 * target i32 or i64. Any strides; dlogits contiguous along C.
 */
#ifndef FASTATTN_OPS_CROSS_ENTROPY_H
#define FASTATTN_OPS_CROSS_ENTROPY_H

#include "types.h"

typedef enum fa_reduction { FA_REDUCE_NONE = 0, FA_REDUCE_SUM = 1, FA_REDUCE_MEAN = 2 } fa_reduction;

typedef struct fa_cross_entropy_fwd_params {
  fa_tensor logits; /* (..., C) */
  fa_tensor target; /* (...) */
  fa_tensor loss;   /* (...) or () */
  fa_tensor lse;    /* (...) or absent */
  int64_t ignore_index;
  int32_t reduction; /* fa_reduction */
} fa_cross_entropy_fwd_params;

typedef struct fa_cross_entropy_bwd_params {
  fa_tensor logits;
  fa_tensor target;
  fa_tensor lse;
  fa_tensor dloss;   /* (...) or () */
  fa_tensor dlogits; /* (..., C) */
  int64_t ignore_index;
  int32_t reduction;
} fa_cross_entropy_bwd_params;

#endif
