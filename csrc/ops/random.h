/* random_fill: out_i = low + (high - low) * uniform_i, or mean + std * normal_i, by Philox (seed, offset, i).
 *
 * f32: uniform_i has 24 bits, one Philox word an element; f64: 53 bits, two words. normal_i is Box-Muller of the two
 * uniforms of element i (words 2i and 2i + 1 of the stream, as f32 or as f64). out is contiguous, f32 or f64.
 * Source: Salmon et al. (2011); Box and Muller, "A note on the generation of random normal deviates" (1958).
 */
#ifndef FASTATTN_OPS_RANDOM_H
#define FASTATTN_OPS_RANDOM_H

#include "types.h"

typedef enum fa_distribution { FA_UNIFORM = 0, FA_NORMAL = 1 } fa_distribution;

typedef struct fa_random_fill_params {
  fa_tensor out;
  double a; /* low, or mean */
  double b; /* high, or standard deviation */
  uint64_t seed;
  uint64_t offset;
  int32_t distribution; /* fa_distribution */
} fa_random_fill_params;

#endif
