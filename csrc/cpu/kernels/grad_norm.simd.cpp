#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
fa_status grad_norm(const fa_grad_norm_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
fa_status grad_scale(const fa_grad_scale_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
}  // namespace fastattn::cpu::FASTATTN_ISA
