// This ISA's table: one line per op comes from FA_OPS, so an op that lacks a kernel does not link.
#include "cpu/features.h"
#include "cpu/kernel_table.h"
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

namespace {
bool runs_here() {
#if defined(FASTATTN_ISA_HAS_BF16)
  return features().avx512_bf16;
#elif defined(FASTATTN_ISA_IS_AVX512)
  return features().avx512;
#elif defined(FASTATTN_ISA_IS_AVX2)
  return features().avx2;
#else
  return true;
#endif
}
}  // namespace

extern const KernelTable kTable;
const KernelTable kTable = {FASTATTN_ISA_NAME, runs_here,
#define FA_SLOT(op) op,
                            FA_OPS(FA_SLOT)
#undef FA_SLOT
};

}  // namespace fastattn::cpu::FASTATTN_ISA
