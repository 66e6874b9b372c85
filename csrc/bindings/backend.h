// The backends: libraries beside this module, opened on first use.
#pragma once

#include <string>

#include "ops/fastattn.h"

namespace fastattn::bindings {

// The CPU backend's table; throws ImportError where the library is missing or of another version.
const fa_table& cpu_backend();

// What runs the ops: the CPU, or for tests the library that FASTATTN_TEST_BACKEND names, which must take host arrays
// (CUDA's kernels on the emulator). Threads, outputs and their memory stay the CPU backend's.
const fa_table& backend();

// The CUDA backend, or nullptr where this build has none; opened on first use. For tests, use_cuda_library has it be
// another library, or its own again for "".
const fa_table* cuda_backend();
void use_cuda_library(const std::string& path);

}  // namespace fastattn::bindings
