/* sum: out = scale * the sum of x over some of its axes (scale = 1 / their lengths: the mean).
 *
 * x and out have one ndim; out has stride 0 along the axes that are summed. Any strides of both. An empty sum is 0.
 * dtypes: one floating dtype; sums of 16-bit elements are kept in f32 and rounded once.
 *
 * The order of a sum is a function of x's shape, of the order of its strides and of dtype and ISA.
 */
#ifndef FASTATTN_OPS_SUM_H
#define FASTATTN_OPS_SUM_H

#include "types.h"

typedef struct fa_sum_params {
  fa_tensor x;
  fa_tensor out;
  double scale;
} fa_sum_params;

#endif
