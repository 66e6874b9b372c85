/* sgd_step: stochastic gradient descent with momentum over a list of tensors, in place.
 *
 *   g = grad_scale * grad (negated if maximize) + weight_decay * p
 *   momentum != 0:  b = g on the first step, else momentum * b + (1 - dampening) * g;   g = nesterov ? g + momentum * b
 * : b p -= lr * g
 *
 * params[i], grads[i] and momentum_buffers[i] (NULL if momentum == 0) have one shape, contiguous, of one dtype, f32 or
 * f64; or params and grads are bf16 or f16 and the buffers f32. masters: as in adam.h.
 * Source: Sutskever et al., "On the importance of initialization and momentum" (2013); torch.optim.SGD's form of it.
 */
#ifndef FASTATTN_OPS_SGD_H
#define FASTATTN_OPS_SGD_H

#include "types.h"

typedef struct fa_sgd_step_params {
  int64_t num_tensors;
  const fa_tensor* params;
  const fa_tensor* grads;
  const fa_tensor* momentum_buffers;
  const fa_tensor* masters; /* NULL, or one per tensor */
  double lr;
  double momentum;
  double dampening;
  double weight_decay;
  double grad_scale;
  int32_t nesterov;
  int32_t maximize;
  int32_t first_step; /* 1: the momentum buffers hold nothing yet */
  int32_t zero_grads;
} fa_sgd_step_params;

#endif
