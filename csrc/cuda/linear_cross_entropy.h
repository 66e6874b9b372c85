// linear_cross_entropy with a choice made by the caller, for tests.
#pragma once

#include "ops/linear_cross_entropy.h"

namespace fastattn::cuda {

// most_rows: of a chunk of logits; 0: as many as memory is meant for.
fa_status linear_cross_entropy(const fa_linear_cross_entropy_params& p, fa_launch& launch, int64_t most_rows);

}  // namespace fastattn::cuda
