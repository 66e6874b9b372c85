#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
fa_status embedding_fwd(const fa_embedding_fwd_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
fa_status embedding_bwd(const fa_embedding_bwd_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
}  // namespace fastattn::cpu::FASTATTN_ISA
