/* binary: out_i = f(a_i, b_i), f one of the functions below. a, b and out have one shape, any strides; a broadcast axis
 * of a or b has stride 0. Where a or b is absent, the number `scalar` stands for each of its elements, in the dtype
 * that is computed in (f32 for 16-bit elements). out may be a or b.
 *
 * One rounding each: the bits are those of any IEEE arithmetic. A NaN in either gives NaN, also from maximum and
 * minimum. dtypes: one floating dtype.
 */
#ifndef FASTATTN_OPS_BINARY_H
#define FASTATTN_OPS_BINARY_H

#include "types.h"

typedef enum fa_binary_function {
  FA_ADD = 0,
  FA_SUB = 1,
  FA_MUL = 2,
  FA_DIV = 3,
  FA_MAXIMUM = 4,
  FA_MINIMUM = 5
} fa_binary_function;

typedef struct fa_binary_params {
  fa_tensor a;
  fa_tensor b;
  fa_tensor out;
  double scalar;
  int32_t function; /* fa_binary_function */
} fa_binary_params;

#endif
