/* gelu: out = x * Phi(x), Phi the normal distribution function;  tanh form: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715
 * x^3)))
 *
 * x, out, dout, dx have one shape, any strides; out may be x, dx may be dout.  dx = dout * d gelu(x) / dx.
 * dtypes: one floating dtype.  Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
 */
#ifndef FASTATTN_OPS_GELU_H
#define FASTATTN_OPS_GELU_H

#include "types.h"

typedef struct fa_gelu_fwd_params {
  fa_tensor x;
  fa_tensor out;
  int32_t tanh_form;
} fa_gelu_fwd_params;

typedef struct fa_gelu_bwd_params {
  fa_tensor x;
  fa_tensor dout;
  fa_tensor dx;
  int32_t tanh_form;
} fa_gelu_bwd_params;

#endif
