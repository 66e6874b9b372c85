// What every CUDA source includes first. nvcc brings CUDA's own names; under g++ the emulator's stand in for them
// (csrc/emulator), so a kernel is written once. The compilers differ here, in launch.h, shared.h, types.h and in the
// bodies in ptx/, and nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__

namespace fastattn::cuda {
// Where a call stands, which only the emulator asks. A wrapper takes it last: `Site site = {}`.
struct Site {};
}  // namespace fastattn::cuda

#else

#include "emulator/device.h"

namespace fastattn::cuda {
using emulator::Site;
}  // namespace fastattn::cuda

#endif
