/* cast: out_i = x_i, rounded once to the nearest number of out's dtype, ties to even. Of one dtype: a copy.
 *
 * x and out have one shape, any strides, each its own floating dtype, and do not overlap. What is too large becomes
 * inf; NaN stays NaN.
 */
#ifndef FASTATTN_OPS_CAST_H
#define FASTATTN_OPS_CAST_H

#include "types.h"

typedef struct fa_cast_params {
  fa_tensor x;
  fa_tensor out;
} fa_cast_params;

#endif
