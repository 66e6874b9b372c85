// Products of few rows, in which b is read once from memory, as it lies.
//
// - b contiguous along N, up to kStreamTile rows (16 of 16 bits): a few rows of b at a time, in stretches of pages, are
//   multiplied into the sums of all columns of the item, which stay in L1.
// - b contiguous along N, up to kStreamRows rows: the same, by the register tiles of matmul_tile.h. While one group of
//   rows of b is multiplied, the next one is called for, a row after the other.
// - b contiguous along K, up to kStreamTile rows: a square of kLanes columns x kLanes steps is transposed in registers
//   on its way to the sums.
//
// Along N, items are blocks of K where there is more than one, so that there are enough of them for long stretches; the
// sums of a block wait in the workspace.
//
// Traffic: K N elements of b, once, for 2 M flops each. What a register tile would read, 192 bytes of every row, is too
// little at a time for the pages and the prefetchers of memory. Bits are those of the tiles: a chain in k order for
// each block of kBlockK, blocks added in order.
#pragma once

#include <numeric>

#include "matmul_pack.h"

namespace fastattn::cpu::FASTATTN_ISA {

inline constexpr int64_t kStreamTile = 4;

// Steps of k multiplied in one go. Their factors stay in registers; and rows of b that lie a page apart share a set of
// L1, where these, the ones that are prefetched and the sums have to find room.
template <class S, int kR>
inline constexpr int kGroup = (kR > 2 && sizeof(Vec<float>) < 64        ? 2
                               : kR == 1 && kIsHalf<S> && kStep<S> == 1 ? 8
                                                                        : 4) /
                              static_cast<int>(kStep<S>);

// sums[r][n] += a[r][step] * load(step, n) for kSteps steps.
template <class T, int kR, int kSteps, class F>
FASTATTN_INLINE void add_steps(const T* a, int64_t a_stride, T* sums, int64_t stride, int64_t cols, F&& load) {
  using V = Vec<T>;
  V factor[kSteps][kR];
#pragma GCC unroll 8
  for (int s = 0; s < kSteps; ++s) {
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) factor[s][r] = V::set(a[r * a_stride + s]);
  }
  auto add = [&](int64_t n, int lanes) __attribute__((always_inline)) {
    V acc[kR];
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) acc[r] = V::load(sums + r * stride + n);
#pragma GCC unroll 8
    for (int s = 0; s < kSteps; ++s) {
      const V x = load(s, n, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < kR; ++r) step_into(acc[r], factor[s][r], x);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) acc[r].store(sums + r * stride + n);
  };
  int64_t n = 0;
  for (; n + V::kLanes <= cols; n += V::kLanes) add(n, V::kLanes);
  if (n < cols) add(n, static_cast<int>(cols - n));
}

// f.template operator()<rows>() for 1 to kStreamTile rows.
template <class F>
FASTATTN_INLINE void visit_rows(int64_t rows, F&& f) {
  switch (rows) {
    case 1: return f.template operator()<1>();
    case 2: return f.template operator()<2>();
    case 3: return f.template operator()<3>();
    default: return f.template operator()<4>();
  }
}

// sums[r][n] += a[r][step] * b[k][n] for k_len k, at most kSteps steps of them, or half a pair.
template <class S, int kR, int kSteps>
__attribute__((noinline)) void stream_group(const S* b, int64_t b_k, int64_t k_len, int64_t cols, const compute_t<S>* a,
                                            int64_t a_stride, compute_t<S>* sums, int64_t stride) {
  using T = compute_t<S>;
  auto add = [&]<int kN>(int64_t s) __attribute__((always_inline)) {
    const S* from = b + s * kStep<S> * b_k;
    add_steps<T, kR, kN>(
        a + s, a_stride, sums, stride, cols, [&](int i, int64_t n, int lanes) __attribute__((always_inline)) {
          const S* at = from + i * kStep<S> * b_k + n;
#pragma GCC unroll 2
          for (int k = 0; k < kStep<S>; ++k) __builtin_prefetch(at + (2 * kN * kStep<S> + k) * b_k, 0, 2);
          return packed_columns(at, b_k, lanes);
        });
  };
  const int64_t whole = k_len / kStep<S>;
  if (whole == kSteps) return add.template operator()<kSteps>(0);
  for (int64_t s = 0; s < whole; ++s) add.template operator()<1>(s);
  if (whole * kStep<S> < k_len) {  // half a pair
    const S* from = b + whole * kStep<S> * b_k;
    add_steps<T, kR, 1>(
        a + whole, a_stride, sums, stride, cols, [&](int, int64_t n, int lanes) __attribute__((always_inline)) {
          alignas(64) T last[Vec<T>::kLanes] = {};
          for (int i = 0; i < lanes; ++i) last[i] = packed_step(from + n + i, b_k, int64_t{1});
          return Vec<T>::load(last);
        });
  }
}

