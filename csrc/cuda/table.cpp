// The CUDA backend's versioned table. So far it is linked with the emulator alone, whose device memory is the host's;
// what the emulator finds wrong with a kernel is thrown through the entry to whoever called it.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "cuda/entries.h"
#include "cuda/host.h"

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
  return kKernel(*params, *launch);
}

constexpr const char* kVariant = "sm80";

fa_status force(const char* name) { return name == nullptr || std::strcmp(name, kVariant) == 0 ? FA_OK : FA_INVALID; }

// A workspace with its size in front, so that what is out can be told.
constexpr size_t kAlign = 64;
std::atomic<size_t> live = 0;

void* allocate(size_t bytes) {
  const size_t whole = (bytes + 2 * kAlign - 1) / kAlign * kAlign;
  char* memory = static_cast<char*>(std::aligned_alloc(kAlign, whole));
  if (memory == nullptr) return nullptr;
  std::memcpy(memory, &whole, sizeof whole);
  live += whole;
  return memory + kAlign;
}

void release(void* pointer) {
  if (pointer == nullptr) return;
  char* memory = static_cast<char*>(pointer) - kAlign;
  size_t whole;
  std::memcpy(&whole, memory, sizeof whole);
  live -= whole;
  std::free(memory);
}

const fa_table kTable = {.version = FA_TABLE_VERSION,
                         .size = sizeof(fa_table),
                         .backend = "cuda",
                         .variant_list = [] { return kVariant; },
                         .variant_active = [] { return kVariant; },
                         .variant_force = force,
                         .num_threads = [] { return int32_t{1}; },  // of the host: a kernel takes its own
                         .set_num_threads = [](int32_t) {},
                         .alloc = allocate,
                         .free = release,
                         .empty_cache = [] {},
                         .cache_bytes = [] { return size_t{0}; },
                         .live_bytes = [] { return live.load(); },
#define FA_SLOT(op) .op = entry<fa_##op##_params, op>,
                         FA_OPS(FA_SLOT)
#undef FA_SLOT
};

}  // namespace
}  // namespace fastattn::cuda

const fa_table* fa_get_table(uint32_t version) {
  return version == FA_TABLE_VERSION ? &fastattn::cuda::kTable : nullptr;
}
