#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
fa_status adam_step(const fa_adam_step_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
}  // namespace fastattn::cpu::FASTATTN_ISA
