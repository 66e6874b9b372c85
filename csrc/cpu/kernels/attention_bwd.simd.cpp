#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
fa_status attention_bwd(const fa_attention_bwd_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
}  // namespace fastattn::cpu::FASTATTN_ISA
