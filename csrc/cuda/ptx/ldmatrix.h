// ldmatrix and stmatrix: 8x8 matrices of 16-bit elements between shared memory and the registers of a warp. PTX ISA
// 9.7.14.5.15, "ldmatrix" (sm_75), and 9.7.14.5.16, "stmatrix" (sm_90).
//
// Lane i gives the shared address of row i % 8 (16 bytes, aligned to 16) of matrix i / 8; the addresses of lanes past
// 8 * kMatrices are ignored. Register m of lane l then holds, of matrix m,
//     plain:       row l / 4, columns 2 (l % 4) (lower half) and 2 (l % 4) + 1
//     transposed:  column l / 4, rows 2 (l % 4) (lower half) and 2 (l % 4) + 1
// which are mma's fragments: A of m16n8k16 is x4 of its four 8x8 corners in the order (0, 0), (8, 0), (0, 8), (8, 8).
// All 32 lanes take part.
#pragma once

#include "cuda/platform.h"

namespace fastattn::cuda::ptx {

#ifdef __CUDACC__
#define FASTATTN_LDMATRIX(suffix)                                                             \
  if constexpr (kMatrices == 1) {                                                             \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" suffix ".shared.b16 {%0}, [%1];"             \
                 : "=r"(r[0])                                                                 \
                 : "r"(address)                                                               \
                 : "memory");                                                                 \
  } else if constexpr (kMatrices == 2) {                                                      \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" suffix ".shared.b16 {%0, %1}, [%2];"         \
                 : "=r"(r[0]), "=r"(r[1])                                                     \
                 : "r"(address)                                                               \
                 : "memory");                                                                 \
  } else {                                                                                    \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" suffix ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                             \
                 : "r"(address)                                                               \
                 : "memory");                                                                 \
  }
#define FASTATTN_STMATRIX(suffix)                                                                                \
  if constexpr (kMatrices == 1) {                                                                                \
    asm volatile("stmatrix.sync.aligned.m8n8.x1" suffix ".shared.b16 [%0], {%1};" ::"r"(address), "r"(r[0])      \
                 : "memory");                                                                                    \
  } else if constexpr (kMatrices == 2) {                                                                         \
    asm volatile("stmatrix.sync.aligned.m8n8.x2" suffix ".shared.b16 [%0], {%1, %2};" ::"r"(address), "r"(r[0]), \
                 "r"(r[1])                                                                                       \
                 : "memory");                                                                                    \
  } else {                                                                                                       \
    asm volatile("stmatrix.sync.aligned.m8n8.x4" suffix ".shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),    \
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])                                                      \
                 : "memory");                                                                                    \
  }
#endif

template <int kMatrices>
__device__ inline void ldmatrix(uint32_t (&r)[kMatrices], uint32_t address, [[maybe_unused]] Site site = {}) {
  static_assert(kMatrices == 1 || kMatrices == 2 || kMatrices == 4);
#ifdef __CUDACC__
  FASTATTN_LDMATRIX("")
#else
  emulator::ldmatrix(kMatrices, false, r, address, site);
#endif
}

template <int kMatrices>
__device__ inline void ldmatrix_trans(uint32_t (&r)[kMatrices], uint32_t address, [[maybe_unused]] Site site = {}) {
  static_assert(kMatrices == 1 || kMatrices == 2 || kMatrices == 4);
#ifdef __CUDACC__
  FASTATTN_LDMATRIX(".trans")
#else
  emulator::ldmatrix(kMatrices, true, r, address, site);
#endif
}

// On a device before sm_90, which lacks them, the stmatrix wrappers trap.
template <int kMatrices>
__device__ inline void stmatrix(uint32_t address, const uint32_t (&r)[kMatrices], [[maybe_unused]] Site site = {}) {
  static_assert(kMatrices == 1 || kMatrices == 2 || kMatrices == 4);
#ifndef __CUDACC__
  emulator::stmatrix(kMatrices, false, r, address, site);
#elif __CUDA_ARCH__ >= 900
  FASTATTN_STMATRIX("")
#else
  __trap();
#endif
}

template <int kMatrices>
__device__ inline void stmatrix_trans(uint32_t address, const uint32_t (&r)[kMatrices],
                                      [[maybe_unused]] Site site = {}) {
  static_assert(kMatrices == 1 || kMatrices == 2 || kMatrices == 4);
#ifndef __CUDACC__
  emulator::stmatrix(kMatrices, true, r, address, site);
#elif __CUDA_ARCH__ >= 900
  FASTATTN_STMATRIX(".trans")
#else
  __trap();
#endif
}

#undef FASTATTN_LDMATRIX
#undef FASTATTN_STMATRIX

}  // namespace fastattn::cuda::ptx
