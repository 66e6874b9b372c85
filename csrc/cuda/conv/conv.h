// conv with a choice made by the caller, for tests and measurements. The entries (entries.h) take none.
#pragma once

#include "cuda/matmul/matmul.h"
#include "ops/conv.h"

namespace fastattn::cuda {

fa_status conv_fwd(const fa_conv_fwd_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status conv_bwd_input(const fa_conv_bwd_input_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status conv_bwd_weight(const fa_conv_bwd_weight_params& p, fa_launch& launch, const MatmulChoice& choice);

// Of one dtype: a source each, for the time that it takes to compile.
#define FA_CONV_OF(dtype)                                                                                             \
  fa_status conv_fwd_##dtype(const fa_conv_fwd_params& p, fa_launch& launch, const MatmulChoice& choice);             \
  fa_status conv_bwd_input_##dtype(const fa_conv_bwd_input_params& p, fa_launch& launch, const MatmulChoice& choice); \
  fa_status conv_bwd_weight_##dtype(const fa_conv_bwd_weight_params& p, fa_launch& launch, const MatmulChoice& choice)
FA_CONV_OF(bf16);
FA_CONV_OF(f16);
#undef FA_CONV_OF

}  // namespace fastattn::cuda