// sums[r][n] = a[r] . b[n] over k_len k of one block, b contiguous along K, kR rows. While some columns are read, the
// next ones are called for.
template <class S, int kR>
__attribute__((noinline)) void stream_columns(const S* b, int64_t b_n, int64_t k_len, int64_t cols,
                                              const compute_t<S>* a, int64_t a_stride, compute_t<S>* sums,
                                              int64_t stride) {
  using T = compute_t<S>;
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const int64_t steps = ceil_div(k_len, kStep<S>), whole = k_len / kStep<S>;
  for (int64_t n = 0; n < cols; n += kLanes) {
    const S* from = b + n * b_n;
    const int64_t lanes = min_of(kLanes, cols - n);
    V acc[kR];
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) acc[r] = V::zero();
    auto add = [&](int64_t s, V x) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int r = 0; r < kR; ++r) step_into(acc[r], V::set(a[r * a_stride + s]), x);
    };
    int64_t s = 0;
    for (; s + kLanes <= whole; s += kLanes) {
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) __builtin_prefetch(from + s * kStep<S> + (i + kLanes) * b_n, 0, 2);
      transposed_steps(
          from + s * kStep<S>, b_n, lanes, [&](int64_t i, V x) __attribute__((always_inline)) { add(s + i, x); });
    }
    for (; s < steps; ++s) {
      const int64_t k = s * kStep<S>;
      alignas(64) T column[kLanes] = {};
      for (int64_t i = 0; i < lanes; ++i) column[i] = packed_step(from + k + i * b_n, int64_t{1}, k_len - k);
      add(s, V::load(column));
    }
#pragma GCC unroll 4
    for (int r = 0; r < kR; ++r) acc[r].store(sums + r * stride + n);
  }
}

template <class S>
struct StreamPlan {
  using T = compute_t<S>;
  static constexpr int64_t kLanes = Vec<T>::kLanes, kBlockK = TileConfig<T>::kBlockK;
  static constexpr int64_t kTileCols = 16 * TileConfig<T>::kCols;  // where tiles are used: at most about so many a row
  static constexpr int64_t kGroupSteps = 32;  // of k, at least, for which sums stay in a tile's registers
  int64_t vecs;                               // of N
  int64_t chunks;                             // of columns
  int64_t cols;                               // of the largest, in whole vectors
  int64_t blocks;                             // of K
  int64_t group;                              // of tiles: steps of k for each of them in turn
  int64_t run;                                // of them, while one row of b is called for
  bool by_block;                              // an item is a block of K of a chunk, not all of K
  bool tiles;                                 // for the sums, not rows of sums in L1

