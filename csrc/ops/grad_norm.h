/* grad_norm: total (), f64 = sqrt(sum over all elements of all tensors of g^2), and grad_scale: g *= scale in place.
 *
 * Squares are summed in f64, in blocks of a fixed number of elements, in order. Tensors are contiguous, of one floating
 * dtype. A scale call reads no norm: clipping is grad_norm, a division in the caller, grad_scale.
 */
#ifndef FASTATTN_OPS_GRAD_NORM_H
#define FASTATTN_OPS_GRAD_NORM_H

#include "types.h"

typedef struct fa_grad_norm_params {
  int64_t num_tensors;
  const fa_tensor* grads;
  fa_tensor total;
} fa_grad_norm_params;

typedef struct fa_grad_scale_params {
  int64_t num_tensors;
  const fa_tensor* grads;
  double scale;
} fa_grad_scale_params;

#endif
