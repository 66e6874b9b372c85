// What the core tells AddressSanitizer. The core itself is compiled without it (a scheduler has no bugs worth the time
// of every switch), so the few entry points are declared here and are nothing in the other build.
#pragma once

#include <cstddef>

#ifdef FASTATTN_EMULATOR_ASAN
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** bottom_old, size_t* size_old);
void __asan_poison_memory_region(const volatile void* address, size_t size);
void __asan_unpoison_memory_region(const volatile void* address, size_t size);
void* __asan_region_is_poisoned(void* begin, size_t size);
}
#endif

namespace fastattn::emulator::asan {

#ifdef FASTATTN_EMULATOR_ASAN
inline constexpr bool kOn = true;
inline void start_switch(void** save, const void* bottom, size_t size) {
  __sanitizer_start_switch_fiber(save, bottom, size);
}
inline void finish_switch(void* save, const void** bottom, size_t* size) {
  __sanitizer_finish_switch_fiber(save, bottom, size);
}
inline void poison(const void* p, size_t n) { __asan_poison_memory_region(p, n); }
inline void unpoison(const void* p, size_t n) { __asan_unpoison_memory_region(p, n); }
// The first byte of [p, p + n) that nobody may touch, or nullptr.
inline const void* first_poisoned(const void* p, size_t n) {
  return __asan_region_is_poisoned(const_cast<void*>(p), n);
}
#else
inline constexpr bool kOn = false;
inline void start_switch(void**, const void*, size_t) {}
inline void finish_switch(void*, const void**, size_t*) {}
inline void poison(const void*, size_t) {}
inline void unpoison(const void*, size_t) {}
inline const void* first_poisoned(const void*, size_t) { return nullptr; }
#endif

}  // namespace fastattn::emulator::asan
