// Ordered loads and stores of 32-bit flags, for blocks that hand work to each other. PTX ISA 8, "Memory Consistency
// Model"; ld.acquire.gpu and st.release.gpu (sm_70).
#pragma once

#include "cuda/platform.h"

namespace fastattn::cuda::ptx {

// What the storer of the value that is read wrote before, by store_release, is seen after.
__device__ inline uint32_t load_acquire(const uint32_t* p, [[maybe_unused]] Site site = {}) {
  uint32_t value;
#ifdef __CUDACC__
  asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
#else
  emulator::atomic_begin(const_cast<uint32_t*>(p), sizeof *p, emulator::AtomicKind::kLoad, emulator::Order::kAcquire,
                         site);
  emulator::raw_copy(&value, p, sizeof value);
#endif
  return value;
}

__device__ inline void store_release(uint32_t* p, uint32_t value, [[maybe_unused]] Site site = {}) {
#ifdef __CUDACC__
  asm volatile("st.release.gpu.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
#else
  emulator::atomic_begin(p, sizeof *p, emulator::AtomicKind::kStore, emulator::Order::kRelease, site);
  emulator::raw_copy(p, &value, sizeof value);
#endif
}

}  // namespace fastattn::cuda::ptx
