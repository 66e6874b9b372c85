// conv with a choice made by the caller, for tests and measurements. The entries (entries.h) take none.
#pragma once

#include "cuda/matmul/matmul.h"
#include "ops/conv.h"

namespace fastattn::cuda {

fa_status conv_fwd(const fa_conv_fwd_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status conv_bwd_input(const fa_conv_bwd_input_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status conv_bwd_weight(const fa_conv_bwd_weight_params& p, fa_launch& launch, const MatmulChoice& choice);

// Of one dtype: a source each, for the time that it takes to compile.
fa_status conv_fwd_bf16(const fa_conv_fwd_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status conv_bwd_input_bf16(const fa_conv_bwd_input_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status conv_bwd_weight_bf16(const fa_conv_bwd_weight_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status conv_fwd_f16(const fa_conv_fwd_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status conv_bwd_input_f16(const fa_conv_bwd_input_params& p, fa_launch& launch, const MatmulChoice& choice);
fa_status conv_bwd_weight_f16(const fa_conv_bwd_weight_params& p, fa_launch& launch, const MatmulChoice& choice);

}  // namespace fastattn::cuda
