#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
fa_status bias_grad(const fa_bias_grad_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
}  // namespace fastattn::cpu::FASTATTN_ISA
