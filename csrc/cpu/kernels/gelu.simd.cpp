#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
fa_status gelu_fwd(const fa_gelu_fwd_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
fa_status gelu_bwd(const fa_gelu_bwd_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
}  // namespace fastattn::cpu::FASTATTN_ISA
