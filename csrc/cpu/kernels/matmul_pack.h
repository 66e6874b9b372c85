// Copies of a and b in the order in which the tile reads them, and in the form: a step of k is one element, widened if
// it has 16 bits, or a pair of bf16 where the instruction set multiplies those (kStep, matmul_tile.h).
#pragma once

#include "cpu/simd/transpose.h"
#include "matmul_plan.h"

namespace fastattn::cpu::FASTATTN_ISA {

#if defined(FASTATTN_ISA_HAS_BF16)
// Pairs lie in float lanes, bit by bit: only the tile's product looks at them.
FASTATTN_INLINE float packed_step(const bf16* p, int64_t k_stride, int64_t k_left) {
  const uint32_t low = p[0].bits, high = k_left > 1 ? p[k_stride].bits : 0;
  return __builtin_bit_cast(float, low | high << 16);
}
FASTATTN_INLINE VecF packed_columns(const bf16* p, int64_t k_stride, int n) {
  const __mmask16 m = Mask<float>::first(n).m;
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p));
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p + k_stride));
  return {_mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)))};
}
FASTATTN_INLINE VecF packed_steps(const bf16* p) { return {_mm512_loadu_ps(p)}; }
#else
// The step of k at p.
template <class S>
FASTATTN_INLINE compute_t<S> packed_step(const S* p, int64_t, int64_t) {
  return widen(*p);
}
// A step of n columns next to each other.
template <class S>
FASTATTN_INLINE Vec<compute_t<S>> packed_columns(const S* p, int64_t, int n) {
  using V = Vec<compute_t<S>>;
  return n == V::kLanes ? V::load(p) : V::load(p, n);
}
// kLanes steps next to each other.
template <class S>
FASTATTN_INLINE Vec<compute_t<S>> packed_steps(const S* p) {
  return Vec<compute_t<S>>::load(p);
}
#endif

// f(i, v) for kLanes steps i, from rows of k next to each other: v has row n in lane n < rows; the others are 0.
template <class S, class F>
FASTATTN_INLINE void transposed_steps(const S* src, int64_t src_stride, int64_t rows, F&& f) {
  using V = Vec<compute_t<S>>;
  if constexpr (!kIsHalf<S>) {
    if (rows == V::kLanes) return transpose_each(src, src_stride, f);
  }
  alignas(64) compute_t<S> block[V::kLanes * V::kLanes];
  for (int64_t n = 0; n < V::kLanes; ++n) {
    (n < rows ? packed_steps(src + n * src_stride) : V::zero()).store(block + n * V::kLanes);
  }
  transpose_each(block, int64_t{V::kLanes}, f);
}

// dst[step][n], n < vecs * kLanes, from src[k * k_stride + n * n_stride]; columns from `cols` on are 0.
template <class S>
inline void pack_b_run(const S* src, int64_t k_stride, int64_t n_stride, int64_t k_len, int64_t cols, int64_t vecs,
                       compute_t<S>* dst) {
  using T = compute_t<S>;
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t width = vecs * kLanes, steps = ceil_div(k_len, kStep<S>), whole = k_len / kStep<S>;
  if (n_stride == 1) {
    // All of a row before the next one: rows that lie pages apart share few sets of the caches, and those that a second
    // pass would want are gone. Reading them is waiting, so some are on their way.
    const int tail = static_cast<int>(cols - (vecs - 1) * kLanes);
    const int64_t ahead = 8 * kStep<S> * k_stride;
    for (int64_t s = 0; s < whole; ++s) {
      const S* from = src + s * kStep<S> * k_stride;
      T* to = dst + s * width;
      for (int64_t k = 0; k < kStep<S>; ++k) __builtin_prefetch(from + k * k_stride + ahead, 0, 2);
      for (int64_t v = 0; v < vecs - 1; ++v, from += kLanes, to += kLanes) {
        packed_columns(from, k_stride, kLanes).store(to);
      }
      packed_columns(from, k_stride, tail).store(to);
      for (int64_t k = 0; k < kStep<S>; ++k) __builtin_prefetch(from + k * k_stride + ahead, 0, 2);
    }
  }
  for (int64_t v = 0; v < vecs; ++v) {
    const int64_t lanes = min_of(kLanes, cols - v * kLanes);
    const S* from = src + v * kLanes * n_stride;
    T* to = dst + v * kLanes;
    int64_t s = n_stride == 1 ? whole : 0;
    if (k_stride == 1 && n_stride != 1) {
      for (; s + kLanes <= whole; s += kLanes) {
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i) {  // of the next vector of columns
          __builtin_prefetch(from + s * kStep<S> + (kLanes + i) * n_stride, 0, 2);
        }
        transposed_steps(
            from + s * kStep<S>, n_stride,
            lanes, [&](int64_t i, Vec<T> v) __attribute__((always_inline)) { v.store(to + (s + i) * width); });
      }
    }
    for (; s < steps; ++s) {
      const int64_t k = s * kStep<S>;
      for (int64_t n = 0; n < kLanes; ++n) {
        to[s * width + n] = n < lanes ? packed_step(from + k * k_stride + n * n_stride, k_stride, k_len - k) : T(0);
      }
    }
  }
}

