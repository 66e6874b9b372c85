// Shared memory. SHARED_ARRAY(T, name, align, n) declares T* name, n elements of T, the same for every thread of the
// block; SHARED_DYN(T, name) is the array whose size the launch gives, aligned to 1024 bytes. Neither is initialised
// (the emulator fills them with 0xFF). A type with a comma in it needs a name first.
#pragma once

#include "cuda/platform.h"

#ifdef __CUDACC__

#define SHARED_ARRAY(T, name, align, n)                                  \
  __shared__ alignas(align) unsigned char name##_bytes[sizeof(T) * (n)]; \
  T* const name = reinterpret_cast<T*>(name##_bytes)

extern __shared__ __align__(1024) unsigned char fastattn_dynamic_shared[];
#define SHARED_DYN(T, name) T* const name = reinterpret_cast<T*>(fastattn_dynamic_shared)

#else

// The tag's address tells declarations (and instantiations of a template) apart.
#define SHARED_ARRAY(T, name, align, n) \
  static char name##_tag;               \
  T* const name = static_cast<T*>(      \
      ::fastattn::emulator::shared_array(&name##_tag, sizeof(T) * (n), align, #name, {__FILE__, __LINE__}))
namespace fastattn::emulator {
inline char dynamic_shared_tag;
}
#define SHARED_DYN(T, name)                                                                                        \
  T* const name = static_cast<T*>(::fastattn::emulator::shared_array(&::fastattn::emulator::dynamic_shared_tag, 0, \
                                                                     1024, #name, {__FILE__, __LINE__}))

#endif

namespace fastattn::cuda {

// The 32-bit address of shared memory that ldmatrix, cp.async and their like take.
__device__ inline uint32_t shared_address(const void* p, [[maybe_unused]] Site site = {}) {
#ifdef __CUDACC__
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
#else
  return emulator::shared_address(p, site);
#endif
}

}  // namespace fastattn::cuda
