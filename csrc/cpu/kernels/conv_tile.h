// The register tile of conv: that of matmul (matmul_tile.h has its sizes) whose k comes in runs.
//
//   dst[r][n] = (add ? add[r][n] : 0) + chain,   chain = one FMA per k, in the order of runs, from 0
//
// A run is k that lie evenly in a and in b: the taps of one row of the kernel and their channels, or the pixels of one
// row of an image. The sums stay in registers from run to run, which matters where a run is short: 3 steps for a kernel
// of 3 x 3 over one channel.
#pragma once

#include "matmul_tile.h"

namespace fastattn::cpu::FASTATTN_ISA {

struct ConvRun {
  int64_t a, b;  // elements from a's and b's start
};

template <class T>
struct ConvTile {
  const ConvRun* runs;
  int64_t num_runs, run_len;
  const T* a;
  int64_t a_stride;  // elements from row to row (by row, k next to each other) or from k to k (rows next to each other)
  const T* b;
  int64_t b_stride;  // elements from k to k
  const T* add;      // or nullptr
  int64_t add_stride;
  T* dst;
  int64_t dst_stride;
  int tail;  // lanes of the last vector that dst and add have; b has whole vectors, but with kMaskedLoads
};

template <class T, int kR, int kV, bool kByRow>
__attribute__((noinline)) void conv_tile(const ConvTile<T>& t) {
  using V = Vec<T>;
  const int tail = t.tail;
  V acc[kR][kV];
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) acc[r][v] = V::zero();
  }

  // dst is on its way while the sums are made.
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      if (v * V::kLanes * sizeof(T) % 64 == 0) __builtin_prefetch(t.dst + r * t.dst_stride + v * V::kLanes, 1);
    }
  }

  // As in matmul_tile.h: a pointer for every third row, or the registers do not last.
  constexpr int kPointers = kByRow ? (kR + 2) / 3 : 1;
  constexpr int kUnroll = 4;
  const int64_t a_stride = t.a_stride, b_stride = t.b_stride;
  const T* a[kPointers];
  const T* b;
  auto at = [&](int r, int64_t k) __attribute__((always_inline)) {
    return kByRow ? a[r / 3] + r % 3 * a_stride + k : a[0] + r;
  };
  auto step = [&](int k) __attribute__((always_inline)) {
    V rb[kV];
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      const T* p = b + v * V::kLanes;
      rb[v] = kMaskedLoads && v == kV - 1 ? V::load(p, tail) : V::load(p);
      if (v * V::kLanes * sizeof(T) % 64 == 0) __builtin_prefetch(p + 8 * b_stride);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      V ra = V::set(*at(r, k));
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) fma_into(acc[r][v], ra, rb[v]);
    }
    // Without asm GCC keeps an address for each step, and spills it.
    b += b_stride;
    asm("" : "+r"(b));
    if (!kByRow) {
      a[0] += a_stride;
      asm("" : "+r"(a[0]));
    }
  };
  auto advance = [&](int steps) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int i = 0; kByRow && i < kPointers; ++i) {
      a[i] += steps;
      asm("" : "+r"(a[i]));
    }
  };
  for (int64_t run = 0; run < t.num_runs; ++run) {
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) a[i] = t.a + t.runs[run].a + 3 * i * a_stride;
    b = t.b + t.runs[run].b;
    int64_t k = t.run_len;
    for (; k >= kUnroll; k -= kUnroll) {
      step(0);
      step(1);
      step(2);
      step(3);
      advance(kUnroll);
    }
    // Runs are short: what is left does without a loop.
    if (k & 2) {
      step(0);
      step(1);
      advance(2);
    }
    if (k & 1) step(0);
  }

  if (t.add != nullptr) {
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kV; ++v) {
        const T* p = t.add + r * t.add_stride + v * V::kLanes;
        acc[r][v] = (v == kV - 1 && tail != V::kLanes ? V::load(p, tail) : V::load(p)) + acc[r][v];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kV; ++v) {
      T* p = t.dst + r * t.dst_stride + v * V::kLanes;
      if (v == kV - 1 && tail != V::kLanes) {
        acc[r][v].store(p, tail);
      } else {
        acc[r][v].store(p);
      }
    }
  }
}

template <class T>
using ConvTileFn = void (*)(const ConvTile<T>&);

// kConvTiles<T, by_row>.fn[rows - 1][vecs - 1]
template <class T, bool kByRow>
struct ConvTiles {
  ConvTileFn<T> fn[TileConfig<T>::kRows][TileConfig<T>::kVecs];
  template <int kR, int kV>
  constexpr void fill() {
    fn[kR - 1][kV - 1] = conv_tile<T, kR, kV, kByRow>;
    if constexpr (kV > 1) {
      fill<kR, kV - 1>();
    } else if constexpr (kR > 1) {
      fill<kR - 1, TileConfig<T>::kVecs>();
    }
  }
  constexpr ConvTiles() : fn{} { fill<TileConfig<T>::kRows, TileConfig<T>::kVecs>(); }
};
template <class T, bool kByRow>
inline constexpr ConvTiles<T, kByRow> kConvTiles{};

}  // namespace fastattn::cpu::FASTATTN_ISA
