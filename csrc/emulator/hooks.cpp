// What g++ calls for every plain load and store of a source compiled with -fsanitize=thread: ThreadSanitizer's entry
// points, answered here instead of by its library. Only kernel sources are compiled so. Locals of a lane
// are its own and go no further; nor do a kernel's parameters.
#include <cstring>

#include "emulator/sanitizer.h"
#include "emulator/state.h"

namespace fastattn::emulator {

bool sees_bounds() { return asan::kOn; }

#ifdef FASTATTN_EMULATOR_RACES
namespace {

[[gnu::noinline]] void on_shared_access(Lane* lane, const void* p, size_t bytes, bool write,
                                        const void* return_address) {
  const Launch& launch = *running().launch;
  if (p >= launch.parameters && p < launch.parameters_end) return;
  const Where where = where_of(return_address);
  if (lane->block->holds(p) && lane->block->array_at(p, bytes) == nullptr) {
    fail(std::string(write ? "write" : "read") + " of " + std::to_string(bytes) + " bytes at " + memory_text(p) +
         ", out of bounds, by " + text_of(*lane) + " at " + text_of(where));
  }
  access(*lane, p, bytes, write ? Access::kWrite : Access::kRead, where);
  yield_one_in(running().options.yield_one_in);
}
// Most are of locals: those cost no more than two comparisons.
inline void on_access(const void* p, size_t bytes, bool write, const void* return_address) {
  if (current != nullptr && !Fiber::on_a_stack(p)) on_shared_access(current, p, bytes, write, return_address);
}

}  // namespace
#endif

}  // namespace fastattn::emulator

#ifdef FASTATTN_EMULATOR_RACES
using fastattn::emulator::on_access;
extern "C" {
void __tsan_init() {}
#define FASTATTN_HOOK(name, bytes, write) \
  void name(void* p) { on_access(p, bytes, write, __builtin_return_address(0)); }
#define FASTATTN_HOOKS(bytes)                               \
  FASTATTN_HOOK(__tsan_read##bytes, bytes, false)           \
  FASTATTN_HOOK(__tsan_write##bytes, bytes, true)           \
  FASTATTN_HOOK(__tsan_unaligned_read##bytes, bytes, false) \
  FASTATTN_HOOK(__tsan_unaligned_write##bytes, bytes, true) \
  FASTATTN_HOOK(__tsan_volatile_read##bytes, bytes, false)  \
  FASTATTN_HOOK(__tsan_volatile_write##bytes, bytes, true)
FASTATTN_HOOKS(1)
FASTATTN_HOOKS(2)
FASTATTN_HOOKS(4)
FASTATTN_HOOKS(8)
FASTATTN_HOOKS(16)
void* fastattn_emulator_memcpy(void* to, const void* from, size_t n) {
  if (n > 0) on_access(from, n, false, __builtin_return_address(0));
  if (n > 0) on_access(to, n, true, __builtin_return_address(0));
  return std::memcpy(to, from, n);
}
void* fastattn_emulator_memmove(void* to, const void* from, size_t n) {
  if (n > 0) on_access(from, n, false, __builtin_return_address(0));
  if (n > 0) on_access(to, n, true, __builtin_return_address(0));
  return std::memmove(to, from, n);
}
void* fastattn_emulator_memset(void* to, int value, size_t n) {
  if (n > 0) on_access(to, n, true, __builtin_return_address(0));
  return std::memset(to, value, n);
}
void __tsan_read_range(void* p, size_t n) { on_access(p, n, false, __builtin_return_address(0)); }
void __tsan_write_range(void* p, size_t n) { on_access(p, n, true, __builtin_return_address(0)); }
}
#endif

#ifdef FASTATTN_EMULATOR_ASAN
// A failed launch leaves its fibers where they stood, with what they had allocated for the report.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() { return "detect_leaks=0"; }
#endif
