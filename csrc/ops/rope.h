/* rope: rotary position embedding: pairs of elements of x (..., T, D) are turned by an angle of their position.
 *
 *   (out_a, out_b) = (x_a cos - x_b sin, x_b cos + x_a sin),   with -sin where `inverse`: the transpose, and the
 * gradient
 *
 * R = 2 * cos.shape[-1] <= D elements are turned, the others copied. Pair j is of elements j and j + R / 2 (halves), or
 * 2 j and 2 j + 1 (interleaved).
 *
 *   x, out (..., T, D)   cos, sin (..., T, R / 2), with x's leading axes, broadcast (stride 0) where they repeat
 *
 * Any strides; out may be x. dtypes: x and out of one floating dtype, cos and sin of its accumulator's (f64 for f64,
 * else f32).  Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021), section 3.2.
 */
#ifndef FASTATTN_OPS_ROPE_H
#define FASTATTN_OPS_ROPE_H

#include "types.h"

typedef struct fa_rope_params {
  fa_tensor x;
  fa_tensor cos;
  fa_tensor sin;
  fa_tensor out;
  int32_t interleaved;
  int32_t inverse;
} fa_rope_params;

#endif
