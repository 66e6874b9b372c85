/* rms_norm over the last axis (the binding folds several normalised axes into one):
 *
 *   out = x * rstd * weight,   rstd = 1 / sqrt(sum(x^2) / C + eps)
 *
 *   x, out (..., C), R rows in row-major order   weight (C) or absent   rstd (R) or absent, in the accumulator's dtype
 *
 * Backward: dx and dweight from dout, x and rstd; each absent where it is not wanted. dweight is summed over rows in
 * blocks of a fixed number of rows, in order.
 *
 * dtypes and strides: as for layer_norm.
 * Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019), section 4.
 */
#ifndef FASTATTN_OPS_RMS_NORM_H
#define FASTATTN_OPS_RMS_NORM_H

#include "types.h"

typedef struct fa_rms_norm_fwd_params {
  fa_tensor x;      /* (..., C) */
  fa_tensor weight; /* (C) */
  fa_tensor out;    /* (..., C) */
  fa_tensor rstd;   /* (R) */
  double eps;
} fa_rms_norm_fwd_params;

typedef struct fa_rms_norm_bwd_params {
  fa_tensor x;
  fa_tensor weight;
  fa_tensor rstd;
  fa_tensor dout;
  fa_tensor dx;
  fa_tensor dweight;
} fa_rms_norm_bwd_params;

#endif
