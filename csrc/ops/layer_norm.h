/* layer_norm over the last axis (the binding folds several normalised axes into one):
 *
 *   out = (x - mean) * rstd * weight + bias,   mean = sum(x) / C,   rstd = 1 / sqrt(sum((x - mean)^2) / C + eps)
 *
 *   x, out (..., C), R rows in row-major order   weight, bias (C) or absent   mean, rstd (R) or absent, in the
 * accumulator's dtype
 *
 * Backward: dx, dweight, dbias from dout, x, mean, rstd; each absent where it is not wanted. dweight and dbias are
 * summed over rows in blocks of a fixed number of rows, in order.
 *
 * dtypes: one floating dtype, mean and rstd its accumulator's (f64 for f64, else f32). x, out, dout and dx are
 * contiguous along C, with any strides of the other axes, which may be split differently in each argument. Source: Ba,
 * Kiros and Hinton, "Layer Normalization" (2016), section 3.
 */
#ifndef FASTATTN_OPS_LAYER_NORM_H
#define FASTATTN_OPS_LAYER_NORM_H

#include "types.h"

typedef struct fa_layer_norm_fwd_params {
  fa_tensor x;      /* (..., C) */
  fa_tensor weight; /* (C) */
  fa_tensor bias;   /* (C) */
  fa_tensor out;    /* (..., C) */
  fa_tensor mean;   /* (R) */
  fa_tensor rstd;   /* (R) */
  double eps;
} fa_layer_norm_fwd_params;

typedef struct fa_layer_norm_bwd_params {
  fa_tensor x;
  fa_tensor weight;
  fa_tensor mean;
  fa_tensor rstd;
  fa_tensor dout;
  fa_tensor dx;
  fa_tensor dweight;
  fa_tensor dbias;
} fa_layer_norm_bwd_params;

#endif
