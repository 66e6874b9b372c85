// recurrent_bwd: back through the steps of recurrent_fwd.
//
//   d (T B, K H), rows D apart: the gradients of the slots of gates (recurrent_cell.h); of w_hh's part (T B, G H) the
//   first, of the input's the last columns
//
// For a block of steps at a time, the last first, so that d stays in the caches; in it step by step, for rows of the
// batch and groups of units:
//
//   dh = d_{t+1} w_hh   a tile of rows by units, from weights that are packed once a call
//   cell                of dh, while it is in L1, of the step's doutput and of what the state carries: d_t
//
// and then products over its steps, the matmul kernel's:
//
//   dx = d w_ih   dw_ih += d^T x   dw_hh += d^T h, h the output one step before, and h0 at the first
//   db_ih, db_hh: sums of columns of d
//
// Of 16-bit arrays all of that is made in f32 and rounded once at the end.
//
// Work 4 T B G H (I + H) flops; compulsory traffic gates, cells and what the products read and write.
#include "recurrent_step.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

template <class S, class Cell>
struct Backward {
  using A = compute_t<S>;
  using V = Vec<A>;
  static constexpr int kGates = Cell::kGates, kSlots = Cell::kSlots;
  static constexpr bool kHalf = kIsHalf<S>;
  static constexpr int64_t kSetBytes = 4096;  // lines so far apart share a set of L1: the rows of a tile of d must not

  const fa_recurrent_bwd_params& p;
  const int64_t T, B, I, H, D;
  const Groups<A, 1> groups;
  fa_tensor x_rows;  // (T B, I)
  const bool copies_x, gathers;
  const int64_t block;  // steps

  explicit Backward(const fa_recurrent_bwd_params& params)
      : p(params),
        T(p.x.shape[0]),
        B(p.x.shape[1]),
        I(p.x.shape[2]),
        H(p.w_hh.shape[1]),
        D(kSlots * H + (kSlots * H * sizeof(A) % kSetBytes == 0 ? 64 / sizeof(A) : 0)),
        groups(H, kGates * H),
        // A product with 0 does not hide what is behind the end of a sequence.
        copies_x((!fold_steps(p.x, x_rows) || kHalf || p.lengths.data != nullptr) && p.dw_ih.data != nullptr),
        gathers(p.h0.data != nullptr && p.reverse && p.lengths.data != nullptr),
        block(block_steps(T, B, kSlots * H * sizeof(A))) {}

  struct Scratch {
    int64_t* lengths;  // [B]
    A* d;              // [B block][D]
    A* after;          // [B][D] d of the step after the block's last
    A* packed;         // w_hh
    A *h0, *c0;        // [B][H]
    A *dh, *dc;        // [B][H] what the state carries
    A* first;          // [B][D] d of each row's first step, where those are not of one t
    A* x;              // [T B][I], and so on: what the products read, and of 16 bits what they write
    A* output;
    A* w_ih;
    A *dx, *dw_ih, *dw_hh;
    A *sum, *sums;  // [kSlots H] of a block, of all
    char* product;
    size_t bytes;

    Scratch(const Backward& f, char* base) {
      const int64_t steps = f.T * f.B, state = f.B * f.H, gates = kGates * f.H;
      Carver carver{base};
      lengths = carver.take<int64_t>(f.B);
      d = carver.take<A>(f.block * f.B * f.D);
      after = carver.take<A>(f.B * f.D);
      packed = carver.take<A>(f.groups.packed_elements());
      h0 = carver.take<A>(state);
      c0 = carver.take<A>(Cell::kHasCell ? state : 0);
      dh = carver.take<A>(state);
      dc = carver.take<A>(Cell::kHasCell ? state : 0);
      first = carver.take<A>(f.gathers ? f.B * f.D : 0);
      x = carver.take<A>(f.copies_x ? steps * f.I : 0);
      // What is written is the caller's array, but of 16 bits.
      auto result = [&](const fa_tensor& t, int64_t n) {
        if (t.data == nullptr) return static_cast<A*>(nullptr);
        return kHalf ? carver.take<A>(n) : data<A>(t);
      };
      if constexpr (kHalf) {
        output = carver.take<A>(steps * f.H);
        w_ih = carver.take<A>(f.p.dx.data == nullptr ? 0 : gates * f.I);
      } else {
        output = data<A>(f.p.output);
        w_ih = data<A>(f.p.w_ih);
      }
      dx = result(f.p.dx, steps * f.I);
      dw_ih = result(f.p.dw_ih, gates * f.I);
      dw_hh = result(f.p.dw_hh, gates * f.H);
      sum = carver.take<A>(kSlots * f.H);
      sums = carver.take<A>(kSlots * f.H);
      product = base == nullptr ? nullptr : base + carver.bytes;
      bytes = carver.bytes;
    }
  };

