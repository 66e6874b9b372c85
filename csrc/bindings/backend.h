// The backends: libraries beside this module, opened on first use.
#pragma once

#include "ops/fastattn.h"

namespace fastattn::bindings {

// The CPU backend's table; throws ImportError where the library is missing or of another version.
const fa_table& cpu_backend();

}  // namespace fastattn::bindings
