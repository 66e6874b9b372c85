/* linear_cross_entropy: the cross-entropy of input @ weight^T + bias against class ids, a few rows of logits at a time.
 *
 *   input (N, D)   weight (V, D)   bias (V) optional   target (N)   loss (N) or ()       N: any number of axes
 *
 * loss as in cross_entropy.h, of the logits input @ weight^T + bias, without class weights. Where dinput, dweight or
 * dbias are given they receive, in the same pass, the gradients of sum_i dloss_i loss_i, and where dloss is absent
 * those of the reduced loss (none: of the sum). Rows that are ignored are not read, and on the CPU cost nothing.
 *
 * The largest piece of logits is bounded (32 MB, of CUDA 256 MB, or one row); nothing of size N x V is held.
 * dtypes: input, weight and bias of one floating dtype, loss, dloss and the gradients of its accumulator's; target i32
 * or i64. Logits are in the accumulator's dtype; their gradients are rounded to that of input. Any strides, but for the
 * gradients, which are contiguous. A target out of range is FA_INVALID, before anything is written.
 * CUDA, whose host does not see targets, gives such a row a loss of NaN and no gradient; a mean counts it.
 *
 * linear_cross_entropy_bwd: out = dloss * grad, rounded to the dtype of out: what a gradient made in the forward is
 * worth once dloss () is known. dloss absent: 1. Both contiguous, of one shape; grad of the accumulator's dtype of out.
 *
 * Source: Hsu et al., "Liger kernel: efficient Triton kernels for LLM training" (2024), section 3.2, for making the
 * gradients in the forward.
 */
#ifndef FASTATTN_OPS_LINEAR_CROSS_ENTROPY_H
#define FASTATTN_OPS_LINEAR_CROSS_ENTROPY_H

#include "cross_entropy.h"
#include "types.h"

typedef struct fa_linear_cross_entropy_params {
  fa_tensor input;   /* (N, D) */
  fa_tensor weight;  /* (V, D) */
  fa_tensor bias;    /* (V) or absent */
  fa_tensor target;  /* (N) */
  fa_tensor dloss;   /* (N) or absent */
  fa_tensor loss;    /* (N), () or absent */
  fa_tensor dinput;  /* (N, D) or absent */
  fa_tensor dweight; /* (V, D) or absent */
  fa_tensor dbias;   /* (V) or absent */
  int64_t ignore_index;
  int32_t reduction; /* fa_reduction */
  double label_smoothing;
} fa_linear_cross_entropy_params;

typedef struct fa_linear_cross_entropy_bwd_params {
  fa_tensor grad;
  fa_tensor dloss; /* () or absent */
  fa_tensor out;
} fa_linear_cross_entropy_bwd_params;

#endif
