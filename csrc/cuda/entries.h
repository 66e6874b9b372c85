// The entries of the table (ops/fastattn.h) that this backend has a kernel for. Arguments as the CPU's: validated by
// the caller. What a kernel does not take is FA_UNSUPPORTED with the reason.
#pragma once

#include "ops/fastattn.h"

namespace fastattn::cuda {

fa_status softmax_fwd(const fa_softmax_fwd_params& p, fa_launch& launch);

}  // namespace fastattn::cuda
