// matmul: out = activation(a @ b + bias) + residual
//
//   a (M, K)   b (K, N)   out (M, N)   bias (N)   residual, preact (M, N), each with batch axes before them
//
// C is computed in register tiles of kRows x kVecs vectors (matmul_tile.h). An item is a chunk of row tiles by a chunk
// of slivers (kVecs vectors of columns); its rows of a stay in L2 while slivers of b pass by. b comes from
//   - slivers that all threads packed in a region before (large matrices),
//   - b itself (small ones),
//   - slivers that the item packs for itself (many small products; M <= 160).
// Products of few rows do without tiles: what they wait for is b (matmul_stream.h).
// Bias, activation and residual are applied to the tile while it is in L1. Partial sums of long K stay with the item.
//
// Work 2 M N K flops; compulsory traffic M K + K N + M N elements. From about 64 x 64 x 64 on the FMA units are the
// roof, for M <= 16 it is the reading of b.
//
// Bits: an element is, per block of kBlockK k, one FMA chain in k order from 0; blocks are added in order. All paths,
// all tile shapes and all item sizes keep to that, so nothing else about a call matters.
//
// Reference: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008); Van Zee and van de
// Geijn, "BLIS" (2015).
#include "activation.h"
#include "matmul_stream.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

struct NoActivation {
  template <class V>
  static FASTATTN_INLINE V value(V x) {
    return x;
  }
};

// The way of rows x cols elements from their sums to out.
template <class S>
__attribute__((noinline)) void finish_tile(const Problem<S>& p, const compute_t<S>* sums, int64_t sums_stride,
                                           int64_t row, int64_t rows, int64_t col, int64_t cols) {
  using V = Vec<compute_t<S>>;
  // lanes: none of them for a whole vector.
  auto finish = [&](auto activation, int64_t r, int64_t n, auto... lanes) __attribute__((always_inline)) {
    V x = V::load(sums + r * sums_stride + n);
    const int64_t at = col + n, m = row + r;
    if (p.bias != nullptr) {
      if (p.bias_n == 1) {
        x = x + V::load(p.bias + at, lanes...);
      } else {
        compute_t<S> strided[V::kLanes];
        for (int64_t i = 0; i < V::kLanes; ++i) strided[i] = n + i < cols ? widen(p.bias[(at + i) * p.bias_n]) : 0;
        x = x + V::load(strided);
      }
    }
    if (p.preact != nullptr) x.store(p.preact + m * p.preact_m + at, lanes...);
    x = activation.value(x);
    if (p.residual != nullptr) x = x + V::load(p.residual + m * p.residual_m + at, lanes...);
    auto write = [&](auto* out) __attribute__((always_inline)) {
      if (p.accumulate) x = V::load(out, lanes...) + x;
      x.store(out, lanes...);
    };
    if (kIsHalf<S> && p.wide_out != nullptr) {
      write(p.wide_out + m * p.out_m + at);
    } else {
      write(p.out + m * p.out_m + at);
    }
  };
  auto finish_all = [&](auto activation) __attribute__((always_inline)) {
    for (int64_t r = 0; r < rows; ++r) {
      int64_t n = 0;
      for (; n + V::kLanes <= cols; n += V::kLanes) finish(activation, r, n);
      if (n < cols) finish(activation, r, n, static_cast<int>(cols - n));
    }
  };
  if (!visit_activation(p.activation, finish_all)) finish_all(NoActivation{});
}

// Calls for what finish_tile reads and writes, before its tile is computed: each line of it is new to the caches.
template <class S>
FASTATTN_INLINE void fetch_finish(const Problem<S>& p, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  auto fetch = [&]<class E>(E * first, int64_t stride) __attribute__((always_inline)) {
    for (int64_t r = 0; first != nullptr && r < rows; ++r) {
      for (int64_t n = 0; n < cols; n += static_cast<int64_t>(64 / sizeof(E))) {
        __builtin_prefetch(first + (row + r) * stride + col + n, !std::is_const_v<E>);
      }
    }
  };
  fetch(p.residual, p.residual_m);
  fetch(p.preact, p.preact_m);
  fetch(p.out, p.out_m);
  fetch(p.wide_out, p.out_m);
}

// What an item covers: rows, slivers, and k of the panel.
struct Region {
  int64_t row_begin, row_end;
  int64_t sliver_begin, sliver_end;
  int64_t k_begin, k_end;
};

