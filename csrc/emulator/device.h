// What a kernel source sees in place of CUDA's headers when g++ compiles it: the qualifiers, the built-in variables,
// the intrinsics that CUDA C++ spells as functions. Instructions that it does not spell are in cuda/ptx/. Each takes
// where it was called as a default argument, so that a report names the kernel's line.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulator/core.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

#ifdef FASTATTN_EMULATOR_HOOKED  // of kernel sources alone
// Copies that the compiler leaves to the C library, which carry no hook of their own, go to hooks.cpp.
extern "C" {
void* memcpy(void*, const void*, size_t) noexcept __asm__("fastattn_emulator_memcpy");
void* memmove(void*, const void*, size_t) noexcept __asm__("fastattn_emulator_memmove");
void* memset(void*, int, size_t) noexcept __asm__("fastattn_emulator_memset");
}
#endif

// The values of the lane that runs. One set: they are written whenever the scheduler resumes a lane.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace fastattn::emulator {

template <class T>
uint64_t bits_of(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
T value_of(uint64_t bits) {
  T value;
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace fastattn::emulator

// Barriers of the block. Two __syncthreads that meet must be the same line; named barriers (cuda/ptx/barrier.h) need
// not.
inline void __syncthreads(fastattn::emulator::Site site = {}) {
  fastattn::emulator::block_barrier("__syncthreads", false, site);
}
inline int __syncthreads_count(int predicate, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::block_barrier("__syncthreads_count", predicate != 0, site).count;
}
inline int __syncthreads_and(int predicate, fastattn::emulator::Site site = {}) {
  const auto votes = fastattn::emulator::block_barrier("__syncthreads_and", predicate != 0, site);
  return votes.count == votes.threads;
}
inline int __syncthreads_or(int predicate, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::block_barrier("__syncthreads_or", predicate != 0, site).count > 0;
}

// A product that no compiler makes part of an fma: g++ is told not to, everywhere.
inline float __fmul_rn(float a, float b) { return a * b; }

// Warps. Of these only __syncwarp orders memory.
inline void __syncwarp(unsigned mask = 0xffffffff, fastattn::emulator::Site site = {}) {
  fastattn::emulator::warp_barrier(mask, site);
}

#define FASTATTN_EMULATOR_SHUFFLE(name, kind)                                                                \
  template <class T>                                                                                         \
  T name(unsigned mask, T value, int argument, int width = 32, fastattn::emulator::Site site = {}) {         \
    using namespace fastattn::emulator;                                                                      \
    return value_of<T>(warp_shuffle(#name, ShuffleKind::kind, mask, bits_of(value), argument, width, site)); \
  }
FASTATTN_EMULATOR_SHUFFLE(__shfl_sync, kIndex)
FASTATTN_EMULATOR_SHUFFLE(__shfl_up_sync, kUp)
FASTATTN_EMULATOR_SHUFFLE(__shfl_down_sync, kDown)
FASTATTN_EMULATOR_SHUFFLE(__shfl_xor_sync, kXor)
#undef FASTATTN_EMULATOR_SHUFFLE

inline unsigned __ballot_sync(unsigned mask, int predicate, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::warp_ballot("__ballot_sync", mask, predicate != 0, site);
}
inline int __any_sync(unsigned mask, int predicate, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::warp_ballot("__any_sync", mask, predicate != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::warp_ballot("__all_sync", mask, predicate != 0, site) == mask;
}
inline unsigned __activemask() { return fastattn::emulator::active_mask(); }

#define FASTATTN_EMULATOR_REDUCE(name, op)                                                      \
  template <class T>                                                                            \
  T name(unsigned mask, T value, fastattn::emulator::Site site = {}) {                          \
    static_assert(std::is_integral_v<T> && sizeof(T) == 4, "redux.sync takes 32-bit integers"); \
    using namespace fastattn::emulator;                                                         \
    uint64_t all[32];                                                                           \
    const unsigned lanes = warp_gather(#name, mask, bits_of(value), all, site);                 \
    T result{};                                                                                 \
    bool first = true;                                                                          \
    for (int lane = 0; lane < 32; ++lane) {                                                     \
      if ((lanes >> lane & 1) == 0) continue;                                                   \
      const T x = value_of<T>(all[lane]), y = result;                                           \
      result = first ? x : static_cast<T>(op);                                                  \
      first = false;                                                                            \
    }                                                                                           \
    return result;                                                                              \
  }
FASTATTN_EMULATOR_REDUCE(__reduce_add_sync, static_cast<uint32_t>(x) + static_cast<uint32_t>(y))
FASTATTN_EMULATOR_REDUCE(__reduce_min_sync, x < y ? x : y)
FASTATTN_EMULATOR_REDUCE(__reduce_max_sync, x > y ? x : y)
FASTATTN_EMULATOR_REDUCE(__reduce_and_sync, x& y)
FASTATTN_EMULATOR_REDUCE(__reduce_or_sync, x | y)
FASTATTN_EMULATOR_REDUCE(__reduce_xor_sync, x ^ y)
#undef FASTATTN_EMULATOR_REDUCE

// Atomics are relaxed, as CUDA's are; __threadfence on both sides makes them order memory.
inline void __threadfence(fastattn::emulator::Site site = {}) { fastattn::emulator::fence(site); }
inline void __threadfence_block(fastattn::emulator::Site site = {}) { fastattn::emulator::fence(site); }

namespace fastattn::emulator {

// Reads *p, stores what change makes of it: one step, as no other lane runs between the two.
template <class T, class Change>
T atomic_update(T* p, Change change, Site site) {
  T old;
  atomic_begin(p, sizeof(T), AtomicKind::kUpdate, Order::kRelaxed, site);
  raw_copy(&old, p, sizeof(T));
  const T now = change(old);
  raw_copy(p, &now, sizeof(T));
  return old;
}

}  // namespace fastattn::emulator

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> x, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::atomic_update(
      p,
      [x](T old) {
        if constexpr (std::is_integral_v<T>) {
          using U = std::make_unsigned_t<T>;
          return static_cast<T>(static_cast<U>(old) + static_cast<U>(x));
        } else {
          return old + x;
        }
      },
      site);
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> x, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::atomic_update(p, [x](T old) { return old < x ? old : x; }, site);
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> x, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::atomic_update(p, [x](T old) { return old > x ? old : x; }, site);
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> x, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::atomic_update(p, [x](T old) { return static_cast<T>(old | x); }, site);
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> x, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::atomic_update(p, [x](T) { return x; }, site);
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> x, fastattn::emulator::Site site = {}) {
  return fastattn::emulator::atomic_update(p, [=](T old) { return old == expected ? x : old; }, site);
}
