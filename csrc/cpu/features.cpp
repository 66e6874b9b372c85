#include "features.h"

#include <cpuid.h>

#include <cstdint>

namespace fastattn::cpu {
namespace {

constexpr bool bit(unsigned word, int n) { return (word >> n & 1) != 0; }

uint64_t read_xcr0() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

Features detect() {
  Features f;
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return f;
  const bool osxsave = bit(c, 27), fma = bit(c, 12), avx = bit(c, 28), f16c = bit(c, 29);
  if (!osxsave || !avx) return f;
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6;  // SSE and AVX; with opmask, low and high zmm
  const uint64_t xcr0 = read_xcr0();
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return f;
  const bool avx2 = bit(b, 5), bmi2 = bit(b, 8);
  f.avx2 = (xcr0 & kYmm) == kYmm && avx2 && bmi2 && fma && f16c;
  const bool avx512f = bit(b, 16), avx512dq = bit(b, 17), avx512bw = bit(b, 30), avx512vl = bit(b, 31);
  f.avx512 = f.avx2 && (xcr0 & kZmm) == kZmm && avx512f && avx512dq && avx512bw && avx512vl;
  f.avx512_bf16 = f.avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && bit(a, 5);
  return f;
}

}  // namespace

const Features& features() {
  static const Features f = detect();
  return f;
}

}  // namespace fastattn::cpu
