// recurrent_fwd: one layer of a recurrent network, in one direction.
//
//   x (T, B, I)   w_ih (G H, I)   w_hh (G H, H)   output (T, B, H)   gates (T, B, K, H), slots of recurrent_cell.h
//
// The input's part of all gates is a product (steps B, I) @ (I, G H), the matmul kernel's, into gates, for as many
// steps as stay in the caches until they are read. Then step by step, for rows of the batch and groups of units
// (recurrent_step.h):
//
//   s = h w_hh^T  a tile of rows by the G gates of the same units, from weights that are packed once a call
//   cell          of s, while it is in L1, and of the input's part: gates in place, c, h, output
//
// h has two copies, since a step's groups read all of the old one. An item is a part of the batch through all steps; of
// a small batch, a part of the units in one step.
//
// Work 2 T B G H (I + H) flops. A step reads w_hh, which is in L2 or L3, once per part of the batch: from 32 rows a
// part on the FMA units are the roof. Of one sequence it is the reading of w_hh.
//
// Bits: an element's chain is matmul's, and what a row gets is a function of that row; parts do not matter.
//
// Reference: Hochreiter and Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers et al. (2000);
// Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014), with the reset gate after the
// product; Appleyard, Kocisky and Blunsom, "Optimizing performance of recurrent neural networks on GPUs" (2016) for the
// input's product of all steps.
#include "recurrent_step.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

template <class S, class Cell>
struct Forward {
  using A = compute_t<S>;
  using V = Vec<A>;
  static constexpr int kGates = Cell::kGates, kSlots = Cell::kSlots;

  const fa_recurrent_fwd_params& p;
  const int64_t T, B, I, H;
  const Groups<A, kGates> groups;
  fa_tensor x_rows;  // (T B, I)
  const bool copies_x;
  const int64_t block;  // steps of a product

  explicit Forward(const fa_recurrent_fwd_params& params)
      : p(params),
        T(p.x.shape[0]),
        B(p.x.shape[1]),
        I(p.x.shape[2]),
        H(p.w_hh.shape[1]),
        groups(H, H),
        copies_x(!fold_steps(p.x, x_rows)),
        block(block_steps(T, B, kSlots * H * sizeof(A))) {}

  bool saves() const { return p.gates.data != nullptr; }

  struct Scratch {
    int64_t* lengths;  // [B]
    S* x;              // [T B][I], where x does not fold
    A* gates;          // [T B][kSlots H], or of a block of steps
    A* packed;         // w_hh
    A* bias;           // [2][kGates][vectors of H]: b_ih, b_hh
    A* h;              // [2][B][H]
    A* c;              // [B][H]
    char* product;
    size_t bytes;

    Scratch(const Forward& f, char* base) {
      Carver carver{base};
      lengths = carver.take<int64_t>(f.B);
      x = carver.take<S>(f.copies_x ? f.T * f.B * f.I : 0);
      gates = carver.take<A>(f.saves() ? 0 : f.block * f.B * kSlots * f.H);
      if (f.saves()) gates = data<A>(f.p.gates);
      packed = carver.take<A>(f.groups.packed_elements());
      bias = carver.take<A>(2 * kGates * f.padded());
      h = carver.take<A>(2 * f.B * f.H);
      c = carver.take<A>(Cell::kHasCell ? f.B * f.H : 0);
      product = base == nullptr ? nullptr : base + carver.bytes;
      bytes = carver.bytes;
    }
  };
  int64_t padded() const { return round_up(H, int64_t{V::kLanes}); }

  // Of steps [begin, begin + steps).
  fa_matmul_params input_product(const Scratch& w, int64_t begin, int64_t steps) const {
    fa_matmul_params q = {};
    q.a = copies_x ? matrix(w.x, T * B, I, I) : x_rows;
    q.a.data = q.a.data == nullptr ? nullptr : data<S>(q.a) + begin * B * q.a.strides[0];
    q.a.shape[0] = steps * B;
    q.b = transposed(p.w_ih);
    A* const out = w.gates == nullptr ? nullptr : gates_of(w, begin, begin, 0) + (kSlots - kGates) * H;
    q.out = matrix(out, steps * B, kGates * H, kSlots * H);
    return q;
  }
  // A row's slots in step t of the block that begins with t = begin.
  A* gates_of(const Scratch& w, int64_t begin, int64_t t, int64_t b) const {
    return w.gates + ((saves() ? t : t - begin) * B + b) * kSlots * H;
  }

  Work work(const fa_launch& launch) const {
    const Scratch w(*this, nullptr);
    size_t product = 0;
    const int64_t lengths[] = {block, T % block};
    for (int64_t steps : lengths) {
      fa_launch query = launch;
      query.query = 1;
      matmul(input_product(w, 0, steps), query);
      product = max_of(product, query.workspace_bytes);
    }
    const double t = static_cast<double>(T), b = static_cast<double>(B), h = static_cast<double>(H);
    const double i = static_cast<double>(I), saved = saves() ? kSlots + Cell::kHasCell : 0;
    return {.workspace = w.bytes + product,
            .flops = 2 * t * b * kGates * h * (i + h),
            .bytes = sizeof(S) * (t * b * (i + h) + kGates * h * (i + h)) + sizeof(A) * t * b * h * saved};
  }

