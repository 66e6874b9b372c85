/* unary: out_i = function(x_i): the SIMD math functions, element by element. x and out have one shape, any strides,
 * both f32 or both f64; out may be x. docs/numerics.md lists each function's largest measured error.
 */
#ifndef FASTATTN_OPS_UNARY_H
#define FASTATTN_OPS_UNARY_H

#include "types.h"

typedef enum fa_unary_function { FA_EXP = 0, FA_LOG = 1, FA_TANH = 2, FA_ERF = 3 } fa_unary_function;

typedef struct fa_unary_params {
  fa_tensor x;
  fa_tensor out;
  int32_t function; /* fa_unary_function */
} fa_unary_params;

#endif
