// The register-tiled product that attention is made of, and the transposes around it.
//
//   C[m][n] (+)= sum_k A[m][k] * B[k][n]
//
// A is read one element at a time and broadcast, so it may have any strides: a row of key or value straight from the
// caller's tensor, or a score tile in either orientation. B and C are contiguous along n, in whole vectors, in scratch.
// All of it is in T, what is computed in; S is what lies in the caller's memory, which may be of 16 bits. Where kPer is
// 2, a step of k is a pair of bf16, bit by bit in a lane of A and B (attention_pairs.h), and C is in float as ever.
// Queries lie along n: a score tile is S^T, [key][query], its softmax is vertical (no horizontal reduction), keys and
// values are never packed, and the tails of D, Dv and S are tails of m, which need no padding.
//
// Register tile: kTileRows x kTileVecs accumulators, one broadcast and kTileVecs vectors of B per step of k. 8 x 3 on
// 32 registers takes 11 loads for 24 FMAs; 4 x 3 on 16 takes 7 for 12, and with 3 + 1 for the operands every register.
// Each instance is a function of its own, so that its accumulators compete with nothing: no spill in either (GCC 12).
#pragma once

#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

#if defined(FASTATTN_ISA_IS_AVX512)
inline constexpr int kTileRows = 8;
#else
inline constexpr int kTileRows = 4;
#endif
inline constexpr int kTileVecs = 3;

// Queries of a block, and the leading dimension of every tile with queries along n: 192 bytes, which is one panel of 3
// vectors of AVX-512 and two of AVX2. 48 queries keep Q^T, S^T and O^T of D = 64 near the 32 KB of an L1, and waste
// little on a causal diagonal.
template <class T>
inline constexpr int kBlockM = 192 / sizeof(T);

enum class Start { kZero, kAdd };  // C = or C +=; the tile's own sum is formed first, so long sums are summed in blocks

template <class T>
struct TileProduct {
  int64_t k;
  const T* a;  // rows at a_row, steps of k at a_k
  int64_t a_row, a_k;
  const T* b;
  int64_t b_k;
  T* c;
  int64_t c_row;
  T scale = 1;  // of pairs with Start::kZero: numbers come scaled, and 16 bits are too few for that
};

// acc + a * b, of a step.
template <int64_t kPer, class T>
FASTATTN_INLINE Vec<T> add_step(Vec<T> a, Vec<T> b, Vec<T> acc) {
#if defined(FASTATTN_ISA_HAS_BF16)
  if constexpr (kPer == 2) {
    return {_mm512_dpbf16_ps(acc.v, __builtin_bit_cast(__m512bh, a.v), __builtin_bit_cast(__m512bh, b.v))};
  }
#endif
  return fma(a, b, acc);
}

template <int64_t kPer, class T, int kRows, int kVecs, Start kStart>
__attribute__((noinline, aligned(64))) void multiply_tile(const TileProduct<T>& p) {
  using V = Vec<T>;
  V acc[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) acc[r][v] = V::zero();
  }
  const T* a[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) a[r] = p.a + r * p.a_row;
  const T* b = p.b;
  const int64_t a_k = p.a_k, b_k = p.b_k;
  int64_t at = 0;
#pragma GCC unroll 2
  for (int64_t k = p.k; k > 0; --k) {
    V bv[kVecs];
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) bv[v] = V::load(b + v * V::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      V av = V::set(a[r][at]);
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) acc[r][v] = add_step<kPer, T>(av, bv[v], acc[r][v]);
    }
    at += a_k;
    b += b_k;
  }
  T* c = p.c;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      T* to = c + v * V::kLanes;
      if constexpr (kStart == Start::kAdd) {
        (V::load(to) + acc[r][v]).store(to);
      } else if constexpr (kPer == 2) {
        (acc[r][v] * V::set(p.scale)).store(to);
      } else {
        acc[r][v].store(to);
      }
    }
    c += p.c_row;
  }
}

template <class T>
using TileFn = void (*)(const TileProduct<T>&);

