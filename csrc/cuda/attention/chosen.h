// Which weights: places along the axes of `weights`, against heads and queries (ops/attention.h).
#pragma once

#include "cuda/host.h"
#include "cuda/platform.h"
#include "ops/attention.h"

namespace fastattn::cuda::attention {

struct ChosenWeights {
  const int64_t *heads, *rows;  // or nullptr: all
  int64_t heads_stride, rows_stride;
  int num_heads, num_rows;  // chosen
  bool mean;                // over those heads, which then have place 0

  explicit ChosenWeights(const fa_attention_fwd_params& p)
      : heads(static_cast<const int64_t*>(p.weights_heads.data)),
        rows(static_cast<const int64_t*>(p.weights_rows.data)),
        heads_stride(p.weights_heads.strides[0]),
        rows_stride(p.weights_rows.strides[0]),
        num_heads(static_cast<int>(heads != nullptr ? p.weights_heads.shape[0] : p.query.shape[1])),
        num_rows(static_cast<int>(rows != nullptr ? p.weights_rows.shape[0] : p.query.shape[2])),
        mean(p.weights_mean != 0) {}

  int places() const { return !mean ? num_heads : num_heads > 0 ? 1 : 0; }
  __device__ int head(int place) const {
    return heads == nullptr ? place : static_cast<int>(heads[place * heads_stride]);
  }
  __device__ int row(int place) const { return rows == nullptr ? place : static_cast<int>(rows[place * rows_stride]); }
};

}  // namespace fastattn::cuda::attention
