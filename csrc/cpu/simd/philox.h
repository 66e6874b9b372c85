// Philox for a run of blocks, in vectors of them. A counter word stands in the low half of a 64-bit lane: that is
// what the 32 x 32 -> 64 multiply reads, so a round is two products, two shifts and four exclusive ors with no
// shuffles, and whatever collects in the high halves is ignored until the end.
#pragma once

#include "common/philox.h"
#include "simd.h"

namespace fastattn::cpu::FASTATTN_ISA {

#if defined(FASTATTN_ISA_IS_AVX512)
struct PhiloxVec {
  static constexpr int kLanes = 8;
  __m512i v;
  static FASTATTN_INLINE PhiloxVec set(uint64_t x) { return {_mm512_set1_epi64(static_cast<long long>(x))}; }
  static FASTATTN_INLINE PhiloxVec iota(uint64_t x) {
    return {_mm512_add_epi64(set(x).v, _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7))};
  }
  friend FASTATTN_INLINE PhiloxVec operator^(PhiloxVec a, PhiloxVec b) { return {_mm512_xor_si512(a.v, b.v)}; }
  FASTATTN_INLINE PhiloxVec high() const { return {_mm512_srli_epi64(v, 32)}; }
  friend FASTATTN_INLINE PhiloxVec multiply(PhiloxVec a, PhiloxVec b) { return {_mm512_mul_epu32(a.v, b.v)}; }
};
// Words 0 to 3 of block 0, then of block 1, and so on.
FASTATTN_INLINE void store_blocks(PhiloxVec c0, PhiloxVec c1, PhiloxVec c2, PhiloxVec c3, uint32_t* words) {
  const __m512i w01 = _mm512_mask_shuffle_epi32(c0.v, 0xaaaa, c1.v, _MM_PERM_CCAA);
  const __m512i w23 = _mm512_mask_shuffle_epi32(c2.v, 0xaaaa, c3.v, _MM_PERM_CCAA);
  const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  _mm512_storeu_si512(words, _mm512_permutex2var_epi64(w01, low, w23));
  _mm512_storeu_si512(words + 16, _mm512_permutex2var_epi64(w01, high, w23));
}
#elif defined(FASTATTN_ISA_IS_AVX2)
struct PhiloxVec {
  static constexpr int kLanes = 4;
  __m256i v;
  static FASTATTN_INLINE PhiloxVec set(uint64_t x) { return {_mm256_set1_epi64x(static_cast<long long>(x))}; }
  static FASTATTN_INLINE PhiloxVec iota(uint64_t x) {
    return {_mm256_add_epi64(set(x).v, _mm256_setr_epi64x(0, 1, 2, 3))};
  }
  friend FASTATTN_INLINE PhiloxVec operator^(PhiloxVec a, PhiloxVec b) { return {_mm256_xor_si256(a.v, b.v)}; }
  FASTATTN_INLINE PhiloxVec high() const { return {_mm256_srli_epi64(v, 32)}; }
  friend FASTATTN_INLINE PhiloxVec multiply(PhiloxVec a, PhiloxVec b) { return {_mm256_mul_epu32(a.v, b.v)}; }
};
FASTATTN_INLINE void store_blocks(PhiloxVec c0, PhiloxVec c1, PhiloxVec c2, PhiloxVec c3, uint32_t* words) {
  const __m256i w01 = _mm256_blend_epi32(c0.v, _mm256_slli_epi64(c1.v, 32), 0xaa);
  const __m256i w23 = _mm256_blend_epi32(c2.v, _mm256_slli_epi64(c3.v, 32), 0xaa);
  const __m256i even = _mm256_unpacklo_epi64(w01, w23), odd = _mm256_unpackhi_epi64(w01, w23);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), _mm256_permute2x128_si256(even, odd, 0x20));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + 8), _mm256_permute2x128_si256(even, odd, 0x31));
}
#endif

