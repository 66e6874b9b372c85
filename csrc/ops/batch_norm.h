/* batch_norm: each channel normalised over the batch and the positions, then scaled and shifted
 *
 *   out[n, c, s] = (x[n, c, s] - mean[c]) rstd[c] weight[c] + bias[c],   rstd = 1 / sqrt(var + eps)
 *
 *   x, out (N, C, S1, S2), any strides: a channels-last array is a view of other strides
 *   weight, bias, running_mean, running_var (C) or absent   mean, rstd (C), or absent
 *
 * training: mean and var are those of the M = N S1 S2 elements of the channel, var divided by M; and where running_mean
 *   and running_var are given, they become (1 - momentum) running + momentum batch, with the variance divided by M - 1.
 * Not training: they are running_mean and running_var, which stay as they are.
 * mean and rstd, where given, receive what was used.
 *
 * Backward: dx, dweight, dbias from dout, x, mean and rstd; each absent where it is not wanted. Not training: mean and
 * rstd are constants.
 *
 * dtypes: x, out, dout, dx of one floating dtype; mean, rstd its accumulator's (f64 for f64, else f32), in which all
 * sums are; weight, bias, running_mean, running_var, dweight, dbias either. Source: Ioffe and Szegedy, "Batch
 * Normalization" (2015), algorithm 1.
 */
#ifndef FASTATTN_OPS_BATCH_NORM_H
#define FASTATTN_OPS_BATCH_NORM_H

#include "types.h"

typedef struct fa_batch_norm_fwd_params {
  fa_tensor x;
  fa_tensor weight;
  fa_tensor bias;
  fa_tensor running_mean;
  fa_tensor running_var;
  fa_tensor out;
  fa_tensor mean;
  fa_tensor rstd;
  double momentum;
  double eps;
  int32_t training;
} fa_batch_norm_fwd_params;

typedef struct fa_batch_norm_bwd_params {
  fa_tensor x;
  fa_tensor weight;
  fa_tensor mean;
  fa_tensor rstd;
  fa_tensor dout;
  fa_tensor dx;
  fa_tensor dweight;
  fa_tensor dbias;
  int32_t training;
} fa_batch_norm_bwd_params;

#endif