// b's packed panel and the sums that outlive it.
template <class T>
struct Panel {
  const T* a;         // packed tiles of rows [m_chunk][block][tile][k][row], or nullptr
  const T* b;         // packed slivers [sliver][k][n], or nullptr
  int64_t vec_begin;  // the first vector of the panel
  T* sums;            // (M, sums_stride), or nullptr where the panel is all of K
  int64_t sums_stride;
};

// A tile whose rows of a end with half a pair of bf16: that is a step of its own, since what lies behind it may be NaN.
template <class S>
inline void run_odd_tile(const Problem<S>& p, Tile<compute_t<S>> t, int64_t row, int64_t rows, int64_t vecs,
                         compute_t<S>* hot) {
  using T = compute_t<S>;
  const int64_t steps = t.k_len - 1;
  if (steps > 0) {
    Tile<T> pairs = t;
    pairs.k_len = steps;
    pairs.add = nullptr;
    pairs.dst = hot;
    pairs.dst_stride = TileConfig<T>::kCols;
    run_tile(pairs, rows, vecs, true);
    t.init = hot;
    t.init_stride = pairs.dst_stride;
  }
  T last[TileConfig<T>::kRows];
  pack_a_run(p.a + row * p.a_m + p.run_k - 1, p.a_m, int64_t{1}, int64_t{1}, rows, last);
  t.k_len = 1;
  t.a = last;
  t.a_stride = rows * int64_t{sizeof(T)};
  t.b += steps * t.b_stride;
  run_tile(t, rows, vecs, false);
}

