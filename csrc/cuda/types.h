// The 16-bit floats in device code: fastattn::bf16 and f16, plain bits under both compilers, and their conversions. A
// kernel computes in float (or hands the bits to mma), so nothing else is needed of a half type.
#pragma once

#include <type_traits>

#include "common/half.h"
#include "cuda/platform.h"

#ifndef __CUDACC__
#include "emulator/number.h"
#endif

namespace fastattn::cuda {

__device__ inline float to_float(float x) { return x; }

// bfloat16 is float's upper half.
__device__ inline float to_float(bf16 x) {
#ifdef __CUDACC__
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
#else
  return emulator::bf16_value(x.bits);
#endif
}

// PTX ISA, cvt.f32.f16: exact.
__device__ inline float to_float(f16 x) {
#ifdef __CUDACC__
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(x.bits));
  return result;
#else
  return emulator::f16_value(x.bits);
#endif
}

template <class T>
__device__ T from_float(float x);

template <>
__device__ inline float from_float<float>(float x) {
  return x;
}

// PTX ISA, cvt.rn.bf16.f32 (sm_80): to nearest, ties to even; NaN becomes 0x7fff.
template <>
__device__ inline bf16 from_float<bf16>(float x) {
#ifdef __CUDACC__
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
#else
  return {emulator::bf16_bits(x)};
#endif
}

// PTX ISA, cvt.rn.f16.f32: to nearest, ties to even; beyond 65504 infinity; NaN becomes 0x7fff.
template <>
__device__ inline f16 from_float<f16>(float x) {
#ifdef __CUDACC__
  f16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
#else
  return {emulator::f16_bits(x)};
#endif
}

// Two of them in one register, the first in the lower half, as mma takes them. PTX ISA, cvt.rn.bf16x2.f32 and .f16x2:
// the instruction's first operand is the upper half.
template <class T>
__device__ inline uint32_t pack(float first, float second) {
#ifdef __CUDACC__
  uint32_t result;
  if constexpr (std::is_same_v<T, bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(second), "f"(first));
  } else {
    static_assert(std::is_same_v<T, f16>);
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(second), "f"(first));
  }
  return result;
#else
  return from_float<T>(first).bits | static_cast<uint32_t>(from_float<T>(second).bits) << 16;
#endif
}

// PTX ISA, cvt.rna.tf32.f32 (sm_80): 10 bits of mantissa, ties away from zero. The result is a float whose 13 low bits
// mma ignores.
__device__ inline uint32_t to_tf32(float x) {
#ifdef __CUDACC__
  uint32_t result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(x));
  return result;
#else
  return emulator::tf32_bits(x);
#endif
}

// A float whose products are of its first 10 bits of mantissa: the type of a kernel that may round so.
struct tf32 {
  float value;
};
__device__ inline float to_float(tf32 x) { return x.value; }
template <>
__device__ inline tf32 from_float<tf32>(float x) {
  return {x};
}

// N elements that move as one load or store of up to 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Packed {
  T at[N];
};

}  // namespace fastattn::cuda
