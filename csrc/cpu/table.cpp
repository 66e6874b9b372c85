// The CPU backend's versioned table: every entry picks the active ISA's kernel.
#include <cstdio>

#include "allocator.h"
#include "kernel_table.h"
#include "ops/fastattn.h"
#include "thread_pool.h"

namespace fastattn::cpu {
namespace {

template <class Params, fa_status (*KernelTable::*kKernel)(const Params&, fa_launch&)>
fa_status entry(const Params* params, fa_launch* launch) {
  if (launch == nullptr || params == nullptr || launch->size != sizeof(fa_launch)) return FA_INVALID;
  launch->reason[0] = 0;
  return (active_kernels().*kKernel)(*params, *launch);
}

// Of the host's memory and its cores nothing is said here: Python's os does.
fa_status device_info(int32_t device, fa_device_info* info) {
  if (device != 0) return FA_INVALID;
  *info = {};
  std::snprintf(info->name, sizeof info->name, "cpu");
  return FA_OK;
}

const fa_table kTable = {.version = FA_TABLE_VERSION,
                         .size = sizeof(fa_table),
                         .backend = "cpu",
                         .unavailable = []() -> const char* { return nullptr; },
                         .device_count = [] { return int32_t{1}; },
                         .device_info = device_info,
                         .synchronize = [](int32_t) -> const char* { return nullptr; },
                         .variant_list = runnable_kernels,
                         .variant_active = [] { return active_kernels().name; },
                         .variant_force = [](const char* name) { return force_kernels(name) ? FA_OK : FA_INVALID; },
                         .num_threads = [] { return static_cast<int32_t>(num_threads()); },
                         .set_num_threads = [](int32_t n) { set_num_threads(n); },
                         .alloc = [](size_t bytes, int32_t, void*) { return cached_alloc(bytes); },
                         .free = [](void* ptr, int32_t, void*) { cached_free(ptr); },
                         .empty_cache = empty_cache,
                         .cache_bytes = cache_bytes,
                         .live_bytes = live_bytes,
#define FA_SLOT(op) .op = entry<fa_##op##_params, &KernelTable::op>,
                         FA_OPS(FA_SLOT)
#undef FA_SLOT
};

}  // namespace
}  // namespace fastattn::cpu

const fa_table* fa_get_table(uint32_t version) {
  return version == FA_TABLE_VERSION ? &fastattn::cpu::kTable : nullptr;
}
