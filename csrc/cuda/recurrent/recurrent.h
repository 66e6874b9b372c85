// recurrent_bwd with a choice made by the caller, for tests and measurements.
#pragma once

#include "ops/recurrent.h"

namespace fastattn::cuda {

// units: of a block, 16 or (of 16-bit dtypes) 32; 0: as the shape says.
fa_status recurrent_bwd(const fa_recurrent_bwd_params& p, fa_launch& launch, int units);

}  // namespace fastattn::cuda