  // Steps t in [begin, end). The first block to be run holds the last steps.
  struct Block {
    int64_t index, begin, end;
  };
  int64_t num_blocks() const { return ceil_div(T, block); }
  Block block_of(int64_t index) const {
    const int64_t first = max_of<int64_t>(0, T - (index + 1) * block), last = T - index * block;
    return p.reverse ? Block{index, T - last, T - first} : Block{index, first, last};
  }

  // d's columns of n gates from a slot on, of steps [begin, end) of a block.
  fa_tensor gradients(const Scratch& w, const Block& of, int64_t begin, int64_t end, int slot, int64_t n) const {
    A* const at = w.d == nullptr ? nullptr : w.d + (begin - of.begin) * B * D + slot * H;
    return matrix(at, (end - begin) * B, n * H, D);
  }
  // Rows of steps [begin, end) of a matrix (T B, ...).
  fa_tensor rows_of(fa_tensor t, int64_t begin, int64_t end) const {
    if (t.data != nullptr) t.data = static_cast<char*>(t.data) + begin * B * t.strides[0] * kItemBytes(t.dtype);
    t.shape[0] = (end - begin) * B;
    return t;
  }
  static constexpr int64_t kItemBytes(int32_t dtype) { return dtype == kDtype<S> ? sizeof(S) : sizeof(A); }

  // f(params) for the products after the steps of a block.
  template <class F>
  void products(const Scratch& w, const Block& of, F&& f) const {
    const fa_tensor d = gradients(w, of, of.begin, of.end, kSlots - kGates, kGates);
    fa_matmul_params q = {};
    if (p.dx.data != nullptr) {
      q.a = d;
      q.b = kHalf ? matrix(w.w_ih, kGates * H, I, I) : p.w_ih;
      q.out = rows_of(matrix(w.dx, T * B, I, I), of.begin, of.end);
      f(q);
    }
    q.accumulate = of.index > 0;
    if (p.dw_ih.data != nullptr) {
      q.a = transposed(d);
      q.b = rows_of(copies_x ? matrix(w.x, T * B, I, I) : x_rows, of.begin, of.end);
      q.out = matrix(w.dw_ih, kGates * H, I, I);
      f(q);
    }
    if (p.dw_hh.data == nullptr) return;
    // A step's state before is the output of the step before, but for the first step's.
    const int64_t first = p.reverse ? T - 1 : 0, shift = p.reverse ? 1 : -1;
    const bool has_first = of.begin <= first && first < of.end;
    const int64_t begin = of.begin + (has_first && !p.reverse), end = of.end - (has_first && p.reverse);
    for (const Piece& piece : Cell::kPieces) {
      q.a = transposed(gradients(w, of, begin, end, piece.from, piece.n));
      q.b = rows_of(matrix(w.output, T * B, H, H), begin + shift, end + shift);
      if (begin == end) q.b.data = w.output;
      q.out = matrix(w.dw_hh == nullptr ? nullptr : w.dw_hh + piece.to * H * H, piece.n * H, H, H);
      q.accumulate = of.index > 0;
      f(q);
      if (p.h0.data == nullptr || of.index + 1 < num_blocks()) continue;
      q.a = transposed(gathers ? matrix(w.first == nullptr ? nullptr : w.first + piece.from * H, B, piece.n * H, D)
                               : gradients(w, of, first, first + 1, piece.from, piece.n));
      q.b = matrix(w.h0, B, H, H);
      q.accumulate = 1;
      f(q);
    }
  }
  bool sums_biases() const { return p.db_ih.data != nullptr || p.db_hh.data != nullptr; }
  fa_sum_params block_sum(const Scratch& w, const Block& of) const {
    fa_sum_params q = {};
    q.x = gradients(w, of, of.begin, of.end, 0, kSlots);
    q.out = matrix(w.sum, 1, kSlots * H, 0);
    q.scale = 1;
    return q;
  }

