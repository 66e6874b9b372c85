// The entries of the table (ops/fastattn.h) that this backend has a kernel for, and those that it has none for.
// Arguments as the CPU's: validated by the caller. What a kernel does not take is FA_UNSUPPORTED with the reason.
#pragma once

#include "ops/fastattn.h"

namespace fastattn::cuda {

fa_status softmax_fwd(const fa_softmax_fwd_params& p, fa_launch& launch);
fa_status softmax_bwd(const fa_softmax_bwd_params& p, fa_launch& launch);
fa_status activation_fwd(const fa_activation_fwd_params& p, fa_launch& launch);
fa_status activation_bwd(const fa_activation_bwd_params& p, fa_launch& launch);
fa_status swiglu_fwd(const fa_swiglu_fwd_params& p, fa_launch& launch);
fa_status swiglu_bwd(const fa_swiglu_bwd_params& p, fa_launch& launch);
fa_status layer_norm_fwd(const fa_layer_norm_fwd_params& p, fa_launch& launch);
fa_status layer_norm_bwd(const fa_layer_norm_bwd_params& p, fa_launch& launch);
fa_status rms_norm_fwd(const fa_rms_norm_fwd_params& p, fa_launch& launch);
fa_status rms_norm_bwd(const fa_rms_norm_bwd_params& p, fa_launch& launch);
fa_status adam_step(const fa_adam_step_params& p, fa_launch& launch);
fa_status sgd_step(const fa_sgd_step_params& p, fa_launch& launch);
fa_status grad_norm(const fa_grad_norm_params& p, fa_launch& launch);
fa_status grad_scale(const fa_grad_scale_params& p, fa_launch& launch);
fa_status attention_fwd(const fa_attention_fwd_params& p, fa_launch& launch);
fa_status attention_bwd(const fa_attention_bwd_params& p, fa_launch& launch);
fa_status embedding_fwd(const fa_embedding_fwd_params& p, fa_launch& launch);
fa_status embedding_bwd(const fa_embedding_bwd_params& p, fa_launch& launch);
fa_status dropout(const fa_dropout_params& p, fa_launch& launch);
fa_status random_fill(const fa_random_fill_params& p, fa_launch& launch);
fa_status rope(const fa_rope_params& p, fa_launch& launch);
fa_status binary(const fa_binary_params& p, fa_launch& launch);
fa_status unary(const fa_unary_params& p, fa_launch& launch);
fa_status cast(const fa_cast_params& p, fa_launch& launch);
fa_status sum(const fa_sum_params& p, fa_launch& launch);
fa_status matmul(const fa_matmul_params& p, fa_launch& launch);
fa_status linear_cross_entropy(const fa_linear_cross_entropy_params& p, fa_launch& launch);
fa_status linear_cross_entropy_bwd(const fa_linear_cross_entropy_bwd_params& p, fa_launch& launch);
fa_status cross_entropy_fwd(const fa_cross_entropy_fwd_params& p, fa_launch& launch);
fa_status cross_entropy_bwd(const fa_cross_entropy_bwd_params& p, fa_launch& launch);
fa_status pool_fwd(const fa_pool_fwd_params& p, fa_launch& launch);
fa_status pool_bwd(const fa_pool_bwd_params& p, fa_launch& launch);
fa_status conv_fwd(const fa_conv_fwd_params& p, fa_launch& launch);
fa_status conv_bwd_input(const fa_conv_bwd_input_params& p, fa_launch& launch);
fa_status conv_bwd_weight(const fa_conv_bwd_weight_params& p, fa_launch& launch);
fa_status batch_norm_fwd(const fa_batch_norm_fwd_params& p, fa_launch& launch);
fa_status batch_norm_bwd(const fa_batch_norm_bwd_params& p, fa_launch& launch);
fa_status recurrent_fwd(const fa_recurrent_fwd_params& p, fa_launch& launch);
fa_status recurrent_bwd(const fa_recurrent_bwd_params& p, fa_launch& launch);

}  // namespace fastattn::cuda

// X(name, "reason"): an entry without a kernel, and what its caller is told. Each entry is declared above or is here,
// or the table does not compile.
#define FA_CUDA_MISSING(X)
