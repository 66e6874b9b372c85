// conv of f16: conv.cu says what is computed, and how. A source of its own for the time that it takes to compile.
#include "cuda/conv/run.h"

namespace fastattn::cuda {

fa_status conv_fwd_f16(const fa_conv_fwd_params& p, fa_launch& launch, const MatmulChoice& choice) {
  return run_conv_fwd<f16>(p, launch, choice);
}

fa_status conv_bwd_input_f16(const fa_conv_bwd_input_params& p, fa_launch& launch, const MatmulChoice& choice) {
  return run_conv_bwd_input<f16>(p, launch, choice);
}

fa_status conv_bwd_weight_f16(const fa_conv_bwd_weight_params& p, fa_launch& launch, const MatmulChoice& choice) {
  return run_conv_bwd_weight<f16>(p, launch, choice);
}

}  // namespace fastattn::cuda
