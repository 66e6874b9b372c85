#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
fa_status softmax_fwd(const fa_softmax_fwd_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
fa_status softmax_bwd(const fa_softmax_bwd_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
}  // namespace fastattn::cpu::FASTATTN_ISA
