/* matmul: out = activation(a @ b + bias) + residual
 *
 *   a (..., M, K)   b (..., K, N)   bias (N) optional   residual (..., M, N) optional   out (..., M, N)
 *
 * All of a, b, residual, preact and out have the same ndim >= 2 and the same (broadcast) batch shape; a broadcast axis
 * has stride 0. Where out has stride 0 along a batch axis longer than 1, the products along that axis are summed into
 * it (that is the gradient of a broadcast operand). a and b take any strides, so a transpose is a view; out, preact and
 * residual are contiguous along N.
 *
 * dtypes: a, b, bias, residual, out and preact are of one floating dtype; of 16-bit a and b, out may be f32. 16-bit
 * products are summed in f32 and rounded once; preact is the rounding of what the activation gets.
 * K == 0 gives activation(bias) + residual. accumulate adds the result to what out holds.
 * preact, where given, receives a @ b + bias (what the backward of the activation needs).
 *
 * precision: float32 products are of float32, or where FA_PRECISION_HIGH allows it of its first 10 bits of mantissa
 * (tf32), summed in float32. A backend that gains nothing by it, as the CPU's, takes no note.
 *
 * Same bits for any number of threads and any batch: K is cut into blocks whose length is a constant per dtype and ISA;
 * an element is one FMA chain per block, and blocks are added in order.
 */
#ifndef FASTATTN_OPS_MATMUL_H
#define FASTATTN_OPS_MATMUL_H

#include "activation.h"
#include "types.h"

typedef enum fa_precision { FA_PRECISION_HIGHEST = 0, FA_PRECISION_HIGH = 1 } fa_precision;

typedef struct fa_matmul_params {
  fa_tensor a;
  fa_tensor b;
  fa_tensor bias;
  fa_tensor residual;
  fa_tensor out;
  fa_tensor preact;
  int32_t activation; /* fa_activation */
  int32_t accumulate; /* 1: out += */
  int32_t precision;  /* fa_precision */
} fa_matmul_params;

#endif