// One sliver of b over the steps [begin, begin + steps).
template <class S>
FASTATTN_INLINE void pack_b(const Problem<S>& p, int64_t vec_begin, int64_t vecs, int64_t begin, int64_t steps,
                            compute_t<S>* dst) {
  constexpr int64_t kLanes = Vec<compute_t<S>>::kLanes;
  const S* b = p.b + vec_begin * kLanes * p.b_n;
  const int64_t cols = min_of(p.N - vec_begin * kLanes, vecs * kLanes);
  for_each_run(p, begin, steps, [&](int64_t, int64_t b_offset, int64_t first, int64_t k_len) {
    pack_b_run(b + b_offset, p.b_k, p.b_n, k_len, cols, vecs, dst + first * vecs * kLanes);
  });
}

// dst[step][r], r < rows, from src[r * m_stride + k * k_stride].
template <class S>
inline void pack_a_run(const S* src, int64_t m_stride, int64_t k_stride, int64_t k_len, int64_t rows,
                       compute_t<S>* dst) {
  using T = compute_t<S>;
  constexpr int kRows = TileConfig<T>::kRows;
  constexpr int64_t kLanes = Vec<T>::kLanes;
  const int64_t steps = ceil_div(k_len, kStep<S>), whole = k_len / kStep<S>;
  int64_t s = 0;
  if (rows == 1 && k_stride == 1) {
    for (; s + kLanes <= whole; s += kLanes) packed_steps(src + s * kStep<S>).store(dst + s);
  } else if constexpr (!kIsHalf<S>) {
    if (m_stride == 1 && rows == kRows) {
      for (; s < steps; ++s) __builtin_memcpy(dst + s * kRows, src + s * k_stride, kRows * sizeof(T));
    }
  } else if (kRows <= kLanes && k_stride == 1) {
    alignas(64) T columns[kLanes * kLanes];
    for (; s + kLanes <= whole; s += kLanes) {
      transposed_steps(
          src + s * kStep<S>, m_stride,
          rows, [&](int64_t i, Vec<T> v) __attribute__((always_inline)) { v.store(columns + i * kLanes); });
      if (rows == kRows) {  // a copy of a size that the compiler knows
        for (int64_t i = 0; i < kLanes; ++i) {
          __builtin_memcpy(dst + (s + i) * kRows, columns + i * kLanes, kRows * sizeof(T));
        }
        continue;
      }
      for (int64_t i = 0; i < kLanes; ++i) {
        for (int64_t r = 0; r < rows; ++r) dst[(s + i) * rows + r] = columns[i * kLanes + r];
      }
    }
  }
  if (m_stride == 1 && rows <= kLanes) {
    for (; s < whole; ++s) {
      const int lanes = static_cast<int>(rows);
      packed_columns(src + s * kStep<S> * k_stride, k_stride, lanes).store(dst + s * rows, lanes);
    }
  }
  for (; s < steps; ++s) {
    const int64_t k = s * kStep<S>;
    for (int64_t r = 0; r < rows; ++r) {
      dst[s * rows + r] = packed_step(src + r * m_stride + k * k_stride, k_stride, k_len - k);
    }
  }
}

// The rows of a from row_begin on, in num_tiles tiles, over the steps [begin, begin + steps): [tile][step][row].
template <class S>
FASTATTN_INLINE void pack_a_columns(const Problem<S>& p, int64_t row_begin, const EvenSplit& tiles, int64_t num_tiles,
                                    int64_t begin, int64_t steps, compute_t<S>* dst) {
  // A stretch of k at a time, so that the cache lines and pages of a are still there for the next tile.
  constexpr int64_t kStretch = kIsHalf<S> ? 16 * kStep<S> : 8;
  const int64_t rows_in_all = tiles.begin(num_tiles);
  for_each_run(p, begin, steps, [&](int64_t a_offset, int64_t, int64_t first, int64_t k_len) {
    for (int64_t k = 0; k < k_len; k += kStretch) {
      if (p.a_m == 1) {  // rows of memory: those of the next stretch
        constexpr int64_t kLine = 64 / sizeof(S);
        for (int64_t i = k + kStretch; i < min_of(k_len, k + 2 * kStretch); ++i) {
          const S* from = p.a + a_offset + row_begin + i * p.a_k;
          for (int64_t m = 0; m < rows_in_all; m += kLine) __builtin_prefetch(from + m);
        }
      }
      for (int64_t t = 0; t < num_tiles; ++t) {
        const int64_t row = tiles.begin(t), rows = tiles.begin(t + 1) - row;
        pack_a_run(p.a + a_offset + (row_begin + row) * p.a_m + k * p.a_k, p.a_m, p.a_k, min_of(kStretch, k_len - k),
                   rows, dst + row * steps + (first + k / kStep<S>)*rows);
      }
    }
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
