// What this machine can run: CPUID for the instructions, XCR0 for the registers that the operating system saves.
#pragma once

namespace fastattn::cpu {

struct Features {
  bool avx2 = false;    // AVX2, FMA, F16C, BMI2, and ymm state
  bool avx512 = false;  // AVX-512 F, BW, DQ, VL on top, and zmm state
  bool avx512_bf16 = false;
};
const Features& features();

}  // namespace fastattn::cpu