  Work work(const fa_launch& launch) const {
    const Scratch w(*this, nullptr);
    size_t bytes = 0;
    auto ask = [&](auto&& run) {
      fa_launch query = launch;
      query.query = 1;
      run(query);
      bytes = max_of(bytes, query.workspace_bytes);
    };
    const int64_t blocks = num_blocks();
    for (int64_t i = 0; i < blocks; i = i == 1 ? max_of<int64_t>(2, blocks - 1) : i + 1) {  // those between are alike
      products(w, block_of(i), [&](const fa_matmul_params& q) { ask([&](fa_launch& query) { matmul(q, query); }); });
      if (sums_biases()) ask([&](fa_launch& query) { sum(block_sum(w, block_of(i)), query); });
    }
    const double t = static_cast<double>(T), b = static_cast<double>(B), h = static_cast<double>(H);
    const double i = static_cast<double>(I), per_gate = 2 * t * b * kGates * h;
    return {.workspace = w.bytes + bytes,
            .flops = per_gate *
                     (h + (p.dx.data != nullptr) * i + (p.dw_ih.data != nullptr) * i + (p.dw_hh.data != nullptr) * h),
            .bytes = sizeof(S) * (2 * t * b * (i + h) + 2 * kGates * h * (i + h)) +
                     sizeof(A) * t * b * h * (3 * kSlots + Cell::kHasCell)};
  }

  fa_status run(fa_launch& launch) const {
    const Scratch w(*this, static_cast<char*>(launch.workspace));
    if (!read_lengths(p.lengths, B, T, launch, w.lengths)) return FA_INVALID;
    copy_matrix<S>(launch, p.h0, B, H, w.h0);
    copy_matrix<S>(launch, p.dh_n, B, H, w.dh);
    if constexpr (Cell::kHasCell) {
      copy_matrix<S>(launch, p.c0, B, H, w.c0);
      copy_matrix<S>(launch, p.dc_n, B, H, w.dc);
    }
    if (copies_x) copy_steps<S>(launch, p.x, w.lengths, w.x);
    if constexpr (kHalf) {
      copy_matrix<S>(launch, matrix(data<S>(p.output), T * B, H, H), T * B, H, w.output);
      if (p.dx.data != nullptr) copy_matrix<S>(launch, p.w_ih, kGates * H, I, w.w_ih);
    }
    pack(launch, w);
    for (int64_t j = 0; j < kSlots * H; ++j) w.sums[j] = 0;
    fa_launch inner = launch;
    inner.workspace = w.product;
    if (T * B == 0) clear_weights(inner, w);
    const Parts parts(B, groups.num, groups.kVecs * V::kLanes, kGates * H);
    for (int64_t i = 0; i < num_blocks() && B > 0; ++i) {
      const Block of = block_of(i);
      const bool last = i + 1 == num_blocks();
      // One step more gives dh0.
      const int64_t steps = of.end - of.begin + (last && p.dh0.data != nullptr);
      if (i > 0) copy_rows(launch, B, D, 1, w.after, [&](int64_t b) { return edge_of(w, block_of(i - 1), b); });
      for_steps(launch, parts, steps, B, groups.num,
                [&](int64_t s, int64_t row_begin, int64_t row_end, int64_t group_begin, int64_t group_end) {
                  step(w, of, T - 1 - i * block - s, row_begin, row_end, group_begin, group_end);
                });
      if (gathers) gather_first(w, of);
      products(w, of, [&](const fa_matmul_params& q) { matmul(q, inner); });
      if (!sums_biases()) continue;
      sum(block_sum(w, of), inner);
      map_row<A>(kSlots * H, [&](int64_t j, int n) {
        store_lanes(load_lanes(w.sums + j, n) + load_lanes(w.sum + j, n), w.sums + j, n);
      });
    }
    round(launch, w.sums + (kSlots - kGates) * H, 1, kGates * H, p.db_ih);
    if (p.db_hh.data != nullptr) {
      for (const Piece& piece : Cell::kPieces) {
        const fa_tensor from = matrix(w.sums + piece.from * H, 1, piece.n * H, piece.n * H);
        copy_matrix<A>(launch, from, 1, piece.n * H, data<S>(p.db_hh) + piece.to * H);
      }
    }
    round(launch, w.dh, B, H, p.dh0);
    if constexpr (Cell::kHasCell) round(launch, w.dc, B, H, p.dc0);
    if constexpr (kHalf) {
      round(launch, w.dx, T * B, I, p.dx);
      round(launch, w.dw_ih, kGates * H, I, p.dw_ih);
      round(launch, w.dw_hh, kGates * H, H, p.dw_hh);
    }
    return FA_OK;
  }
  void round(const fa_launch& launch, const A* from, int64_t rows, int64_t columns, const fa_tensor& to) const {
    if (to.data != nullptr) copy_matrix<A>(launch, matrix(from, rows, columns, columns), rows, columns, data<S>(to));
  }