template <class S>
inline void compute_region(const Problem<S>& p, const Plan& plan, const Region& region,
                           const Panel<compute_t<S>>& panel, compute_t<S>* local) {
  using T = compute_t<S>;
  using C = TileConfig<T>;
  constexpr int64_t kLanes = C::kLanes;
  alignas(64) T hot[C::kRows * C::kCols];
  const EvenSplit slivers(ceil_div(p.N, kLanes), plan.num_slivers);
  const int64_t rows = region.row_end - region.row_begin;
  const int64_t num_tiles = ceil_div(rows, int64_t{C::kRows});
  const EvenSplit tiles(rows, num_tiles);
  const int64_t vec_begin = slivers.begin(region.sliver_begin);
  const int64_t item_cols = (slivers.begin(region.sliver_end) - vec_begin) * kLanes;

  T* const local_a = local;
  T* const local_b = local_a + plan.local_a;
  T* const state = local_b + plan.local_b;
  T* sums = state + plan.state;
  int64_t sums_stride = item_cols;
  if (panel.sums != nullptr) {
    sums = panel.sums + region.row_begin * panel.sums_stride + (vec_begin - panel.vec_begin) * kLanes;
    sums_stride = panel.sums_stride;
  }
  const bool by_row = plan.a_from == AFrom::kRows, odd = by_row && p.run_k % kStep<S> != 0;

  const int64_t panel_len = region.k_end - region.k_begin;

  Tile<T> t;
  int64_t block = region.k_begin;
  do {
    const int64_t block_len = min_of(C::kBlockK, region.k_end - block);
    const bool first_block = block == 0, last_block = block + block_len == p.K;
    const T* packed_a = local_a;
    if (plan.a_from == AFrom::kSharedColumns) {
      packed_a = panel.a + region.row_begin * panel_len + (block - region.k_begin) * rows;
    } else if (plan.a_from == AFrom::kPackedColumns) {
      pack_a_columns(p, region.row_begin, tiles, num_tiles, block, block_len, local_a);
    }
    int64_t group = 0;
    do {
      const int64_t group_len = min_of(plan.group_k, block_len - group);
      const bool last_group = group + group_len == block_len;
      const int64_t k = block + group;
      for (int64_t s = region.sliver_begin; s < region.sliver_end; ++s) {
        const int64_t vec = slivers.begin(s), vecs = slivers.begin(s + 1) - vec;
        const int64_t width = vecs * kLanes;
        const int64_t cols = min_of(p.N - vec * kLanes, width);
        const int64_t item_col = (vec - vec_begin) * kLanes;
        t.tail = static_cast<int>(cols - (vecs - 1) * kLanes);
        t.k_len = group_len;
        t.b_stride = width;
        int64_t rows_ahead = 8;
        if (plan.b_from == BFrom::kDirect && (kMaskedLoads || cols == width)) {
          if constexpr (!kIsHalf<S>) t.b = p.b + k * p.b_k + vec * kLanes;
          t.b_stride = p.b_k;
          if (plan.group_k < C::kBlockK) rows_ahead = plan.group_k;
        } else if (plan.b_from == BFrom::kShared) {
          t.b = panel.b + (vec - panel.vec_begin) * kLanes * panel_len + (k - region.k_begin) * width;
        } else {
          pack_b(p, vec, vecs, k, group_len, local_b);
          t.b = local_b;
        }
        t.fetch_ahead(rows_ahead);
        for (int64_t i = 0; i < num_tiles; ++i) {
          const int64_t tile_row = tiles.begin(i), tile_rows = tiles.begin(i + 1) - tile_row;
          const int64_t row = region.row_begin + tile_row;
          switch (plan.a_from) {
            case AFrom::kRows:
              t.a = p.a + row * p.a_m + k * kStep<S>;
              t.a_stride = p.a_m * int64_t{sizeof(S)};
              break;
            case AFrom::kColumns:
              t.a = p.a + row * p.a_m + k * p.a_k;
              t.a_stride = p.a_k * int64_t{sizeof(S)};
              break;
            case AFrom::kPackedColumns:
            case AFrom::kSharedColumns:
              t.a = packed_a + tile_row * block_len + group * tile_rows;
              t.a_stride = tile_rows * int64_t{sizeof(T)};
              break;
          }
          // The first sliver meets rows that are new to the cache: it calls for those of the next tile.
          t.a_ahead = s == region.sliver_begin ? tile_rows * t.a_stride : 0;
          T* const tile_state = state + tile_row * item_cols + item_col;
          T* const tile_sums = sums + tile_row * sums_stride + item_col;
          t.init = group == 0 ? nullptr : tile_state;
          t.init_stride = item_cols;
          t.add = last_group && !first_block ? tile_sums : nullptr;
          t.add_stride = sums_stride;
          // What a tile adds is read in whole vectors.
          const bool adds = p.sums && first_block && last_block && cols == width;
          const bool finish = last_group && last_block && !p.plain && !adds;
          if (!last_group) {
            t.dst = tile_state;
            t.dst_stride = item_cols;
          } else if (!last_block) {
            t.dst = tile_sums;
            t.dst_stride = sums_stride;
          } else if (finish) {
            t.dst = hot;
            t.dst_stride = C::kCols;
            fetch_finish(p, row, tile_rows, vec * kLanes, cols);
          } else if constexpr (!kIsHalf<S>) {
            t.dst = p.out + row * p.out_m + vec * kLanes;
            t.dst_stride = p.out_m;
            if (adds) {
              t.add = t.dst;
              t.add_stride = p.out_m;
            }
          }
          if (odd && last_group && last_block) {
            run_odd_tile(p, t, row, tile_rows, vecs, hot);
          } else {
            run_tile(t, tile_rows, vecs, by_row);
          }
          if (finish) finish_tile(p, hot, int64_t{C::kCols}, row, tile_rows, vec * kLanes, cols);
        }
      }
      group += group_len;
    } while (group < block_len);
    block += block_len;
  } while (block < region.k_end);
}

