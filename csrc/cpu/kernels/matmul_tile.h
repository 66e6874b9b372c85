// The register tile of matmul: one tile of C, one piece of one K block, everything in registers.
//
//   dst[r][n] = (add ? add[r][n] : 0) + chain,   chain = one FMA per k, in k order, from init[r][n] or 0
//
// A chain may be cut anywhere and carried on through init: only where a sum starts again from 0 changes bits.
// b is read as rows of V vectors (a packed sliver, or b itself where it is contiguous along N); a is read by broadcast,
// from rows contiguous along K (kByRow) or from columns contiguous along M (also what a packed panel is).
#pragma once

#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

// Tile sizes: kRows x kVecs accumulators, kVecs vectors of b and a broadcast have to fit the register file.
//   avx512  8 x 3 of 32 zmm: 24 FMAs for 11 loads.
//   avx2    6 x 2 of 16 ymm: 12 FMAs for 8 loads, and one register to spare.
//   scalar  4 x 4
// kBlockK: where a chain ends and a new one starts; part of the result's definition. The b sliver of a block (kBlockK x
// kVecs vectors) is 192 KB on avx512 and 64 KB on avx2, streamed from L2.
template <class T>
struct TileConfig {
#if defined(FASTATTN_ISA_IS_AVX512)
  static constexpr int kRows = 8;
  static constexpr int kVecs = 3;
  static constexpr bool kReadsColumns = true;  // of a from L2 or L3, for all slivers: each line feeds FMAs enough
#elif defined(FASTATTN_ISA_IS_AVX2)
  static constexpr int kRows = 6;
  static constexpr int kVecs = 2;
  static constexpr bool kReadsColumns = false;
#else
  static constexpr int kRows = 4;
  static constexpr int kVecs = 4;
  static constexpr bool kReadsColumns = false;
#endif
  static constexpr int kLanes = Vec<T>::kLanes;
  static constexpr int kCols = kVecs * kLanes;
  static constexpr int64_t kBlockK = 4096 / sizeof(T);
};

// k of one step of the tile. bf16 goes in pairs where there is an instruction for their product: both products are
// added to the sum in k order, each rounded once; numbers under 2^-126 count as 0.
#if defined(FASTATTN_ISA_HAS_BF16)
template <class S>
inline constexpr int64_t kStep = 2;
#else
template <class S>
inline constexpr int64_t kStep = 1;
#endif

template <class T>
struct Tile {
  int64_t k_len;     // steps
  const void* a;     // a pair of bf16 may begin at any of them
  int64_t a_stride;  // bytes from row to row (by row) or from k to k (by column)
  int64_t a_ahead;   // by row: bytes from the rows in use to the rows to prefetch, or 0
  const T* b;
  int64_t b_stride;  // elements from k to k
  // What is called for meanwhile: kVecs vectors a step, the next step's fetch_step bytes further.
  const char* fetch;
  int64_t fetch_step;
  int64_t fetch_run = INT64_MAX, fetch_skip = 0;  // after so many steps it goes so many bytes further
  const T* init;                                  // or nullptr
  int64_t init_stride;
  const T* add;  // or nullptr
  int64_t add_stride;
  T* dst;
  int64_t dst_stride;
  int tail;  // lanes of the last vector that dst has, 1 to kLanes; init and add have whole vectors, b too but with
             // kMaskedLoads
  void fetch_ahead(int64_t steps) {  // along b
    fetch = reinterpret_cast<const char*>(b + steps * b_stride);
    fetch_step = b_stride * int64_t{sizeof(T)};
  }
};

// acc += a * b as the one form that updates the sum. GCC's allocator otherwise picks FMA forms that overwrite a factor,
// and pays with moves and spills; but asm reads no factor from memory.
template <class T>
FASTATTN_INLINE void fma_registers(Vec<T>& acc, Vec<T> a, Vec<T> b) {
#if defined(FASTATTN_ISA_IS_AVX512) || defined(FASTATTN_ISA_IS_AVX2)
  if constexpr (sizeof(T) == 4) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(acc.v) : "v"(a.v), "v"(b.v));
  } else {
    asm("vfmadd231pd %2, %1, %0" : "+v"(acc.v) : "v"(a.v), "v"(b.v));
  }
#else
  acc = fma(a, b, acc);
#endif
}

// The same, where factors may come from memory: with 32 registers GCC does well.
template <class T>
FASTATTN_INLINE void fma_into(Vec<T>& acc, Vec<T> a, Vec<T> b) {
#if defined(FASTATTN_ISA_IS_AVX2)
  fma_registers(acc, a, b);
#else
  acc = fma(a, b, acc);
#endif
}

// The same of a step of k.
template <class T>
FASTATTN_INLINE void step_into(Vec<T>& acc, Vec<T> a, Vec<T> b) {
#if defined(FASTATTN_ISA_HAS_BF16)
  acc.v = _mm512_dpbf16_ps(acc.v, __builtin_bit_cast(__m512bh, a.v), __builtin_bit_cast(__m512bh, b.v));
#else
  fma_registers(acc, a, b);
#endif
}

// Where a partial vector of b can be loaded as cheaply as a whole one. AVX2 would need a register for the mask.
#if defined(FASTATTN_ISA_IS_AVX512)
inline constexpr bool kMaskedLoads = true;
#else
inline constexpr bool kMaskedLoads = false;
#endif