  // k are the rows of w_hh in the order of the slots.
  void pack(const fa_launch& launch, const Scratch& w) const {
    const int64_t row = p.w_hh.strides[0], column = p.w_hh.strides[1];
    parallel_for(launch, groups.num, [&](int64_t group, int) {
      for (const Piece& piece : Cell::kPieces) {
        groups.template pack<S>(w.packed, group, piece.from * H, piece.n * H, row, column, [&](int64_t, int64_t unit) {
          return data<S>(p.w_hh) + piece.to * H * row + unit * column;
        });
      }
    });
  }

  // d of a block's first step in the order of the forward's, which the block before it in that order goes on from.
  const A* edge_of(const Scratch& w, const Block& of, int64_t b) const {
    const int64_t t = p.reverse ? of.end - 1 : of.begin;
    return w.d + ((t - of.begin) * B + b) * D;
  }
  void gather_first(const Scratch& w, const Block& of) const {
    for (int64_t b = 0; b < B; ++b) {
      const int64_t t = w.lengths[b] - 1;
      A* const to = w.first + b * D;
      if (of.begin <= t && t < of.end) {
        __builtin_memcpy(to, w.d + ((t - of.begin) * B + b) * D, static_cast<size_t>(D) * sizeof(A));
      } else if (t < 0) {
        for (int64_t j = 0; j < D; ++j) to[j] = 0;
      }
    }
  }
  // Without a step nothing else writes them.
  void clear_weights(const fa_launch& launch, const Scratch& w) const {
    const fa_tensor none = {};
    if (p.dw_ih.data != nullptr) copy_matrix<A>(launch, none, kGates * H, I, w.dw_ih);
    if (p.dw_hh.data != nullptr) copy_matrix<A>(launch, none, kGates * H, H, w.dw_hh);
  }