  static bool takes(const Problem<S>& p) {
    if (p.K == 0 || p.num_sum_axes > 0) return false;
    if (p.M <= kStreamTile) return p.b_n == 1 || p.b_k == 1;
    return p.M <= kStreamRows && p.b_n == 1 && !is_small_b(p);
  }
  explicit StreamPlan(const Problem<S>& p) {
    vecs = ceil_div(p.N, kLanes);
    blocks = ceil_div(p.K, kBlockK);
    tiles = p.b_n == 1 && p.M > (kIsHalf<S> ? 16 : kStreamTile);
    by_block = p.b_n == 1 && blocks > 1 && (tiles || p.M <= kStreamTile);
    const int64_t threads = num_threads(), items = by_block ? blocks : 1;  // of a chunk
    constexpr int64_t kLeast = 1024 / sizeof(S) / kLanes;
    int64_t item;
    if (p.b_n == 1) {  // of a row as long a stretch as every thread can have, and sums that leave half of L1
      constexpr int64_t kMost = 16384 / sizeof(S), kSums = 16384 / sizeof(T);
      const int64_t most = tiles ? kTileCols : min_of(kMost, kSums / p.M);
      item = max_of(kLeast, min_of(most, p.N * items / threads) / kLanes);
    } else {  // 256 KB of b
      item = max_of(int64_t{1}, 262144 / int64_t{sizeof(S)} / (p.K * kStep<S> * kLanes));
    }
    chunks = ceil_div(vecs, item);
    // Few items are as many for every thread, as long as that does not make scraps of them.
    const int64_t even = round_up(chunks, threads / std::gcd(threads, items));
    if (chunks * items < 8 * threads && (items == 1 || vecs >= even * kLeast / 2)) chunks = min_of(vecs, even);
    cols = ceil_div(vecs, chunks) * kLanes;
    // A tile calls for as much as it reads: as many rows, in turns, as it has slivers in its group.
    run = max_of(int64_t{4}, ceil_div(cols, kStep<S> * TileConfig<T>::kCols));
    group = run * ceil_div(kGroupSteps, run);
  }
  // What tiles cannot read in place is copied: 16 bits, and partial vectors of an instruction set without masks.
  bool copies(int64_t chunk_cols) const { return kIsHalf<S> || (!kMaskedLoads && chunk_cols % kLanes != 0); }
  int64_t a_elements(const Problem<S>& p) const {
    return p.M * min_of(p.K, kBlockK) + (tiles && copies(p.N) ? group * cols : 0);
  }
  // Elements of the workspace: the sums of all blocks, where items are blocks; and of a worker's scratch: a of a block,
  // and where they are not the sums of a block and those of the blocks before.
  int64_t row() const { return vecs * kLanes; }
  int64_t shared_elements(const Problem<S>& p) const { return by_block ? p.batch * blocks * p.M * row() : 0; }
  int64_t worker_elements(const Problem<S>& p) const {
    return a_elements(p) + (by_block || blocks == 1 ? 1 : 2) * p.M * cols;
  }
};

// to[M][stride] = all rows of a batch entry by the columns of a chunk, over the block of K that starts at step `begin`,
// by tiles. a: room for a_elements.
template <class S>
inline void stream_tiles(const Problem<S>& p, const StreamPlan<S>& plan, int64_t begin, int64_t col, int64_t cols,
                         compute_t<S>* a, compute_t<S>* to, int64_t stride) {
  using C = TileConfig<compute_t<S>>;
  constexpr int64_t kLanes = C::kLanes;
  const int64_t steps = min_of(C::kBlockK, p.K - begin), k_end = (begin + steps) * kStep<S>;
  const int64_t num_tiles = ceil_div(p.M, int64_t{C::kRows}), vecs = ceil_div(cols, kLanes);
  const int64_t num_slivers = ceil_div(vecs, int64_t{C::kVecs}), group = plan.group;
  const EvenSplit tiles(p.M, num_tiles), slivers(vecs, num_slivers);
  pack_a_columns(p, 0, tiles, num_tiles, begin, steps, a);
  compute_t<S>* const copy = a + p.M * steps;
  const bool copies = plan.copies(cols);
  const S* const b = p.b + col;
  Tile<compute_t<S>> t;
  t.a_ahead = 0;
  t.add = nullptr;
  t.b_stride = copies ? vecs * kLanes : p.b_k;
  t.init_stride = t.dst_stride = stride;
  const int64_t part =
      ceil_div(cols * int64_t{sizeof(S)}, num_tiles);  // of a row of b: each tile of rows calls for one
  for (int64_t s = 0; s < steps; s += group) {
    const int64_t k = (begin + s) * kStep<S>;
    t.k_len = min_of(group, steps - s);
    if (copies) pack_b(p, col / kLanes, vecs, begin + s, t.k_len, copy);
    for (int64_t j = 0; j < num_slivers; ++j) {
      const int64_t vec = slivers.begin(j), vec_end = slivers.begin(j + 1), n = vec * kLanes;
      t.tail = static_cast<int>(copies ? kLanes : min_of(kLanes, cols - (vec_end - 1) * kLanes));
      if (copies) {
        t.b = copy + n;
      } else if constexpr (!kIsHalf<S>) {
        t.b = b + k * p.b_k + n;
      }
      const int64_t row_ahead = k + group * kStep<S> + j * (group / plan.run);
      const bool fetches = row_ahead < min_of(k + 2 * group * kStep<S>, k_end);
      const char* const fetch = fetches ? reinterpret_cast<const char*>(b + row_ahead * p.b_k) : nullptr;
      t.fetch_step = fetches ? part / plan.run : 0;
      t.fetch_run = plan.run;
      t.fetch_skip = fetches ? p.b_k * int64_t{sizeof(S)} - plan.run * t.fetch_step : 0;
      for (int64_t i = 0; i < num_tiles; ++i) {
        const int64_t row = tiles.begin(i), rows = tiles.begin(i + 1) - row;
        t.a = a + row * steps + s * rows;
        t.a_stride = rows * int64_t{sizeof(*a)};
        t.fetch = fetches ? fetch + i * part : reinterpret_cast<const char*>(t.b);
        t.dst = to + row * stride + n;
        t.init = s == 0 ? nullptr : t.dst;
        run_tile(t, rows, vec_end - vec, false);
      }
    }
  }
}

