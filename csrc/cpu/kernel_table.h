// The kernels of one instruction set, and which set is in use.
#pragma once

#include "ops/fastattn.h"

namespace fastattn::cpu {

struct KernelTable {
  const char* name;
  bool (*runs_here)();  // CPUID and the operating system's register state
#define FA_KERNEL(op) fa_status (*op)(const fa_##op##_params&, fa_launch&);
  FA_OPS(FA_KERNEL)
#undef FA_KERNEL
};

// Every table that this library was compiled with, best first.
extern const KernelTable* const kKernelTables[];
extern const int kNumKernelTables;

const KernelTable& active_kernels();
bool force_kernels(const char* name);  // nullptr: the best that runs here
const char* runnable_kernels();        // comma-separated, best first

}  // namespace fastattn::cpu
