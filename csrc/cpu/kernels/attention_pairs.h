// Rows of 16-bit queries, keys and values as the products read them where the instruction set multiplies pairs of bf16:
// a step of k holds two, bit by bit in a float lane (kStep, matmul_tile.h). Along a row they are two neighbours, which
// is how they lie in memory; across rows those of two rows, which have to be woven.
#pragma once

#include "attention_pack.h"
#include "matmul_pack.h"

namespace fastattn::cpu::FASTATTN_ISA {

#if defined(FASTATTN_ISA_HAS_BF16)

// Lane i: low[i] and high[i], rounded to nearest even.
FASTATTN_INLINE VecF pair_of(VecF low, VecF high) {
  alignas(64) static constexpr uint16_t kWoven[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i halves = __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(high.v, low.v));
  return {_mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(kWoven), halves))};
}

// The same numbers, each to a place of its own.
FASTATTN_INLINE void store_narrow(VecF first, VecF second, bf16* to_first, bf16* to_second) {
  const __m512i halves = __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(second.v, first.v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to_first), _mm512_castsi512_si256(halves));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to_second), _mm512_extracti64x4_epi64(halves, 1));
}
FASTATTN_INLINE bf16* narrow_at(float* steps, int64_t i) { return reinterpret_cast<bf16*>(steps) + i; }

// Pairs [step, step + width) of a row of n.
FASTATTN_INLINE VecF row_steps(const bf16* row, int64_t column, int64_t n, int64_t step, int width) {
  const bf16* p = row + 2 * step * column;
  if (column == 1 && 2 * (step + width) <= n) {
    return width == VecF::kLanes ? packed_steps(p) : VecF{_mm512_maskz_loadu_ps(Mask<float>::first(width).m, p)};
  }
  alignas(64) float lanes[VecF::kLanes] = {};
  for (int i = 0; i < width; ++i) lanes[i] = packed_step(p + 2 * i * column, column, n - 2 * (step + i));
  return VecF::load(lanes);
}

// to[i][step], m rows of n.
inline void copy_steps(const Rows<bf16>& x, int64_t m, int64_t n, float* to) {
  const int64_t steps = ceil_div(n, 2);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t step = 0; step < steps; step += VecF::kLanes) {
      const int width = static_cast<int>(min_of<int64_t>(VecF::kLanes, steps - step));
      row_steps(x.data + i * x.row, x.column, n, step, width).store(to + i * steps + step, width);
    }
  }
}

// The same in place, where whole pairs lie aligned; else by `copy`.
inline Rows<float> readable_steps(const Rows<bf16>& x, int64_t m, int64_t n, float* copy) {
  if (x.column == 1 && n % 2 == 0 && x.row % 2 == 0 && reinterpret_cast<uintptr_t>(x.data) % 4 == 0) {
    return {reinterpret_cast<const float*>(x.data), x.row / 2, 1};
  }
  copy_steps(x, m, n, copy);
  return {copy, ceil_div(n, 2), 1};
}

// to[step][i], leading dimension kBlockM. A factor would have to be rounded: the product multiplies by it.
inline void transpose_steps(const Rows<bf16>& x, int64_t m, int64_t n, float, float* to) {
  transpose_into<float>(
      m, ceil_div(n, 2), to, kBlockM<float>, [&](int64_t i, int64_t step, int width) __attribute__((always_inline)) {
        return row_steps(x.data + i * x.row, x.column, n, step, width);
      });
}

// to[i / 2][j]: rows i and i + 1, the last with 0 if it is alone. Rows of `to` are n apart, or to_row: what lies
// between is undefined.
inline void weave_rows(const Rows<bf16>& x, int64_t m, int64_t n, float* to, int64_t to_row) {
  for (int64_t i = 0; i < m; i += 2, to += to_row) {
    const bf16* row = x.data + i * x.row;
    int64_t j = 0;
    if (x.column == 1 && i + 1 < m) {
      for (; j < n; j += VecF::kLanes) {
        const int width = static_cast<int>(min_of<int64_t>(VecF::kLanes, n - j));
        packed_columns(row + j, x.row, width).store(to + j, width);
      }
    }
    for (; j < n; ++j) to[j] = packed_step(row + j * x.column, x.row, m - i);
  }
}

inline void weave_rows(const Rows<bf16>& x, int64_t m, int64_t n, float* to) { weave_rows(x, m, n, to, n); }

// The same of rows that were widened, with 0 for what is not finite.
inline void weave_finite(const float* x, int64_t m, int64_t n, float* to) {
  auto finite = [&](int64_t i, int64_t j, int width) __attribute__((always_inline)) {
    const VecF v = i < m ? VecF::load(x + i * n + j, width) : VecF::zero();
    return select(is_nan(v - v), VecF::zero(), v);
  };
  for (int64_t i = 0; i < m; i += 2, to += n) {
    for (int64_t j = 0; j < n; j += VecF::kLanes) {
      const int width = static_cast<int>(min_of<int64_t>(VecF::kLanes, n - j));
      pair_of(finite(i, j, width), finite(i + 1, j, width)).store(to + j, width);
    }
  }
}

// Tiles of P^T and dS^T in steps of two queries, [key][kBlockM / 2], and of dS^T in steps of two keys.
inline void make_steps(const TilePlace& t, const float* p, const float* ds, float* p_queries, float* ds_queries,
                       float* ds_keys) {
  constexpr int64_t M = kBlockM<float>;
  for (int64_t j = 0; j < t.n; j += 2) {
    for (int64_t i = 0; i < t.m; i += VecF::kLanes) {
      const int64_t at = j * M + i;
      const VecF first = VecF::load(ds + at), next = j + 1 < t.n ? VecF::load(ds + at + M) : VecF::zero();
      pair_of(first, next).store(ds_keys + j / 2 * M + i);
      store_narrow(first, next, narrow_at(ds_queries, at), narrow_at(ds_queries, at + M));
      store_narrow(VecF::load(p + at), VecF::load(p + at + M), narrow_at(p_queries, at), narrow_at(p_queries, at + M));
    }
  }
  if (t.m % 2 == 0) return;
  for (int64_t j = 0; j < t.n; ++j) {  // the last query's partner is nobody
    __builtin_memset(narrow_at(p_queries, j * M + t.m), 0, sizeof(bf16));
    __builtin_memset(narrow_at(ds_queries, j * M + t.m), 0, sizeof(bf16));
  }
}

#else

// A step is one number.
template <class S>
inline void transpose_steps(const Rows<S>& x, int64_t m, int64_t n, compute_t<S> factor, compute_t<S>* to) {
  pack_transposed(x, m, n, factor, to);
}
template <class S>
inline void copy_steps(const Rows<S>& x, int64_t m, int64_t n, compute_t<S>* to) {
  copy_rows(x, m, n, to);
}
template <class S>
inline Rows<compute_t<S> > readable_steps(const Rows<S>& x, int64_t m, int64_t n, compute_t<S>* copy) {
  return readable_rows(x, m, n, copy);
}

#endif

}  // namespace fastattn::cpu::FASTATTN_ISA
