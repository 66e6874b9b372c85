#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
fa_status random_fill(const fa_random_fill_params&, fa_launch& launch) {
  return fail(launch, FA_UNSUPPORTED, "not written yet");
}
}  // namespace fastattn::cpu::FASTATTN_ISA
