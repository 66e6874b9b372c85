// Philox4x32-10: a block of four random words is a function of a key and a counter, so any element of a stream can be
// had without those before it, on any backend and for any tiling.
//
// Layout of the project: key = seed (low word first); counter words 0 and 1 = offset, words 2 and 3 = the block's
// number. Element i of a stream of words is word i % 4 of block i / 4.
//
// Known answers (Random123's kat_vectors, checked by tests/driver/random.cpp):
//   counter 0, key 0              6627e8d5 e169c58d bc57ac4c 9b00dbd8
//   counter and key all ones      408f276d 41c83b0e a20bc7c6 6d5451fd
//
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), section 3.
#pragma once

#include <cstdint>

// Compiled once for each instruction set, in its namespace, and for CUDA in that one.
#ifdef FASTATTN_ISA
#define FASTATTN_PHILOX inline __attribute__((always_inline))
namespace fastattn::cpu::FASTATTN_ISA {
#else
#include "cuda/platform.h"
#define FASTATTN_PHILOX __host__ __device__ inline
namespace fastattn::cuda {
#endif

inline constexpr uint32_t kPhiloxMul0 = 0xD2511F53, kPhiloxMul1 = 0xCD9E8D57;    // the paper's multipliers
inline constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9, kPhiloxWeyl1 = 0xBB67AE85;  // golden ratio, sqrt(3) - 1
inline constexpr int kPhiloxRounds = 10;

struct PhiloxBlock {
  uint32_t word[4];
};

FASTATTN_PHILOX PhiloxBlock philox(uint64_t seed, uint64_t offset, uint64_t block) {
  uint32_t c0 = static_cast<uint32_t>(offset), c1 = static_cast<uint32_t>(offset >> 32);
  uint32_t c2 = static_cast<uint32_t>(block), c3 = static_cast<uint32_t>(block >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kPhiloxMul0) * c0;
    const uint64_t p1 = static_cast<uint64_t>(kPhiloxMul1) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    k0 += kPhiloxWeyl0;
    k1 += kPhiloxWeyl1;
  }
  return {{c0, c1, c2, c3}};
}

// A word as a 24-bit fraction in [0, 1), times 2^24. keep iff uniform >= p is, exactly,
// philox_fraction(word) >= philox_threshold(p).
FASTATTN_PHILOX uint32_t philox_fraction(uint32_t word) { return word >> 8; }
FASTATTN_PHILOX uint32_t philox_threshold(double p) {
  const double scaled = p * 16777216.0;  // exact: a power of two
  const uint32_t below = static_cast<uint32_t>(scaled);
  return below + (static_cast<double>(below) < scaled ? 1 : 0);
}

}  // namespace

#undef FASTATTN_PHILOX
