// Approximate functions of the special function unit, by name, so that nothing is approximate by a compiler flag.
#pragma once

#include "cuda/platform.h"

namespace fastattn::cuda::ptx {

// ex2.approx.ftz.f32: 2^x, within 2 units in the last place; results below the normal range are 0, 2^-inf = 0.
__device__ inline float exp2_approx(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  const float y = ::exp2f(x);
  return y < 0x1p-126f ? 0.0f : y;
#endif
}

}  // namespace fastattn::cuda::ptx
