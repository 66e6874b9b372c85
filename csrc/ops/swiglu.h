/* swiglu: out = silu(gate) * up,  silu(x) = x * sigmoid(x)
 *
 *   dgate = dout * up * silu'(gate),  dup = dout * silu(gate)
 *
 * All have one shape, any strides: gate and up may be the two halves of one array. out may be gate or up.
 * dtypes: one floating dtype.  Source: Shazeer, "GLU Variants Improve Transformer" (2020), section 2.
 */
#ifndef FASTATTN_OPS_SWIGLU_H
#define FASTATTN_OPS_SWIGLU_H

#include "types.h"

typedef struct fa_swiglu_fwd_params {
  fa_tensor gate;
  fa_tensor up;
  fa_tensor out;
} fa_swiglu_fwd_params;

typedef struct fa_swiglu_bwd_params {
  fa_tensor gate;
  fa_tensor up;
  fa_tensor dout;
  fa_tensor dgate;
  fa_tensor dup;
} fa_swiglu_bwd_params;

#endif