  fa_status run(fa_launch& launch) const {
    const Scratch w(*this, static_cast<char*>(launch.workspace));
    if (!read_lengths(p.lengths, B, T, launch, w.lengths)) return FA_INVALID;
    if (copies_x) copy_steps<S>(launch, p.x, w.lengths, w.x);
    copy_matrix<S>(launch, p.h0, B, H, w.h);
    if constexpr (Cell::kHasCell) copy_matrix<S>(launch, p.c0, B, H, w.c);
    pad_bias(p.b_ih, w.bias);
    pad_bias(p.b_hh, w.bias + kGates * padded());
    if (T > 0) {
      const int64_t row = p.w_hh.strides[0], column = p.w_hh.strides[1];
      parallel_for(launch, groups.num, [&](int64_t group, int) {
        groups.template pack<S>(w.packed, group, 0, H, column, row,
                                [&](int64_t g, int64_t unit) { return data<S>(p.w_hh) + (g * H + unit) * row; });
      });
    }
    fa_launch product = launch;
    product.workspace = w.product;
    const Parts parts(B, groups.num, groups.kVecs * V::kLanes, H);
    for (int64_t done = 0; done < T && B > 0; done += block) {
      const int64_t steps = min_of(block, T - done), begin = p.reverse ? T - done - steps : done;
      matmul(input_product(w, begin, steps), product);
      for_steps(launch, parts, steps, B, groups.num,
                [&](int64_t s, int64_t row_begin, int64_t row_end, int64_t group_begin, int64_t group_end) {
                  step(w, begin, done + s, row_begin, row_end, group_begin, group_end);
                });
    }
    copy_matrix<A>(launch, matrix(w.h + T % 2 * B * H, B, H, H), B, H, data<S>(p.h_n));
    if constexpr (Cell::kHasCell) copy_matrix<A>(launch, matrix(w.c, B, H, H), B, H, data<S>(p.c_n));
    return FA_OK;
  }

  void pad_bias(const fa_tensor& bias, A* to) const {
    for (int64_t g = 0; g < kGates; ++g) {
      for (int64_t j = 0; j < padded(); ++j) {
        const bool there = bias.data != nullptr && j < H;
        to[g * padded() + j] = there ? widen(data<S>(bias)[(g * H + j) * bias.strides[0]]) : A(0);
      }
    }
  }

  void step(const Scratch& w, int64_t begin, int64_t s, int64_t row_begin, int64_t row_end, int64_t group_begin,
            int64_t group_end) const {
    using G = Groups<A, kGates>;
    constexpr int64_t kRow = G::kVecs * V::kLanes;
    alignas(64) A sums[kPartRows * kRow], state[kPartRows * kRow];
    const int64_t t = p.reverse ? T - 1 - s : s;
    const A* const from = w.h + s % 2 * B * H;
    A* const to = w.h + (s + 1) % 2 * B * H;
    const int64_t rows = row_end - row_begin, num_tiles = ceil_div(rows, int64_t{G::kTileRows});
    typename G::Product product{from + row_begin * H, H, EvenSplit(rows, num_tiles), num_tiles, 0, sums, state};
    for (int64_t i = 0; i < num_tiles; ++i) {
      for (int64_t r = product.tiles.begin(i); r < product.tiles.begin(i + 1); ++r) {
        if (t < w.lengths[row_begin + r]) product.active |= 1u << i;
      }
    }
    for (int64_t group = group_begin; group < group_end; ++group) {
      for (int64_t r = 0; r < rows; ++r) {
        const A* gates = gates_of(w, begin, t, row_begin + r) + (kSlots - kGates) * H + groups.unit(group);
        for (int g = 0; g < kGates; ++g) __builtin_prefetch(gates + g * H, 1);
      }
      groups.product(w.packed, group, product);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t v = 0; v < groups.unit_vecs(group); ++v) {
          const int64_t unit = groups.unit(group) + v * V::kLanes;
          const int lanes = static_cast<int>(min_of(int64_t{V::kLanes}, H - unit));
          advance(w, begin, t, row_begin + r, unit, lanes, sums + r * kRow + v * kGates * V::kLanes, from, to);
        }
      }
    }
  }

  // What a step makes of a row's units [unit, unit + lanes).
  FASTATTN_INLINE void advance(const Scratch& w, int64_t begin, int64_t t, int64_t b, int64_t unit, int lanes,
                               const A* s_part, const A* from, A* to) const {
    const int64_t at = b * H + unit;
    S* const output = data<S>(p.output) + t * B * H + at;
    State<V> state{load_lanes(from + at, lanes), V::zero()};
    if (t >= w.lengths[b]) {
      store_lanes(state.h, to + at, lanes);
      store_lanes(V::zero(), output, lanes);
      return;
    }
    if constexpr (Cell::kHasCell) state.c = load_lanes(w.c + at, lanes);
    A* const gates = gates_of(w, begin, t, b) + unit;
    V a[kGates], s[kGates], saved[kSlots];
#pragma GCC unroll 4
    for (int g = 0; g < kGates; ++g) {
      const A* const bias = w.bias + g * padded() + unit;
      a[g] = load_lanes(gates + (kSlots - kGates + g) * H, lanes) + V::load(bias);
      s[g] = V::load(s_part + g * V::kLanes) + V::load(bias + kGates * padded());
    }
    state = Cell::forward(a, s, state, saved);
    store_lanes(state.h, to + at, lanes);
    store_lanes(state.h, output, lanes);
    if constexpr (Cell::kHasCell) {
      store_lanes(state.c, w.c + at, lanes);
      if (p.cells.data != nullptr) store_lanes(state.c, data<A>(p.cells) + t * B * H + at, lanes);
    }
    if (!saves()) return;
#pragma GCC unroll 4
    for (int k = 0; k < kSlots; ++k) store_lanes(saved[k], gates + k * H, lanes);
  }
};

}  // namespace

fa_status recurrent_fwd(const fa_recurrent_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class S>() {
    return visit_cell(p.mode, [&]<class Cell>() {
      const Forward<S, Cell> op(p);
      describe<Cell::kForward, S>(launch, launch.query ? op.work(launch) : Work{});
      return launch.query ? FA_OK : op.run(launch);
    });
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