template <int64_t kPer, class T, Start kStart>
struct TileTable {
  template <int kRows>
  static constexpr void fill_row(TileFn<T> (&row)[kTileVecs]) {
    row[0] = multiply_tile<kPer, T, kRows, 1, kStart>;
    row[1] = multiply_tile<kPer, T, kRows, 2, kStart>;
    row[2] = multiply_tile<kPer, T, kRows, 3, kStart>;
  }
  TileFn<T> fns[kTileRows][kTileVecs];
  constexpr TileTable() : fns{} {
    fill_row<1>(fns[0]);
    fill_row<2>(fns[1]);
    fill_row<3>(fns[2]);
    fill_row<4>(fns[3]);
    if constexpr (kTileRows == 8) {
      fill_row<5>(fns[4]);
      fill_row<6>(fns[5]);
      fill_row<7>(fns[6]);
      fill_row<8>(fns[7]);
    }
  }
};
template <int64_t kPer, class T, Start kStart>
inline constexpr TileTable<kPer, T, kStart> kTileTable{};

// Part i of n split into the fewest parts of at most `most`, of sizes that differ by one at most: no part is thin.
struct Balanced {
  int64_t parts, size, larger;
  FASTATTN_INLINE Balanced(int64_t n, int64_t most) {
    parts = ceil_div(n, most);
    size = parts > 0 ? n / parts : 0;
    larger = n - size * parts;
  }
  FASTATTN_INLINE int64_t begin(int64_t i) const { return i * size + min_of(i, larger); }
  FASTATTN_INLINE int64_t count(int64_t i) const { return size + (i < larger ? 1 : 0); }
};

// All of C: m rows, n_vecs vectors. p describes the whole; tiles are taken panel by panel of n, so B's panel stays in
// L1 while A streams.
template <class T, Start kStart, int64_t kPer = 1>
inline void multiply(int64_t m, int64_t n_vecs, TileProduct<T> p) {
  if (m <= 0 || n_vecs <= 0) return;
  const Balanced panels(n_vecs, kTileVecs), rows(m, kTileRows);
  const T *a = p.a, *b = p.b;
  T* c = p.c;
  for (int64_t j = 0; j < panels.parts; ++j) {
    const int64_t column = panels.begin(j) * Vec<T>::kLanes;
    p.b = b + column;
    for (int64_t i = 0; i < rows.parts; ++i) {
      const int64_t row = rows.begin(i);
      p.a = a + row * p.a_row;
      p.c = c + row * p.c_row + column;
      kTileTable<kPer, T, kStart>.fns[rows.count(i) - 1][panels.count(j) - 1](p);
    }
  }
}

// --- transposes ------------------------------------------------------------------------------------------------------
// A kLanes x kLanes block in registers: log2(kLanes) rounds of a perfect shuffle of its rows.
template <class T>
FASTATTN_INLINE void transpose_block(Vec<T> (&rows)[Vec<T>::kLanes]) {
  constexpr int n = Vec<T>::kLanes;
  if constexpr (n > 1) {
    typedef T Raw __attribute__((vector_size(n * sizeof(T))));
    Raw x[n], y[n];
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) x[i] = __builtin_bit_cast(Raw, rows[i].v);
#pragma GCC unroll 4
    for (int round = 1; round < n; round *= 2) {
#pragma GCC unroll 16
      for (int i = 0; i < n / 2; ++i) {
        Raw a = x[i], b = x[i + n / 2];
        if constexpr (n == 4) {
          y[2 * i] = __builtin_shufflevector(a, b, 0, 4, 1, 5);
          y[2 * i + 1] = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        } else if constexpr (n == 8) {
          y[2 * i] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
          y[2 * i + 1] = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
        } else {
          y[2 * i] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
          y[2 * i + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
      }
#pragma GCC unroll 16
      for (int i = 0; i < n; ++i) x[i] = y[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i].v = __builtin_bit_cast(decltype(rows[i].v), x[i]);
  }
}

// One vector of a strided row: p[0], p[stride], ..., `width` of them.
template <class S>
FASTATTN_INLINE Vec<compute_t<S>> load_strided(const S* p, int64_t stride, int width) {
  using V = Vec<compute_t<S>>;
  if (stride == 1) return width == V::kLanes ? V::load(p) : V::load(p, width);
  alignas(64) compute_t<S> lanes[V::kLanes] = {};
  for (int i = 0; i < width; ++i) lanes[i] = widen(p[i * stride]);
  return V::load(lanes);
}

// to[j][i] = load(i, j) for i < m, j < n; i from m up to the next whole vector reads 0. load(i, j, width) gives row i's
// columns from j, `width` of them valid.
template <class T, class Load>
FASTATTN_INLINE void transpose_into(int64_t m, int64_t n, T* to, int64_t to_row, Load&& load) {
  using V = Vec<T>;
  constexpr int L = V::kLanes;
  for (int64_t i = 0; i < m; i += L) {
    const int height = static_cast<int>(min_of<int64_t>(L, m - i));
    for (int64_t j = 0; j < n; j += L) {
      const int width = static_cast<int>(min_of<int64_t>(L, n - j));
      T* q = to + j * to_row + i;
      V x[L];
      if (height == L && width == L) {
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) x[r] = load(i + r, j, L);
        transpose_block<T>(x);
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) x[r].store(q + r * to_row);
      } else {
        for (int r = 0; r < L; ++r) x[r] = r < height ? load(i + r, j, width) : V::zero();
        transpose_block<T>(x);
        for (int r = 0; r < width; ++r) x[r].store(q + r * to_row);
      }
    }
  }
}