template <class T, int kR, int kV, bool kByRow>
__attribute__((noinline)) void compute_tile(const Tile<T>& t) {
  using V = Vec<T>;
  const int tail = t.tail;
  const char* const first = static_cast<const char*>(t.a);
  V acc[kR][kV];
  if (t.init == nullptr) {
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) acc[r][v] = V::zero();
    }
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) acc[r][v] = V::load(t.init + r * t.init_stride + v * V::kLanes);
    }
  }

  // dst is on its way while the sums are made.
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      if (v * V::kLanes * sizeof(T) % 64 == 0) __builtin_prefetch(t.dst + r * t.dst_stride + v * V::kLanes, 1);
    }
  }
  // So are the rows of a that the next tile starts with; further along them the hardware sees the stream.
  if (kByRow && t.a_ahead != 0) {
    for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
      for (int line = 0; line < 4; ++line) {
        __builtin_prefetch(first + t.a_ahead + r * t.a_stride + line * 64);
      }
    }
  }

  const T* b = t.b;
  const char* fetch = t.fetch;
  const int64_t b_stride = t.b_stride, fetch_step = t.fetch_step;
  // By row: every third row has a pointer, the two after it are one and two strides away, which x86 addresses directly.
  // Eight pointers would not leave enough registers. Neither would the addresses of several steps, which GCC keeps if
  // it sees how they follow from one another: hence the empty asm.
  constexpr int kPointers = kByRow ? (kR + 2) / 3 : 1;
  const char* a[kPointers];
#pragma GCC unroll 4
  for (int i = 0; i < kPointers; ++i) a[i] = first + 3 * i * t.a_stride;
  int64_t a_stride = t.a_stride;

  constexpr int kUnroll = 4, kSize = static_cast<int>(sizeof(T));
  auto step = [&](int k) __attribute__((always_inline)) {
    V rb[kV];
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      const T* p = b + v * V::kLanes;
      rb[v] = kMaskedLoads && v == kV - 1 ? V::load(p, tail) : V::load(p);
      if (v * sizeof(V) % 64 == 0) __builtin_prefetch(fetch + v * sizeof(V), 0, 2);
    }
    b += b_stride;
    fetch += fetch_step;
    asm("" : "+r"(b), "+r"(fetch), "+r"(a_stride));
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      T factor;
      __builtin_memcpy(&factor, kByRow ? a[r / 3] + r % 3 * a_stride + k * kSize : a[0] + r * kSize, sizeof(T));
      const V ra = V::set(factor);
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) step_into(acc[r][v], ra, rb[v]);
    }
    if (!kByRow) {
      a[0] += a_stride;
      asm("" : "+r"(a[0]));
    }
  };
  auto advance = [&](int steps) __attribute__((always_inline)) {  // along rows
    if (!kByRow) return;
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) {
      a[i] += steps * kSize;
      asm("" : "+r"(a[i]));
    }
  };
#pragma GCC unroll 1
  for (int64_t left = t.k_len; left > 0; left -= t.fetch_run) {
    int64_t k = min_of(left, t.fetch_run);
    for (; k >= kUnroll; k -= kUnroll) {
      step(0);
      step(1);
      step(2);
      step(3);
      advance(kUnroll);
    }
#pragma GCC unroll 1
    for (; k > 0; --k) {
      step(0);
      advance(1);
    }
    fetch += t.fetch_skip;
  }

  if (t.add != nullptr) {
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) acc[r][v] = V::load(t.add + r * t.add_stride + v * V::kLanes) + acc[r][v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      T* p = t.dst + r * t.dst_stride + v * V::kLanes;
      // Not every store masked: Zen 4 is slow at those.
      if (v == kV - 1 && tail != V::kLanes) {
        acc[r][v].store(p, tail);
      } else {
        acc[r][v].store(p);
      }
    }
  }
}

template <class T>
using ComputeTile = void (*)(const Tile<T>&);

// kComputeTiles<T, by_row>.fn[rows - 1][vecs - 1]
template <class T, bool kByRow>
struct ComputeTiles {
  ComputeTile<T> fn[TileConfig<T>::kRows][TileConfig<T>::kVecs];
  template <int kR, int kV>
  constexpr void fill() {
    fn[kR - 1][kV - 1] = compute_tile<T, kR, kV, kByRow>;
    if constexpr (kV > 1) {
      fill<kR, kV - 1>();
    } else if constexpr (kR > 1) {
      fill<kR - 1, TileConfig<T>::kVecs>();
    }
  }
  constexpr ComputeTiles() : fn{} { fill<TileConfig<T>::kRows, TileConfig<T>::kVecs>(); }
};
template <class T, bool kByRow>
inline constexpr ComputeTiles<T, kByRow> kComputeTiles{};

template <class T>
FASTATTN_INLINE void run_tile(const Tile<T>& t, int64_t rows, int64_t vecs, bool by_row) {
  (by_row ? kComputeTiles<T, true>.fn : kComputeTiles<T, false>.fn)[rows - 1][vecs - 1](t);
}

}  // namespace fastattn::cpu::FASTATTN_ISA
