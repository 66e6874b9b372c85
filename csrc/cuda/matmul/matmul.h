// matmul with a choice made by the caller, for tests and measurements.
#pragma once

#include "cuda/matmul/config.h"
#include "ops/matmul.h"

namespace fastattn::cuda {

// -1: as the shape says.
struct MatmulChoice {
  int tile = -1;    // MatmulTile
  int split = -1;   // whether blocks share K out
  int pieces = -1;  // chunks of K at a time, where they do
};

fa_status matmul(const fa_matmul_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status matmul_bf16(const fa_matmul_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status matmul_tf32(const fa_matmul_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status matmul_f16(const fa_matmul_params& p, fa_launch& launch, const MatmulChoice& choice);

}  // namespace fastattn::cuda
