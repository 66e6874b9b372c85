/* adam_step: Adam and AdamW over a list of tensors, in place.
 *
 *   g = grad_scale * grad (negated if maximize);   coupled: g += weight_decay * p;   decoupled: p *= 1 - lr *
 * weight_decay m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2;   amsgrad: vmax = max(vmax, v) in place of
 * v below p -= lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
 *
 * params[i], grads[i], exp_avgs[i], exp_avg_sqs[i] (and max_exp_avg_sqs[i]) have one shape, each contiguous, of one
 * dtype, f32 or f64; or params and grads are bf16 or f16 and the rest is f32. masters, for 16-bit params, are f32
 * copies of them, which are updated in their place and rounded into them; NULL: the params themselves are updated.
 * lr_tensor, step_tensor and grad_scale_tensor, where not absent, are one element each, of any floating dtype or i64,
 * read in place of the number of that name.
 * zero_grads sets the gradients to 0 in the same pass. found_inf, where not NULL, points to one float: nothing changes
 * where it is not 0. norm, where not NULL, receives the 2-norm of all gradients times grad_scale; they are then scaled
 * on by min(1, max_norm / (norm + 1e-6)) as they are read, and nothing changes where norm is not finite.
 * Source: Kingma and Ba, "Adam" (2015), algorithm 1; Loshchilov and Hutter, "Decoupled Weight Decay" (2019), algorithm
 * 2; Reddi, Kale and Kumar, "On the Convergence of Adam" (2018), algorithm 2 (amsgrad); Pascanu, Mikolov and Bengio,
 * "On the difficulty of training recurrent neural networks" (2013), section 3.2 (the clipping).
 */
#ifndef FASTATTN_OPS_ADAM_H
#define FASTATTN_OPS_ADAM_H

#include "types.h"

typedef struct fa_adam_step_params {
  int64_t num_tensors;
  const fa_tensor* params;
  const fa_tensor* grads;
  const fa_tensor* exp_avgs;
  const fa_tensor* exp_avg_sqs;
  const fa_tensor* max_exp_avg_sqs; /* NULL unless amsgrad */
  const fa_tensor* masters;         /* NULL, or one per tensor */
  const float* found_inf;
  double* norm;
  double lr;
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  double grad_scale; /* 1 = none */
  double max_norm;   /* with norm */
  int64_t step;      /* 1 for the first step */
  fa_tensor lr_tensor;
  fa_tensor step_tensor;
  fa_tensor grad_scale_tensor;
  int32_t decoupled;
  int32_t amsgrad;
  int32_t maximize;
  int32_t zero_grads;
} fa_adam_step_params;

#endif