// to[j][i] = f(x[i][j]), x by strides.
template <class S, class F>
inline void transpose_rows(const S* x, int64_t row, int64_t column, int64_t m, int64_t n, compute_t<S>* to,
                           int64_t to_row, F&& f) {
  using T = compute_t<S>;
  if (column == 1) {
    transpose_into<T>(
        m, n, to, to_row, [&](int64_t i, int64_t j, int width) __attribute__((always_inline)) {
          const S* p = x + i * row + j;
          return f(width == Vec<T>::kLanes ? Vec<T>::load(p) : Vec<T>::load(p, width));
        });
  } else {
    transpose_into<T>(
        m, n, to, to_row, [&](int64_t i, int64_t j, int width) __attribute__((always_inline)) {
          return f(load_strided(x + i * row + j * column, column, width));
        });
  }
}

// to[i][j] = from[j][i] * factor(i), i < m rows of n: from a tile with queries along its rows to the caller's rows.
// factor gives a vector, of the rows from i.
template <class S, class F>
inline void transpose_out(const compute_t<S>* from, int64_t m, int64_t n, S* to, int64_t to_row, F&& factor_of) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int L = V::kLanes, M = kBlockM<T>;
  for (int64_t i = 0; i < m; i += L) {
    const int height = static_cast<int>(min_of<int64_t>(L, m - i));
    const V factor = factor_of(i);
    for (int64_t j = 0; j < n; j += L) {
      const int width = static_cast<int>(min_of<int64_t>(L, n - j));
      S* q = to + i * to_row + j;
      V x[L];
      if (height == L && width == L) {
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) x[r] = V::load(from + (j + r) * M + i) * factor;
        transpose_block<T>(x);
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) x[r].store(q + r * to_row);
      } else {
        for (int r = 0; r < L; ++r) x[r] = r < width ? V::load(from + (j + r) * M + i) * factor : V::zero();
        transpose_block<T>(x);
        for (int r = 0; r < height; ++r) x[r].store(q + r * to_row, width);
      }
    }
  }
}

// --- arguments
// --------------------------------------------------------------------------------------------------------
template <class T>
FASTATTN_INLINE T* at(const fa_tensor& t, int64_t batch, int64_t head) {
  return data<T>(t) + batch * t.strides[0] + head * t.strides[1];
}

// Blocks of queries: whole vectors, at most kBlockM, of equal height but for one vector.
template <class T>
struct QueryBlocks {
  int64_t seqlen_q;
  Balanced vecs;
  explicit QueryBlocks(int64_t length)
      : seqlen_q(length), vecs(ceil_div(length, Vec<T>::kLanes), kBlockM<T> / Vec<T>::kLanes) {}
  FASTATTN_INLINE int64_t count() const { return vecs.parts; }
  FASTATTN_INLINE int64_t begin(int64_t i) const { return vecs.begin(i) * Vec<T>::kLanes; }
  FASTATTN_INLINE int64_t rows(int64_t i) const {
    return min_of<int64_t>(vecs.count(i) * Vec<T>::kLanes, seqlen_q - begin(i));
  }
};

}  // namespace fastattn::cpu::FASTATTN_ISA
