// From the tensors of a call to the problem that the loops see, and the choice of loops.
//
// Every choice here is about speed only. What defines the bits is TileConfig::kBlockK and the order of k: batch axes
// that are summed into out are the outer digits of k, whether or not they can be folded into one stride.
#pragma once

#include "matmul_tile.h"

namespace fastattn::cpu::FASTATTN_ISA {

struct BatchAxis {
  int64_t size, a, b, out, residual, preact;  // strides in elements
};
struct SumAxis {
  int64_t size, a, b;
};

// S: what lies in memory; T: what is computed in.
template <class S>
struct Problem {
  using T = compute_t<S>;
  const S* a;         // (batch, sums, M, K)
  const S* b;         // (batch, sums, K, N)
  const S* bias;      // (N) or nullptr
  const S* residual;  // (batch, M, N) or nullptr
  S* preact;          // (batch, M, N) or nullptr
  S* out;             // (batch, M, N); nullptr where wide_out has its place
  T* wide_out;        // the same in f32, of 16-bit a and b
  int64_t M, N;
  int64_t K;      // steps, with the summed axes: num_runs runs of run_steps
  int64_t run_k;  // k that are one stride apart
  int64_t num_runs;
  int64_t a_m, a_k, b_k, b_n, bias_n, out_m, residual_m, preact_m;
  int64_t batch;
  int num_batch_axes, num_sum_axes;
  BatchAxis batch_axes[FA_MAX_DIMS];
  SumAxis sum_axes[FA_MAX_DIMS];
  int activation;
  bool accumulate;
  bool plain;  // out = a @ b and nothing else: a tile stores it
  bool sums;   // out += a @ b and nothing else: a tile adds it, where all of K is one block
};

template <class S>
FASTATTN_INLINE Problem<S> make_problem(const fa_matmul_params& p) {
  using T = compute_t<S>;
  Problem<S> q;
  const int m_axis = p.out.ndim - 2, n_axis = p.out.ndim - 1;
  q.a = data<const S>(p.a);
  q.b = data<const S>(p.b);
  q.bias = data<const S>(p.bias);
  q.residual = data<const S>(p.residual);
  q.preact = data<S>(p.preact);
  const bool wide = kIsHalf<S> && p.out.dtype == FA_F32;
  q.out = wide ? nullptr : data<S>(p.out);
  q.wide_out = wide ? data<T>(p.out) : nullptr;
  q.M = p.out.shape[m_axis];
  q.N = p.out.shape[n_axis];
  q.K = p.a.shape[n_axis];
  q.a_m = p.a.strides[m_axis];
  q.a_k = p.a.strides[n_axis];
  q.b_k = p.b.strides[m_axis];
  q.b_n = q.N == 1 ? 1 : p.b.strides[n_axis];
  q.bias_n = q.bias != nullptr ? p.bias.strides[0] : 0;
  q.out_m = p.out.strides[m_axis];
  q.residual_m = q.residual != nullptr ? p.residual.strides[m_axis] : 0;
  q.preact_m = q.preact != nullptr ? p.preact.strides[m_axis] : 0;
  q.activation = p.activation;
  q.accumulate = p.accumulate != 0;
  const bool bare =
      !kIsHalf<S> && q.bias == nullptr && q.residual == nullptr && q.preact == nullptr && p.activation == FA_ACT_NONE;
  q.plain = bare && !q.accumulate;
  q.sums = bare && q.accumulate;
  q.batch = 1;
  q.num_batch_axes = q.num_sum_axes = 0;
  int64_t sums = 1;
  for (int i = 0; i < m_axis; ++i) {
    const int64_t size = p.out.shape[i];
    if (size == 1) continue;
    if (p.out.strides[i] == 0 && size > 1) {
      q.sum_axes[q.num_sum_axes++] = {size, p.a.strides[i], p.b.strides[i]};
      sums *= size;
    } else {
      q.batch_axes[q.num_batch_axes++] = {size,
                                          p.a.strides[i],
                                          p.b.strides[i],
                                          p.out.strides[i],
                                          q.residual != nullptr ? p.residual.strides[i] : 0,
                                          q.preact != nullptr ? p.preact.strides[i] : 0};
      q.batch *= size;
    }
  }
  if (q.batch == 0 || q.M == 0) return q;

  // Rows of a batch that shares b are more rows of one matrix.
  for (int i = q.num_batch_axes - 1; i >= 0; --i) {
    const BatchAxis x = q.batch_axes[i];
    const bool one_stride = q.M == 1 || (x.a == q.M * q.a_m && x.out == q.M * q.out_m &&
                                         x.residual == q.M * q.residual_m && x.preact == q.M * q.preact_m);
    if (x.b != 0 || !one_stride) continue;
    if (q.M == 1) {
      q.a_m = x.a;
      q.out_m = x.out;
      q.residual_m = x.residual;
      q.preact_m = x.preact;
    }
    q.M *= x.size;
    q.batch /= x.size;
    --q.num_batch_axes;
    for (int j = i; j < q.num_batch_axes; ++j) q.batch_axes[j] = q.batch_axes[j + 1];
    i = q.num_batch_axes;  // a fold may have made way for another
  }

  // Summed axes: the innermost digits join k while the strides carry on. The order of k stays.
  q.run_k = q.K;
  q.K *= sums;
  while (q.num_sum_axes > 0) {
    const SumAxis x = q.sum_axes[q.num_sum_axes - 1];
    if (q.run_k == 1) {
      q.a_k = x.a;
      q.b_k = x.b;
    } else if (x.a != q.run_k * q.a_k || x.b != q.run_k * q.b_k) {
      break;
    }
    q.run_k *= x.size;
    --q.num_sum_axes;
  }
  if (q.K <= 1) q.a_k = 1;
  q.num_runs = q.run_k > 0 ? q.K / q.run_k : 0;
  q.K = q.num_runs * ceil_div(q.run_k, kStep<S>);
  return q;
}

// Where one batch entry starts.
template <class S>
FASTATTN_INLINE Problem<S> batch_entry(const Problem<S>& p, int64_t index) {
  Problem<S> q = p;
  for (int i = p.num_batch_axes - 1; i >= 0; --i) {
    const BatchAxis& x = p.batch_axes[i];
    const int64_t at = index % x.size;
    index /= x.size;
    q.a += at * x.a;
    q.b += at * x.b;
    if (q.out != nullptr) q.out += at * x.out;
    if (q.wide_out != nullptr) q.wide_out += at * x.out;
    if (q.residual != nullptr) q.residual += at * x.residual;
    if (q.preact != nullptr) q.preact += at * x.preact;
  }
  return q;
}

// f(a_offset, b_offset, first, k_len): the runs of k in the steps [begin, begin + steps) that are one stride apart; the
// step `first` counts from begin.
template <class S, class F>
FASTATTN_INLINE void for_each_run(const Problem<S>& p, int64_t begin, int64_t steps, F&& f) {
  const int64_t run_steps = ceil_div(p.run_k, kStep<S>);
  for (int64_t done = 0; done < steps;) {
    int64_t entry = (begin + done) / run_steps;
    const int64_t step = (begin + done) % run_steps, n = min_of(run_steps - step, steps - done);
    const int64_t k = step * kStep<S>;
    int64_t a_offset = k * p.a_k, b_offset = k * p.b_k;
    for (int i = p.num_sum_axes - 1; i >= 0; --i) {
      const SumAxis& x = p.sum_axes[i];
      a_offset += entry % x.size * x.a;
      b_offset += entry % x.size * x.b;
      entry /= x.size;
    }
    f(a_offset, b_offset, done, min_of(n * kStep<S>, p.run_k - k));
    done += n;
  }
}

// n things in `parts` runs whose lengths differ by at most one.
struct EvenSplit {
  int64_t length, longer;
  EvenSplit(int64_t n, int64_t parts) : length(n / parts), longer(n % parts) {}
  FASTATTN_INLINE int64_t begin(int64_t part) const { return part * length + min_of(part, longer); }
};

enum class BFrom {
  kDirect,  // rows of b as they are; without masked loads, a sliver with a partial vector is packed all the same
  kShared,  // slivers that all threads packed before
  kLocal,   // slivers that the item packs for itself
};
enum class AFrom {
  kRows,           // by broadcast from a, contiguous along K
  kColumns,        // by broadcast from a, contiguous along M
  kPackedColumns,  // copied to [k][row] tile by tile, by the item
  kSharedColumns,  // the same, by all threads before
};

struct Plan {
  BFrom b_from;
  AFrom a_from;
  int64_t num_slivers;         // of N: runs of at most kVecs vectors
  int64_t num_row_tiles;       // of M
  int64_t m_chunks, n_chunks;  // items of one batch entry (of one column panel, where b is shared)
  int64_t panel_slivers;       // kShared: slivers packed at a time
  int64_t panel_k;             // kShared: k packed at a time, a multiple of kBlockK
  int64_t group_k;             // k that a tile does before the next tile has its turn
  bool batch_items;            // items of all batch entries in one region
  // Elements of the workspace.
  int64_t shared_a, shared_b, partial;    // packed a and b; sums between panels of k
  int64_t local_a, local_b, state, sums;  // of each worker
  int64_t worker_elements() const { return local_a + local_b + state + sums; }
};

// Whether b fits L1 and L2 as it is.
template <class S>
FASTATTN_INLINE bool is_small_b(const Problem<S>& p) {
  return p.K * p.N <= int64_t{262144} / int64_t{sizeof(compute_t<S>)};
}

inline constexpr int64_t kStreamRows = 32;  // products of up to so many rows wait for b

template <class S>
FASTATTN_INLINE Plan make_plan(const Problem<S>& p) {
  using T = compute_t<S>;
  using C = TileConfig<T>;
  Plan q;
  const int64_t nv = ceil_div(p.N, int64_t{C::kLanes});
  q.num_slivers = ceil_div(nv, int64_t{C::kVecs});
  q.num_row_tiles = ceil_div(p.M, int64_t{C::kRows});
  const int64_t block_k = min_of(p.K, C::kBlockK);
  // Tiles read elements of 16 bits from packed copies only, which are of 32; but a pair of them that lies in a row of a
  // is a step.
  const bool one_run = p.num_sum_axes == 0 && !kIsHalf<S>;
  const bool rows_of_steps = p.num_sum_axes == 0 && sizeof(S) * kStep<S> == sizeof(T);
  const bool b_rows = p.b_n == 1 && one_run;

  constexpr int64_t kPanelElements = int64_t{16} * 1024 * 1024 / sizeof(T), kPanelBlocks = 8;
  constexpr int64_t kFewRows = 160, kSmallRows = 512, kLocalRows = 128, kMostRows = 512;
  constexpr int64_t kCachedBytes = int64_t{12} << 20;
  const bool small_b = is_small_b(p);  // packing costs more than it gives
  const bool rows_of_a = p.a_k == 1 && rows_of_steps, columns_of_a = p.a_m == 1 && one_run;
  // An item takes a sliver of b, packs it into its L2 a block at a time and multiplies all rows with it, or as many as
  // leave a's in the caches for the next items: what another core has packed may be far away. Columns of a are read in
  // place where a tile takes half of each line. An a that wants to be packed may have few rows only, and so may a
  // product that comes from memory: many rows of an out as narrow as a sliver cost more there than that.
  const bool few_rows = p.M <= kFewRows;
  const bool cached = (p.M * p.K * kStep<S> + p.K * kStep<S> * p.N + p.M * p.N) * int64_t{sizeof(S)} <= kCachedBytes;
  const int64_t entry_slivers = p.batch * q.num_slivers, most_chunks = max_of(int64_t{1}, p.M / kLocalRows);
  const int64_t least_chunks = min_of(most_chunks, ceil_div(p.M, kMostRows));
  const bool local = p.M > kStreamRows && !small_b && entry_slivers * most_chunks >= 4 * num_threads() &&
                     (few_rows || (cached && (rows_of_a || (columns_of_a && C::kReadsColumns))));
  // A small b whose columns have to be packed is shared out by columns, too.
  const bool packs_small = small_b && !b_rows && (rows_of_a || columns_of_a) && p.K > 0 && p.M > kStreamRows &&
                           p.M <= kSmallRows && p.batch < 8 && nv >= 2 * num_threads();
  if (packs_small) q.num_slivers = min_of(nv, round_up(q.num_slivers, int64_t{num_threads()}));
  const bool stream = p.M <= kStreamRows || local || packs_small;
  q.batch_items = stream || (p.batch >= 8 && small_b);
  q.b_from = p.K == 0 || (b_rows && small_b) ? BFrom::kDirect : q.batch_items ? BFrom::kLocal : BFrom::kShared;

  if (rows_of_a) {
    q.a_from = AFrom::kRows;
  } else if (one_run && (p.a_m == 1 || p.M == 1) && (stream || p.K * p.M <= 16384)) {
    q.a_from = AFrom::kColumns;
  } else {
    q.a_from = AFrom::kPackedColumns;
  }

  // Items: small enough to share out evenly, large enough to be worth claiming, and a's rows stay in L2.
  constexpr int64_t kItemWork = 131072;
  constexpr int64_t kChunkTiles = 96 / C::kRows;
  // Columns of a are packed by the item that multiplies them with all of a panel, where there are rows for all threads:
  // it finds them in its L2 then. A panel of b is one block of K there, of all columns if they fit: each is packed
  // once, and read while it is in the caches still.
  const int64_t whole_rows =
      ceil_div(q.num_row_tiles, round_up(ceil_div(q.num_row_tiles, kChunkTiles), int64_t{num_threads()}));
  const bool item_packs_a = q.a_from == AFrom::kPackedColumns && !q.batch_items && whole_rows >= kChunkTiles / 3;
  q.panel_k = max_of(int64_t{1}, p.K);
  if (q.b_from == BFrom::kShared) q.panel_k = min_of(p.K, (item_packs_a ? 1 : kPanelBlocks) * C::kBlockK);
  const int64_t panel_most = max_of(int64_t{1}, kPanelElements / (q.panel_k * C::kCols));
  if (q.a_from == AFrom::kPackedColumns && !q.batch_items && !item_packs_a && p.M * q.panel_k <= kPanelElements) {
    q.a_from = AFrom::kSharedColumns;
  }
  int64_t m_tiles = min_of(q.num_row_tiles, kChunkTiles), slivers = q.num_slivers;
  if (packs_small) m_tiles = q.num_row_tiles;
  if (local) {
    const int64_t chunks = max_of(least_chunks, ceil_div(int64_t{8} * num_threads(), entry_slivers));
    m_tiles = ceil_div(q.num_row_tiles, min_of(chunks, most_chunks));
  }
  if (q.b_from == BFrom::kLocal && !stream) m_tiles = min_of(q.num_row_tiles, 4 * kChunkTiles);
  if (stream) {
    slivers = q.b_from == BFrom::kLocal ? 1 : min_of(int64_t{4}, max_of(int64_t{1}, q.num_slivers / 8));
    // Less than two items' worth is one item.
    if (p.M * p.N * p.K <= 2 * kItemWork / 4) slivers = q.num_slivers;
  } else if (item_packs_a) {
    m_tiles = whole_rows;
    slivers = min_of(slivers, panel_most);
  } else {
    const int64_t entries = q.batch_items ? p.batch : 1;
    // An item that packs its rows of a wants many columns for them.
    const bool packs_a = q.a_from == AFrom::kPackedColumns;
    slivers = min_of(slivers, int64_t{packs_a ? 24 : 8});
    for (;;) {
      const int64_t items = entries * ceil_div(q.num_row_tiles, m_tiles) * ceil_div(q.num_slivers, slivers);
      const int64_t work = m_tiles * C::kRows * slivers * C::kCols * p.K;
      if (items >= 32 || work < 2 * kItemWork) break;
      const bool by_rows = q.b_from == BFrom::kLocal ? false
                           : packs_a                 ? m_tiles > 4
                                                     : m_tiles * C::kRows >= slivers * C::kCols;
      if (by_rows && m_tiles > 1) {
        m_tiles = ceil_div(m_tiles, int64_t{2});
      } else if (slivers > 1) {
        slivers = ceil_div(slivers, int64_t{2});
      } else {
        break;
      }
    }
  }
  q.m_chunks = ceil_div(q.num_row_tiles, m_tiles);

  q.panel_slivers = q.num_slivers;
  q.shared_a = q.a_from == AFrom::kSharedColumns ? p.M * q.panel_k : 0;
  q.shared_b = q.partial = 0;
  if (q.b_from == BFrom::kShared) {
    q.panel_slivers = max_of(min_of(panel_most, q.num_slivers), slivers);
    q.panel_slivers = min_of(q.panel_slivers, q.num_slivers);
    const int64_t panels = ceil_div(q.num_slivers, q.panel_slivers);
    q.panel_slivers = ceil_div(q.num_slivers, panels);
    q.shared_b = q.panel_slivers * C::kCols * q.panel_k;
    if (q.panel_k < p.K) q.partial = p.M * q.panel_slivers * C::kCols;
  }
  q.n_chunks = ceil_div(q.panel_slivers, slivers);

  q.group_k = C::kBlockK;
  if (stream && !local) q.group_k = q.b_from == BFrom::kLocal ? 512 : 32;  // the tiles below read the same rows of b
  const int64_t item_rows = m_tiles * C::kRows, item_cols = slivers * C::kCols;
  q.local_a = q.a_from == AFrom::kPackedColumns ? item_rows * block_k : 0;
  const bool ragged = q.b_from == BFrom::kDirect && !kMaskedLoads && p.N % C::kLanes != 0;
  q.local_b = q.b_from == BFrom::kLocal || ragged ? C::kCols * min_of(block_k, q.group_k) : 0;
  q.state = q.group_k < block_k ? item_rows * item_cols : 0;
  q.sums = q.partial == 0 && p.K > C::kBlockK ? item_rows * item_cols : 0;
  return q;
}

}  // namespace fastattn::cpu::FASTATTN_ISA