#if defined(FASTATTN_ISA_IS_AVX512) || defined(FASTATTN_ISA_IS_AVX2)
inline constexpr int kPhiloxChains = 4;
inline constexpr int kPhiloxStep = PhiloxVec::kLanes;

// kChains * kPhiloxStep blocks from first on, four words each. Four vectors of blocks run side by side: a round's chain
// of product, shift and exclusive or is about seven cycles, and one chain would leave the units idle.
template <int kChains>
FASTATTN_INLINE void philox_run(uint64_t seed, uint64_t offset, uint64_t first, uint32_t* words) {
  constexpr int kLanes = PhiloxVec::kLanes;
  const PhiloxVec mul0 = PhiloxVec::set(kPhiloxMul0), mul1 = PhiloxVec::set(kPhiloxMul1);
  PhiloxVec c0[kChains], c1[kChains], c2[kChains], c3[kChains];
#pragma GCC unroll 4
  for (int i = 0; i < kChains; ++i) {
    c0[i] = PhiloxVec::set(offset);
    c1[i] = c0[i].high();
    c2[i] = PhiloxVec::iota(first + static_cast<uint64_t>(i * kLanes));
    c3[i] = c2[i].high();
  }
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const PhiloxVec key0 = PhiloxVec::set(k0), key1 = PhiloxVec::set(k1);
#pragma GCC unroll 4
    for (int i = 0; i < kChains; ++i) {
      const PhiloxVec p0 = multiply(c0[i], mul0), p1 = multiply(c2[i], mul1);
      c0[i] = p1.high() ^ c1[i] ^ key0;
      c2[i] = p0.high() ^ c3[i] ^ key1;
      c1[i] = p1;
      c3[i] = p0;
    }
    k0 += kPhiloxWeyl0;
    k1 += kPhiloxWeyl1;
  }
#pragma GCC unroll 4
  for (int i = 0; i < kChains; ++i) store_blocks(c0[i], c1[i], c2[i], c3[i], words + i * 4 * kLanes);
}
#else
inline constexpr int kPhiloxChains = 1, kPhiloxStep = 1;
template <int kChains>
FASTATTN_INLINE void philox_run(uint64_t seed, uint64_t offset, uint64_t first, uint32_t* words) {
  const PhiloxBlock b = philox(seed, offset, first);
  for (int i = 0; i < 4; ++i) words[i] = b.word[i];
}
#endif

// At least n_blocks blocks from first on; words has room for a multiple of kPhiloxStep.
FASTATTN_INLINE void philox_blocks(uint64_t seed, uint64_t offset, uint64_t first, int64_t n_blocks, uint32_t* words) {
  constexpr int64_t kRun = kPhiloxChains * kPhiloxStep;
  int64_t i = 0;
  for (; i + kRun <= n_blocks; i += kRun) {
    philox_run<kPhiloxChains>(seed, offset, first + static_cast<uint64_t>(i), words + 4 * i);
  }
  for (; i < n_blocks; i += kPhiloxStep) {
    philox_run<1>(seed, offset, first + static_cast<uint64_t>(i), words + 4 * i);
  }
}

// The words of a stream, a window of kWords at a time: fill(i) makes the window that holds element i, whose words are
// word[i - begin] for begin <= i < begin + kWords. Small calls pay for what they read, rounded up to a vector.
struct PhiloxWindow {
  static constexpr int64_t kWords = 256;
  static_assert(kWords % (4 * kPhiloxStep) == 0);
  alignas(64) uint32_t word[kWords];
  int64_t begin;

  // end: the first element that nobody will ask for.
  FASTATTN_INLINE void fill(uint64_t seed, uint64_t offset, int64_t element, int64_t end) {
    begin = element / 4 * 4;
    philox_blocks(seed, offset, static_cast<uint64_t>(begin / 4), ceil_div(min_of(kWords, end - begin), 4), word);
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
