// What the two kernels of attention's forward share, that of blocks of queries and that of splits of keys: the step of
// the online softmax, and what is left to do at the end of a row.
#pragma once

#include "cuda/attention/scores.h"

namespace fastattn::cuda::attention {

// Takes the scores of a tile into the state of a lane's two rows, and leaves weights relative to the new maximum in
// their place; O shrinks with it. row_sum is that of the lane's columns.
template <int kN, int kOut>
__device__ inline void online_softmax(float (&rS)[kN / 8][4], float (&rO)[kOut / 8][4], SoftmaxState (&state)[2]) {
  float row_max[2] = {-kInf, -kInf};
#pragma unroll
  for (int n = 0; n < kN / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) row_max[i / 2] = fmaxf(row_max[i / 2], rS[n][i]);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float old_max = state[half].row_max;
    const float new_max = fmaxf(old_max, reduce_lanes<4>(row_max[half], MaxOp()));
    const float factor = old_max == -kInf ? 1.0f : exp_score(old_max - new_max);
    state[half].rescale_to(new_max);
#pragma unroll
    for (int d = 0; d < kOut / 8; ++d) {
      rO[d][half * 2] *= factor;
      rO[d][half * 2 + 1] *= factor;
    }
  }
#pragma unroll
  for (int n = 0; n < kN / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      rS[n][i] = exp_score(rS[n][i] - state[i / 2].base());
      state[i / 2].row_sum += rS[n][i];
    }
  }
}

// The sink's part in a row that has seen all of its keys. Returns what O is to be multiplied by.
template <bool kGeneral>
__device__ inline float finish(SoftmaxState& s, const Options& o, int head) {
  float factor = 1.0f;
  if constexpr (kGeneral) {
    if (o.sinks_used) {
      const float sink = o.sink(head), old_max = s.row_max;
      s.rescale_to(fmaxf(old_max, sink));
      factor = old_max == -kInf ? 1.0f : exp_score(old_max - s.row_max);
      if (sink != -kInf) s.row_sum += exp_score(sink - s.row_max);
    }
  }
  return factor * s.inverse_sum();
}

}  // namespace fastattn::cuda::attention
