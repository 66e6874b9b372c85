/* random_fill: out_i = low + (high - low) * uniform_i, or mean + std * normal_i, by Philox (seed, offset, i).
 *
 * uniform_k is in [0, 1). f32, f16, bf16: the upper 24, 11, 8 bits of Philox word k; f64: 53 bits of two words (2k the
 * low, 2k + 1 the high). normal_i is Box-Muller of uniforms 2i and 2i + 1: sqrt(-2 log(1 - uniform_2i)) * cos(2 pi
 * uniform_(2i+1)). out is contiguous, of any floating dtype. Normal numbers of 16 bits are roundings of the f32 ones.
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
