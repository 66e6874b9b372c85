// The CUDA backend's versioned table: linked with CUDA's runtime as libfastattn_cuda.so, with the emulator as
// libfastattn_cuda_emulated.so. What the emulator finds wrong with a kernel is thrown through the entry to whoever
// called it.
#include <cstring>

#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/runtime.h"

namespace fastattn::cuda {
namespace {

#define FA_MISSING(op, why) \
  fa_status op(const fa_##op##_params&, fa_launch& launch) { return fail(launch, FA_UNSUPPORTED, why); }
FA_CUDA_MISSING(FA_MISSING)
#undef FA_MISSING

template <class Params, fa_status (*kKernel)(const Params&, fa_launch&)>
fa_status entry(const Params* params, fa_launch* launch) {
  if (launch == nullptr || params == nullptr || launch->size != sizeof(fa_launch)) return FA_INVALID;
  launch->reason[0] = 0;
  launch->workspace_bytes = launch->query ? 0 : launch->workspace_bytes;
  if (const char* why = device_unavailable(launch->device)) return fail(*launch, FA_UNSUPPORTED, why);
  const DeviceGuard guard(launch->device);
  return kKernel(*params, *launch);
}

constexpr const char* kVariant = "sm80";

fa_status force(const char* name) { return name == nullptr || std::strcmp(name, kVariant) == 0 ? FA_OK : FA_INVALID; }

const fa_table kTable = {.version = FA_TABLE_VERSION,
                         .size = sizeof(fa_table),
                         .backend = "cuda",
                         .unavailable = unavailable,
                         .device_count = device_count,
                         .device_info = device_info,
                         .synchronize = synchronize,
                         .variant_list = [] { return kVariant; },
                         .variant_active = [] { return kVariant; },
                         .variant_force = force,
                         .num_threads = num_threads,
                         .set_num_threads = set_num_threads,
                         .alloc = allocate,
                         .free = release,
                         .empty_cache = empty_cache,
                         .cache_bytes = cache_bytes,
                         .live_bytes = live_bytes,
#define FA_SLOT(op) .op = entry<fa_##op##_params, op>,
                         FA_OPS(FA_SLOT)
#undef FA_SLOT
};

}  // namespace
}  // namespace fastattn::cuda

const fa_table* fa_get_table(uint32_t version) {
  return version == FA_TABLE_VERSION ? &fastattn::cuda::kTable : nullptr;
}