// The same, by rows of sums or from columns of b. Rows of sums lie next to one another: pages apart they would share
// sets of L1 with rows of b.
template <class S>
inline void stream_block(const Problem<S>& p, const StreamPlan<S>& plan, int64_t begin, int64_t col, int64_t cols,
                         compute_t<S>* a, compute_t<S>* to, int64_t stride) {
  if (plan.tiles) return stream_tiles(p, plan, begin, col, cols, a, to, stride);
  using T = compute_t<S>;
  using V = Vec<T>;
  const int64_t k0 = begin * kStep<S>, steps = min_of(TileConfig<T>::kBlockK, p.K - begin);
  const int64_t k_len = min_of(steps * kStep<S>, p.run_k - k0);
  for (int64_t row = 0; row < p.M; ++row) {  // [row][step]
    pack_a_run(p.a + row * p.a_m + k0 * p.a_k, p.a_m, p.a_k, k_len, int64_t{1}, a + row * steps);
  }
  // f<rows>(first row) for each tile of rows.
  auto for_tiles = [&](auto f) __attribute__((always_inline)) {
    for (int64_t row = 0; row < p.M; row += kStreamTile) {
      visit_rows(
          min_of(kStreamTile, p.M - row), [&]<int kR>()
                                              __attribute__((always_inline)) { f.template operator()<kR>(row); });
    }
  };
  if (p.b_n == 1) {
    for (int64_t row = 0; row < p.M; ++row) {
      for (int64_t n = 0; n < cols; n += V::kLanes) V::zero().store(to + row * stride + n);
    }
    const S* b = p.b + k0 * p.b_k + col;
    visit_rows(
        min_of(p.M, kStreamTile), [&]<int kMost>() __attribute__((always_inline)) {
          constexpr int kSteps = kGroup<S, kMost>;
          for (int64_t s = 0; s < steps; s += kSteps) {
            const int64_t k = s * kStep<S>, n = min_of(kSteps * kStep<S>, k_len - k);
            for_tiles([&]<int kR>(int64_t row) __attribute__((always_inline)) {
              stream_group<S, kR, kSteps>(b + k * p.b_k, p.b_k, n, cols, a + row * steps + s, steps, to + row * stride,
                                          stride);
            });
          }
        });
  } else {
    for_tiles([&]<int kR>(int64_t row) __attribute__((always_inline)) {
      stream_columns<S, kR>(p.b + k0 + col * p.b_n, p.b_n, k_len, cols, a + row * steps, steps, to + row * stride,
                            stride);
    });
  }
}

// to = part, or to + part: rows x cols in whole vectors.
template <class T>
inline void take_sums(bool add, const T* part, int64_t part_stride, int64_t rows, int64_t cols, T* to, int64_t stride) {
  for (int64_t row = 0; row < rows; ++row, part += part_stride, to += stride) {
    for (int64_t n = 0; n < cols; n += Vec<T>::kLanes) {
      const Vec<T> x = Vec<T>::load(part + n);
      (add ? Vec<T>::load(to + n) + x : x).store(to + n);
    }
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
