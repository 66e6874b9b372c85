// Named barriers: 16 to a block, for groups of its warps. PTX ISA 9.7.13.1, "bar, barrier". Number 0 is __syncthreads'.
// threads counts every thread that takes part, those that only arrive too; all calls of one round must say the same.
#pragma once

#include "cuda/platform.h"

namespace fastattn::cuda::ptx {

// bar.sync: arrives, and waits until `threads` have. What any of them wrote before is seen after.
__device__ inline void barrier_sync(int id, int threads, [[maybe_unused]] Site site = {}) {
#ifdef __CUDACC__
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emulator::named_barrier_sync(id, threads, site);
#endif
}

// bar.arrive: arrives and goes on, as a producer does.
__device__ inline void barrier_arrive(int id, int threads, [[maybe_unused]] Site site = {}) {
#ifdef __CUDACC__
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  emulator::named_barrier_arrive(id, threads, site);
#endif
}

}  // namespace fastattn::cuda::ptx