template <class S>
FASTATTN_INLINE fa_status run(const Problem<S>& p, const Plan& plan, const fa_launch& launch) {
  using T = compute_t<S>;
  using C = TileConfig<T>;
  T* const shared_a = static_cast<T*>(launch.workspace);
  T* const shared_b = shared_a + plan.shared_a;
  T* const partial = shared_b + plan.shared_b;
  T* const locals = partial + plan.partial;
  const int64_t worker_elements = plan.worker_elements();
  const EvenSplit m_chunks(plan.num_row_tiles, plan.m_chunks);
  auto region_of = [&](int64_t m_chunk) __attribute__((always_inline)) {
    Region r;
    r.row_begin = m_chunks.begin(m_chunk) * C::kRows;
    r.row_end = min_of(p.M, m_chunks.begin(m_chunk + 1) * C::kRows);
    return r;
  };

  if (plan.batch_items) {
    const EvenSplit n_chunks(plan.num_slivers, plan.n_chunks);
    const int64_t entry_items = plan.m_chunks * plan.n_chunks;
    parallel_for(launch, p.batch * entry_items, [&](int64_t item, int worker) {
      const Problem<S> entry = batch_entry(p, item / entry_items);
      const int64_t chunk = item % entry_items;
      Region r = region_of(chunk / plan.n_chunks);
      r.sliver_begin = n_chunks.begin(chunk % plan.n_chunks);
      r.sliver_end = n_chunks.begin(chunk % plan.n_chunks + 1);
      r.k_begin = 0;
      r.k_end = p.K;
      compute_region(entry, plan, r, Panel<T>{}, locals + worker * worker_elements);
    });
    return FA_OK;
  }

  const EvenSplit slivers(ceil_div(p.N, int64_t{C::kLanes}), plan.num_slivers);
  for (int64_t index = 0; index < p.batch; ++index) {
    const Problem<S> entry = batch_entry(p, index);
    for (int64_t panel_begin = 0; panel_begin < plan.num_slivers; panel_begin += plan.panel_slivers) {
      const int64_t panel_len = min_of(plan.panel_slivers, plan.num_slivers - panel_begin);
      const EvenSplit n_chunks(panel_len, plan.n_chunks);
      for (int64_t k_begin = 0; k_begin == 0 || k_begin < p.K; k_begin += plan.panel_k) {
        const int64_t k_len = min_of(plan.panel_k, p.K - k_begin);
        Panel<T> panel{};
        panel.vec_begin = slivers.begin(panel_begin);
        const int64_t blocks = max_of(ceil_div(k_len, C::kBlockK), int64_t{1});
        const int64_t b_items = plan.b_from == BFrom::kShared ? panel_len * blocks : 0;
        const int64_t a_items = plan.a_from == AFrom::kSharedColumns ? plan.m_chunks * blocks : 0;
        panel.a = shared_a;
        panel.b = shared_b;
        parallel_for(launch, b_items + a_items, [&](int64_t item, int) {
          const bool of_b = item < b_items;
          const int64_t part = of_b ? item / blocks : (item - b_items) / blocks;
          const int64_t k = item % blocks * C::kBlockK, n = min_of(C::kBlockK, k_len - k);
          if (of_b) {
            const int64_t vec = slivers.begin(panel_begin + part);
            const int64_t vecs = slivers.begin(panel_begin + part + 1) - vec;
            T* dst = shared_b + (vec - panel.vec_begin) * C::kLanes * k_len + k * vecs * C::kLanes;
            pack_b(entry, vec, vecs, k_begin + k, n, dst);
          } else {
            const Region r = region_of(part);
            const int64_t rows = r.row_end - r.row_begin, tiles = ceil_div(rows, int64_t{C::kRows});
            pack_a_columns(entry, r.row_begin, EvenSplit(rows, tiles), tiles, k_begin + k, n,
                           shared_a + r.row_begin * k_len + k * rows);
          }
        });
        if (plan.partial != 0) {
          panel.sums = partial;
          panel.sums_stride = plan.panel_slivers * C::kCols;
        }
        parallel_for(launch, plan.m_chunks * plan.n_chunks, [&](int64_t item, int worker) {
          Region r = region_of(item / plan.n_chunks);
          r.sliver_begin = panel_begin + n_chunks.begin(item % plan.n_chunks);
          r.sliver_end = panel_begin + n_chunks.begin(item % plan.n_chunks + 1);
          r.k_begin = k_begin;
          r.k_end = k_begin + k_len;
          if (r.sliver_begin < r.sliver_end) compute_region(entry, plan, r, panel, locals + worker * worker_elements);
        });
      }
    }
  }
  return FA_OK;
}

