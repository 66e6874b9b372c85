// mma.sync: D = A B + C by the 32 lanes of a warp, accumulated in float. PTX ISA 9.7.14.5, "mma" (sm_80); A is
// row-major, B column-major. With group = lane / 4 and t = lane % 4, a lane holds
//
//   m16n8k16, bf16 or f16 (two to a register, the lower column or row in the lower half)
//     A  a[0]: row group,     columns 2t, 2t+1          a[2]: row group,     columns 2t+8, 2t+9
//        a[1]: row group + 8, columns 2t, 2t+1          a[3]: row group + 8, columns 2t+8, 2t+9
//     B  b[0]: column group,  rows 2t, 2t+1             b[1]: column group,  rows 2t+8, 2t+9
//   m16n8k8, tf32
//     A  a[0]: (group, t)   a[1]: (group + 8, t)   a[2]: (group, t + 4)   a[3]: (group + 8, t + 4)
//     B  b[0]: (t, group)   b[1]: (t + 4, group)
//   C, D of both
//        c[0], c[1]: row group, columns 2t, 2t+1        c[2], c[3]: row group + 8, columns 2t, 2t+1
//
// d and c may be the same array.
#pragma once

#include <type_traits>

#include "common/half.h"
#include "cuda/platform.h"

namespace fastattn::cuda::ptx {

#ifdef __CUDACC__
#define FASTATTN_MMA(shape_and_types)                                                                            \
  asm volatile(                                                                                                  \
      "mma.sync.aligned." shape_and_types " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};" \
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                                           \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]))
#endif

template <class T>
__device__ inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4],
                                    [[maybe_unused]] Site site = {}) {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, f16>);
#ifdef __CUDACC__
  if constexpr (std::is_same_v<T, bf16>) {
    FASTATTN_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
  } else {
    FASTATTN_MMA("m16n8k16.row.col.f32.f16.f16.f32");
  }
#else
  emulator::mma(std::is_same_v<T, bf16> ? emulator::MatrixType::kBf16 : emulator::MatrixType::kF16, d, a, b, c, site);
#endif
}

__device__ inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                        const float (&c)[4], [[maybe_unused]] Site site = {}) {
#ifdef __CUDACC__
  FASTATTN_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
#else
  emulator::mma(emulator::MatrixType::kTf32, d, a, b, c, site);
#endif
}

#undef FASTATTN_MMA

}  // namespace fastattn::cuda::ptx
