// matmul of float by tf32: matmul.cu says what is computed, and how. A source of its own for the time that it takes to
// compile.
#include "cuda/matmul/run.h"

namespace fastattn::cuda {

fa_status matmul_tf32(const fa_matmul_params& p, fa_launch& launch, const MatmulChoice& choice) {
  return run_matmul<tf32>(p, launch, choice);
}

}  // namespace fastattn::cuda