template <class S>
FASTATTN_INLINE fa_status run_stream(const Problem<S>& p, const StreamPlan<S>& plan, const fa_launch& launch) {
  using T = compute_t<S>;
  constexpr int64_t kBlockK = TileConfig<T>::kBlockK;
  T* const shared = static_cast<T*>(launch.workspace);
  T* const locals = shared + plan.shared_elements(p);
  const int64_t worker_elements = plan.worker_elements(p), block_sums = p.M * plan.row();
  const EvenSplit chunks(plan.vecs, plan.chunks);
  // f(entry's number, the problem of it, first column, columns)
  auto chunk_of = [&](int64_t item, auto f) __attribute__((always_inline)) {
    const int64_t chunk = item % plan.chunks, col = chunks.begin(chunk) * Vec<T>::kLanes;
    const int64_t cols = min_of(p.N, chunks.begin(chunk + 1) * Vec<T>::kLanes) - col;
    f(item / plan.chunks, batch_entry(p, item / plan.chunks), col, cols);
  };
  if (plan.by_block) {
    parallel_for(launch, p.batch * plan.blocks * plan.chunks, [&](int64_t item, int worker) {
      const int64_t block = item / plan.chunks % plan.blocks;
      const int64_t of_entry = item / plan.chunks / plan.blocks * plan.chunks + item % plan.chunks;
      chunk_of(of_entry, [&](int64_t index, const Problem<S>& entry, int64_t col, int64_t cols) {
        T *const a = locals + worker * worker_elements, *const sums = a + plan.a_elements(p);
        stream_block(entry, plan, block * kBlockK, col, cols, a, sums, plan.cols);
        T* const to = shared + (index * plan.blocks + block) * block_sums + col;
        take_sums(false, sums, plan.cols, p.M, cols, to, plan.row());
      });
    });
  }
  parallel_for(launch, p.batch * plan.chunks, [&](int64_t item, int worker) {
    chunk_of(item, [&](int64_t index, const Problem<S>& entry, int64_t col, int64_t cols) {
      if (plan.by_block) {
        T* const total = shared + index * plan.blocks * block_sums + col;
        for (int64_t i = 1; i < plan.blocks; ++i) {
          take_sums(true, total + i * block_sums, plan.row(), p.M, cols, total, plan.row());
        }
        return finish_tile(entry, total, plan.row(), 0, p.M, col, cols);
      }
      T* const a = locals + worker * worker_elements;
      T* const part = a + plan.a_elements(p);
      T* const total = plan.blocks > 1 ? part + p.M * plan.cols : part;
      for (int64_t i = 0; i < plan.blocks; ++i) {
        stream_block(entry, plan, i * kBlockK, col, cols, a, i == 0 ? total : part, plan.cols);
        if (i > 0) take_sums(true, part, plan.cols, p.M, cols, total, plan.cols);
      }
      finish_tile(entry, total, plan.cols, 0, p.M, col, cols);
    });
  });
  return FA_OK;
}

template <class S>
FASTATTN_INLINE fa_status call(const fa_matmul_params& params, fa_launch& launch) {
  using T = compute_t<S>;
  const Problem<S> p = make_problem<S>(params);
  const bool empty = p.batch == 0 || p.M == 0 || p.N == 0;
  const bool stream = !empty && StreamPlan<S>::takes(p);
  Plan plan{};
  if (!empty && !stream) plan = make_plan(p);
  if (launch.query) {
    const double batch = static_cast<double>(p.batch), m = p.M, n = p.N, k = empty ? 0 : p.num_runs * p.run_k;
    const double outs = 1 + (p.residual != nullptr) + (p.preact != nullptr) + p.accumulate;
    const int64_t worker_elements = stream ? StreamPlan<S>(p).worker_elements(p) : plan.worker_elements();
    const int64_t shared = stream ? StreamPlan<S>(p).shared_elements(p) : plan.shared_a + plan.shared_b + plan.partial;
    const int64_t elements = shared + num_threads() * worker_elements;
    describe<"matmul", S>(launch, {.workspace = static_cast<size_t>(elements) * sizeof(T),
                                   .flops = 2 * batch * m * n * k,
                                   .bytes = sizeof(S) * batch * (m * k + k * n + outs * m * n)});
    return FA_OK;
  }
  describe<"matmul", S>(launch);
  if (empty) return FA_OK;
  return stream ? run_stream(p, StreamPlan<S>(p), launch) : run(p, plan, launch);
}

}  // namespace

#if defined(FASTATTN_ISA_HAS_BF16)
// The other dtypes have the kernels of the instruction set below.
fa_status matmul(const fa_matmul_params& params, fa_launch& launch) {
  return params.a.dtype == FA_BF16 ? call<bf16>(params, launch) : FASTATTN_ISA_BELOW::matmul(params, launch);
}
#else
fa_status matmul(const fa_matmul_params& params, fa_launch& launch) {
  return visit_float(
      params.a.dtype, launch, [&]<class S>() __attribute__((always_inline)) { return call<S>(params, launch); });
}
#endif

}  // namespace fastattn::cpu::FASTATTN_ISA
