/* activation: out = f(x),  dx = dout * f'(x), element by element, for f one of
 *
 *   gelu       x * Phi(x), Phi the normal distribution function
 *   gelu_tanh  0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
 *   silu       x * sigmoid(x)
 *   relu       max(x, 0), NaN for NaN; derivative 0 at 0
 *   sigmoid    1 / (1 + exp(-x))
 *
 * x, out, dout, dx have one shape, any strides; out may be x, dx may be dout.
 * dtypes: one floating dtype.
 * Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2: gelu and silu.
 */
#ifndef FASTATTN_OPS_ACTIVATION_H
#define FASTATTN_OPS_ACTIVATION_H

#include "types.h"

typedef enum fa_activation {
  FA_ACT_NONE = 0, /* matmul's, which has no activation to compute */
  FA_ACT_GELU = 1,
  FA_ACT_GELU_TANH = 2,
  FA_ACT_SILU = 3,
  FA_ACT_RELU = 4,
  FA_ACT_SIGMOID = 5
} fa_activation;

typedef struct fa_activation_fwd_params {
  fa_tensor x;
  fa_tensor out;
  int32_t activation; /* fa_activation, not FA_ACT_NONE */
} fa_activation_fwd_params;

typedef struct fa_activation_bwd_params {
  fa_tensor x;
  fa_tensor dout;
  fa_tensor dx;
  int32_t activation;
} fa_activation_bwd_params;

#endif
