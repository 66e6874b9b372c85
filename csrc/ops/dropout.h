/* dropout: out = keep * x / (1 - p), keep_i = uniform(seed, offset, i) >= p, i the row-major index of the element.
 *
 * uniform is Philox4x32-10 of key seed and counter (offset, i / 4), word i % 4, as a 24-bit fraction (common/philox.h):
 * the same mask on every backend and for any tiling. The backward is the same function of dout. p == 1 gives 0. x and
 * out have one shape, any strides, of one floating dtype; out may be x. Source: Srivastava et al., "Dropout" (2014);
 * Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
 */
#ifndef FASTATTN_OPS_DROPOUT_H
#define FASTATTN_OPS_DROPOUT_H

#include "types.h"

typedef struct fa_dropout_params {
  fa_tensor x;
  fa_tensor out;
  double p;
  uint64_t seed;
  uint64_t offset;
} fa_dropout_params;

#endif
