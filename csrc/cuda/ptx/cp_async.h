// cp.async: global to shared memory without a register in between. PTX ISA 9.7.9.25.3, "cp.async" (sm_80). A thread
// issues copies, closes a group with commit, and later waits until at most so many of its groups are left. Until then
// nobody may touch the destination or write the source; after it, others may read only behind a barrier.
#pragma once

#include "cuda/platform.h"

namespace fastattn::cuda::ptx {

// Copies kBytes (4, 8 or 16) to the shared address `to`; both ends aligned to kBytes. Only source_bytes of them are
// read, the rest become zero: with 0, `from` may be anything that is aligned. 16 bytes go past L1 (.cg), less through
// it (.ca).
template <int kBytes>
__device__ inline void cp_async(uint32_t to, const void* from, int source_bytes = kBytes,
                                [[maybe_unused]] Site site = {}) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async copies 4, 8 or 16 bytes");
#ifdef __CUDACC__
  const size_t source = __cvta_generic_to_global(from);
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(source), "r"(source_bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(source), "n"(kBytes), "r"(source_bytes)
                 : "memory");
  }
#else
  emulator::cp_async(to, from, kBytes, source_bytes, site);
#endif
}

// cp.async.commit_group: what this thread has issued since the last one is a group; it may be empty.
__device__ inline void cp_async_commit() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulator::cp_async_commit();
#endif
}

// cp.async.wait_group: until at most kGroupsLeft of this thread's groups, the newest, may still be under way.
template <int kGroupsLeft>
__device__ inline void cp_async_wait([[maybe_unused]] Site site = {}) {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");
#else
  emulator::cp_async_wait(kGroupsLeft, site);
#endif
}

}  // namespace fastattn::cuda::ptx