  // Step s of the forward's; -1 only adds what the first step's gates give to dh.
  void step(const Scratch& w, const Block& of, int64_t s, int64_t row_begin, int64_t row_end, int64_t group_begin,
            int64_t group_end) const {
    using G = Groups<A, 1>;
    constexpr int64_t kRow = G::kVecs * V::kLanes;
    alignas(64) A sums[kPartRows * kRow], state[kPartRows * kRow];
    const int64_t t = p.reverse ? T - 1 - s : s, after = p.reverse ? t - 1 : t + 1;
    const int64_t rows = row_end - row_begin, num_tiles = ceil_div(rows, int64_t{G::kTileRows});
    const bool inside = of.begin <= after && after < of.end;
    const A* const d_after = (inside ? w.d + (after - of.begin) * B * D : w.after) + row_begin * D;
    typename G::Product product{d_after, D, EvenSplit(rows, num_tiles), num_tiles, 0, sums, state};
    for (int64_t i = 0; i < num_tiles; ++i) {
      for (int64_t r = product.tiles.begin(i); r < product.tiles.begin(i + 1); ++r) {
        if (s + 1 < T && after < w.lengths[row_begin + r]) product.active |= 1u << i;
      }
      if ((product.active >> i & 1) != 0) continue;
      const int64_t begin = product.tiles.begin(i) * kRow, end = product.tiles.begin(i + 1) * kRow;
      for (int64_t j = begin; j < end; j += V::kLanes) V::zero().store(sums + j);
    }
    for (int64_t group = group_begin; group < group_end; ++group) {
      for (int64_t r = 0; r < rows && s >= 0; ++r) {
        const int64_t at = (t * B + row_begin + r) * kSlots * H + groups.unit(group);
        for (int k = 0; k < kSlots; ++k) {
          for (int64_t v = 0; v < groups.unit_vecs(group); ++v) {
            __builtin_prefetch(data<A>(p.gates) + at + k * H + v * V::kLanes);
          }
        }
      }
      groups.product(w.packed, group, product);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t v = 0; v < groups.unit_vecs(group); ++v) {
          const int64_t unit = groups.unit(group) + v * V::kLanes;
          const int lanes = static_cast<int>(min_of(int64_t{V::kLanes}, H - unit));
          back(w, of, s, t, row_begin + r, unit, lanes, V::load(sums + r * kRow + v * V::kLanes));
        }
      }
    }
  }

  FASTATTN_INLINE void back(const Scratch& w, const Block& of, int64_t s, int64_t t, int64_t b, int64_t unit, int lanes,
                            V product) const {
    const int64_t at = b * H + unit;
    State<V> grad{load_lanes(w.dh + at, lanes) + product, V::zero()};
    if (s < 0) return store_lanes(grad.h, w.dh + at, lanes);
    const int64_t step_at = t * B * H + at, slots_at = (t * B + b) * kSlots * H + unit;
    V d[kSlots];
    if (t >= w.lengths[b]) {
      for (int k = 0; k < kSlots; ++k) d[k] = V::zero();
    } else {
      const bool first = p.reverse ? t == w.lengths[b] - 1 : t == 0;
      const int64_t before_at = step_at + (p.reverse ? B * H : -B * H);
      if (p.doutput.data != nullptr) grad.h = grad.h + load_lanes(data<S>(p.doutput) + step_at, lanes);
      State<V> before{V::zero(), V::zero()};
      V c = V::zero(), saved[kSlots];
      if constexpr (Cell::kReadsState) before.h = load_lanes(first ? w.h0 + at : w.output + before_at, lanes);
      if constexpr (Cell::kHasCell) {
        const A* const cells = data<A>(p.cells);
        c = load_lanes(cells + step_at, lanes);
        before.c = load_lanes(first ? w.c0 + at : cells + before_at, lanes);
        grad.c = load_lanes(w.dc + at, lanes);
      }
#pragma GCC unroll 4
      for (int k = 0; k < kSlots; ++k) saved[k] = load_lanes(data<A>(p.gates) + slots_at + k * H, lanes);
      Cell::backward(saved, before, c, grad, d);
      if constexpr (Cell::kHasCell) store_lanes(grad.c, w.dc + at, lanes);
    }
    store_lanes(grad.h, w.dh + at, lanes);
#pragma GCC unroll 4
    for (int k = 0; k < kSlots; ++k) store_lanes(d[k], w.d + ((t - of.begin) * B + b) * D + unit + k * H, lanes);
  }
};

}  // namespace

fa_status recurrent_bwd(const fa_recurrent_bwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class S>() {
    return visit_cell(p.mode, [&]<class Cell>() {
      const Backward<S, Cell> op(p);
      describe<Cell::kBackward, S>(launch, launch.query ? op.work(launch) : Work{});
      return launch.query ? FA_OK : op.run(launch);
    });
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
