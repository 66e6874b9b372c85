/* embedding: out[i, :] = weight[index[i], :]
 *
 *   weight (V, D)   index (N), i32 or i64   out (N, D)
 *
 * Backward: dweight (V, D) = sum over i with index[i] == v of dout[i, :], in the order of i; a row equal to padding_idx
 * gets 0 (padding_idx < 0: none). dweight is overwritten.
 * An index outside 0..V-1 is FA_INVALID, before anything is written; on CUDA, where the host does not wait to see it,
 * its row of out is NaN, and in the backward it counts for nothing. dtypes: weight, out, dout, dweight all f32 or all
 * f64. All contiguous along D.
 */
#ifndef FASTATTN_OPS_EMBEDDING_H
#define FASTATTN_OPS_EMBEDDING_H

#include "types.h"

typedef struct fa_embedding_fwd_params {
  fa_tensor weight;
  fa_tensor index;
  fa_tensor out;
} fa_embedding_fwd_params;

typedef struct fa_embedding_bwd_params {
  fa_tensor index;
  fa_tensor dout;
  fa_tensor dweight;
  int64_t padding_idx;
} fa_embedding_bwd_params;

#endif
