// recurrent_bwd: back through the steps of recurrent_fwd.
//
//   d (T B, K H): the gradients of the slots of gates (recurrent/cell.h); of w_hh's part (T B, G H) the first, of the
//   input's the last columns
//
// A launch a step, the last one first: a block has 32 rows of the batch and U units, 16 or 32,
//
//   dh = d_{t+1} w_hh   (32, U), recurrent/product.h, from weights that are packed once a call
//   cell                of dh, of the step's doutput and of what the state carries: d_t
//
// then the products of all steps, matmul.cu's, and the sums for the biases, sum.cu's, each in its own fixed order:
//
//   dx = d w_ih   dw_ih = d^T x   dw_hh = d^T before, before (T, B, H) the output of the step before, or h0
//
// The state's gradients are float, as the state is. What the last products read of 16-bit arrays is d in 16 bits; they
// sum in float and round once.
//
// Work 4 T B G H (I + H) flops. A block reads (U + 64) G H elements of 16 bits a step from L2, (16 + 32) G H of float.
// Compulsory traffic is gates and cells, doutput, and what the products read and write.
//
// Bits: as the forward's; U does not matter.
//
// Source: derived; the order of slots is that of the CPU's kernel.
// Not yet: larger tiles with K shared out among blocks, whose traffic would be half.
#include "cuda/recurrent/layer.h"
#include "cuda/recurrent/recurrent.h"

namespace fastattn::cuda {
namespace {

constexpr int kManyUnits = 32;
constexpr int64_t kFewBlocks = 64;  // half of the multiprocessors of an H100

template <class T>
struct Step {
  int64_t B, H, t, s;  // s: the step's number in the forward's order
  int64_t after;       // the t of the step after it
  bool reverse, has_after;
  Lengths lengths;
  StepOperand<T> from, to;
  StepWeights<T> w_hh;
  const float* gates;         // (B, kSlots H) of this step
  const float *cells, *left;  // (B, H) of this step and of the one before
  Matrix<T> c0;
  const T *before, *doutput;  // (B, H) of this step
  float *dh, *dc;             // (B, H)
  T* d;                       // (B, kSlots H) of this step
};

template <class T, class Cell, int kUnits>
__global__ void __launch_bounds__(kStepThreads, 1) recurrent_backward_kernel(Step<T> p) {
  constexpr int kGates = Cell::kGates, kSlots = Cell::kSlots;
  using Element = StepElement<kUnits>;
  constexpr int kEach = Element::kEach;
  SHARED_DYN(unsigned char, sMemory);
  const int64_t row0 = Element::first_row(), unit = Element::unit();
  const int rows = clamp_count(p.B - row0, kStepRows);
  const bool any = p.has_after && any_row(p.lengths, p.B, p.after);

  State grad[kEach], before[kEach];
  float c[kEach], saved[kEach][kSlots];
  bool active[kEach], inside[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int64_t b = row0 + Element::row_of_tile(i), at = b * p.H + unit;
    const int64_t length = b < p.B ? p.lengths.at(b) : 0;
    inside[i] = b < p.B && unit < p.H;
    active[i] = inside[i] && p.s >= 0 && p.t < length;
    grad[i].h = inside[i] ? p.dh[at] : 0.0f;
    if (active[i] && p.doutput != nullptr) grad[i].h += to_float(p.doutput[at]);
    grad[i].c = before[i].h = before[i].c = c[i] = 0.0f;
    if constexpr (Cell::kReadsState) before[i].h = active[i] ? to_float(p.before[at]) : 0.0f;
    if constexpr (Cell::kHasCell) {
      const bool first = p.t == (p.reverse ? length - 1 : 0);
      if (active[i]) {
        grad[i].c = p.dc[at];
        c[i] = p.cells[at];
        before[i].c = first ? p.c0.load(b, unit) : p.left[at];
      }
    }
#pragma unroll
    for (int k = 0; k < kSlots; ++k) saved[i][k] = active[i] ? p.gates[(b * kSlots + k) * p.H + unit] : 0.0f;
  }
  if (any) step_product<T, kUnits>(sMemory, p.from, row0, rows, p.w_hh, blockIdx.y);

#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (!inside[i]) continue;
    const int row = Element::row_of_tile(i);
    const int64_t b = row0 + row, at = b * p.H + unit;
    if (any) grad[i].h += step_sum<T, kUnits>(sMemory, row, Element::unit_of_tile());
    float d[kSlots] = {};
    if (active[i]) Cell::backward(saved[i], before[i], c[i], grad[i], d);
    p.dh[at] = grad[i].h;
    if (p.s < 0) continue;
    if (Cell::kHasCell && active[i]) p.dc[at] = grad[i].c;
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
      if (k < kGates) p.to.store(b, k * p.H + unit, d[k]);
      p.d[(b * kSlots + k) * p.H + unit] = from_float<T>(d[k]);
    }
  }
}

// before (T, B, H): the state that a step begins with, in the dtype of the output; 0 behind a sequence's end.
template <class T>
__global__ void __launch_bounds__(kCopyThreads)
    recurrent_before_kernel(const T* output, Matrix<T> h0, Lengths lengths, int64_t B, int64_t H, bool reverse,
                            int64_t elements, T* before) {
  const int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i >= elements) return;
  const int64_t unit = i % H, b = i / H % B, t = i / H / B, length = lengths.at(b);
  const bool first = t == (reverse ? length - 1 : 0);
  T x{};
  if (t < length && !first) x = output[i + (reverse ? B * H : -B * H)];
  if (t < length && first && h0.data != nullptr) x = h0.data[b * h0.row + unit * h0.column];
  before[i] = x;
}

// to (T, B, I) = x, 0 behind a sequence's end: a product with 0 would not hide what is there.
template <class T>
__global__ void __launch_bounds__(kCopyThreads)
    recurrent_steps_kernel(fa_tensor x, Lengths lengths, int64_t elements, T* to) {
  const int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i >= elements) return;
  const int64_t B = x.shape[1], I = x.shape[2], column = i % I, b = i / I % B, t = i / I / B;
  const T* const from = static_cast<const T*>(x.data) + t * x.strides[0] + b * x.strides[1] + column * x.strides[2];
  to[i] = t < lengths.at(b) ? *from : T{};
}

template <class T, class Cell>
constexpr KernelName kName{Cell::kBackward, kTypeName<T>};

// More units a block read the state's gradients fewer times, as long as there are blocks enough. Of float the FMA units
// have as much to do as L2, and want more blocks.
template <class T>
int choose_units(int64_t B, int64_t H, int choice) {
  if (choice > 0 || sizeof(T) == 4) return choice > 0 ? choice : kStepUnits;
  return num_tiles(B, kStepRows) * num_tiles(H, kManyUnits) >= kFewBlocks ? kManyUnits : kStepUnits;
}

template <class T, class Cell>
struct Backward {
  static constexpr int kGates = Cell::kGates, kSlots = Cell::kSlots;

  const fa_recurrent_bwd_params& p;
  const int64_t T_, B, I, H;
  const Lengths lengths;
  const bool copies_x, reads_before;
  const int units;  // of a block
  Carver carver;
  T* const d;  // (T B, kSlots H)
  T* const before;
  T* const x;
  const StepWeights<T> w_hh;
  float *const dh, *const dc;
  const StepOperand<T> operands[2];

  Backward(const fa_recurrent_bwd_params& params, void* workspace, int choice)
      : p(params),
        T_(p.x.shape[0]),
        B(p.x.shape[1]),
        I(p.x.shape[2]),
        H(p.w_hh.shape[1]),
        lengths(p.lengths, T_),
        copies_x(p.dw_ih.data != nullptr && (p.lengths.data != nullptr || !steps_fold())),
        reads_before(Cell::kReadsState || p.dw_hh.data != nullptr),
        units(choose_units<T>(B, H, choice)),
        carver(workspace),
        d(carver.take<T>(T_ * B * kSlots * H)),
        before(carver.take<T>(reads_before ? T_ * B * H : 0)),
        x(carver.take<T>(copies_x ? T_ * B * I : 0)),
        w_hh{carver.take<T>(num_tiles(H, units) * StepWeights<T>{nullptr, kGates * H, units}.tile_elements()),
             kGates * H, units},
        dh(carver.take<float>(B * H)),
        dc(carver.take<float>(Cell::kHasCell ? B * H : 0)),
        operands{take_operand(), take_operand()} {}

  StepOperand<T> take_operand() {
    return StepOperand<T>(carver.take<T>(StepOperand<T>(nullptr, B, kGates * H).elements()), B, kGates * H);
  }
  // Whether x (T, B, I) is a matrix (T B, I).
  bool steps_fold() const { return T_ == 1 || B == 1 || p.x.strides[0] == B * p.x.strides[1]; }
  fa_tensor x_rows() const {
    if (copies_x) return matrix_of(x, T_ * B, I, I);
    return {p.x.data, p.x.dtype, 2, {T_ * B, I}, {B == 1 ? p.x.strides[0] : p.x.strides[1], p.x.strides[2]}};
  }
  // d's columns of n gates from a slot on.
  fa_tensor gradients(int slot, int64_t n) const {
    return matrix_of(d == nullptr ? nullptr : d + slot * H, T_ * B, n * H, kSlots * H);
  }

  // What follows the steps: `f` is a Launches or a Workspaces.
  template <class F>
  void products(F& f) const {
    const fa_tensor of_input = gradients(kSlots - kGates, kGates);
    fa_matmul_params q = {};
    if (p.dx.data != nullptr) {
      q.a = of_input;
      q.b = p.w_ih;
      q.out = matrix_of(static_cast<T*>(p.dx.data), T_ * B, I, I);
      f.op(&matmul, q);
    }
    if (p.dw_ih.data != nullptr) {
      q.a = transposed(of_input);
      q.b = x_rows();
      q.out = p.dw_ih;
      f.op(&matmul, q);
    }
    if (p.db_ih.data != nullptr) f.op(&sum, sum_of(of_input, static_cast<T*>(p.db_ih.data)));
    for (const GatePiece& piece : Cell::kPieces) {
      const fa_tensor of_state = gradients(piece.from, piece.n);
      if (p.dw_hh.data != nullptr) {
        q.a = transposed(of_state);
        q.b = matrix_of(before, T_ * B, H, H);
        q.out = matrix_of(static_cast<T*>(p.dw_hh.data) + piece.to * H * H, piece.n * H, H, H);
        f.op(&matmul, q);
      }
      if (p.db_hh.data != nullptr) f.op(&sum, sum_of(of_state, static_cast<T*>(p.db_hh.data) + piece.to * H));
    }
  }
  static fa_sum_params sum_of(const fa_tensor& rows, T* to) {
    fa_sum_params q = {};
    q.x = rows;
    q.out = matrix_of(to, 1, rows.shape[1], 0);
    q.scale = 1;
    return q;
  }

  void query(fa_launch& launch) const {
    Workspaces workspaces{launch};
    products(workspaces);
    const double t = static_cast<double>(T_), b = static_cast<double>(B), n = static_cast<double>(H);
    const double i = static_cast<double>(I), per_gate = 2 * t * b * kGates * n;
    launch.workspace_bytes = carver.bytes + workspaces.most;
    launch.flops =
        per_gate * (n + (p.dx.data != nullptr) * i + (p.dw_ih.data != nullptr) * i + (p.dw_hh.data != nullptr) * n);
    launch.bytes = sizeof(T) * (2 * t * b * (i + n) + 2 * kGates * n * (i + n)) +
                   sizeof(float) * t * b * n * (kSlots + Cell::kHasCell);
  }

  fa_status run(fa_launch& launch) const {
    Launches launches{launch, carver.rest()};
    const StepOperand<T> none(nullptr, B, H);
    launches.over(B * H, &recurrent_begin_kernel<T>, Matrix<T>(p.dh_n), lengths, B, H, dh, none);
    if constexpr (Cell::kHasCell) {
      launches.over(B * H, &recurrent_begin_kernel<T>, Matrix<T>(p.dc_n), lengths, B, H, dc, none);
    }
    const int64_t steps = T_ * B, packed = steps > 0 ? num_tiles(H, units) * units * kGates * H : 0;
    launches.over(packed, &recurrent_pack_kernel<T, true>, Matrix<T>(p.w_hh), H, Cell::kFirstGate * H, packed, w_hh);
    if (reads_before) {
      launches.over(steps * H, &recurrent_before_kernel<T>, static_cast<const T*>(p.output.data), Matrix<T>(p.h0),
                    lengths, B, H, p.reverse != 0, steps * H, before);
    }
    if (copies_x) launches.over(steps * I, &recurrent_steps_kernel<T>, p.x, lengths, steps * I, x);
    // One step more gives dh0.
    const int64_t end = p.dh0.data != nullptr ? -1 : 0;
    for (int64_t s = T_ - 1; s >= end && steps > 0; --s) step(launches, s);
    products(launches);
    if (p.dh0.data != nullptr) {
      launches.over(B * H, &recurrent_end_kernel<T>, dh, lengths, B, H, static_cast<T*>(p.dh0.data), false);
    }
    if (Cell::kHasCell && p.dc0.data != nullptr) {
      launches.over(B * H, &recurrent_end_kernel<T>, dc, lengths, B, H, static_cast<T*>(p.dc0.data), false);
    }
    return launches.status;
  }

  void step(Launches& launches, int64_t s) const {
    const int64_t t = p.reverse ? T_ - 1 - s : s, back = p.reverse ? 1 : -1, state = B * H;
    const bool has_before = s > 0, there = s >= 0;  // there: it is a step, not the one that only adds to dh
    const float* const cells = Cell::kHasCell ? static_cast<const float*>(p.cells.data) : nullptr;
    const T* const doutput = static_cast<const T*>(p.doutput.data);
    const Step<T> params{B,
                         H,
                         t,
                         s,
                         t - back,
                         p.reverse != 0,
                         s + 1 < T_,
                         lengths,
                         operands[(s + 1) % 2],
                         operands[(s + 2) % 2],
                         w_hh,
                         there ? static_cast<const float*>(p.gates.data) + t * kSlots * state : nullptr,
                         there && cells != nullptr ? cells + t * state : nullptr,
                         has_before && cells != nullptr ? cells + (t + back) * state : nullptr,
                         Matrix<T>(p.c0),
                         there && reads_before ? before + t * state : nullptr,
                         there && doutput != nullptr ? doutput + t * state : nullptr,
                         dh,
                         dc,
                         there ? d + t * kSlots * state : nullptr};
    auto run = [&]<int kUnits>() {
      launches.run(&recurrent_backward_kernel<T, Cell, kUnits>, step_grid(B, H, kUnits), kStepThreads,
                   step_shared_bytes<T, kUnits>(), params);
    };
    if constexpr (sizeof(T) != 4) {
      if (units == kManyUnits) return run.template operator()<kManyUnits>();
    }
    run.template operator()<kStepUnits>();
  }
};

}  // namespace

fa_status recurrent_bwd(const fa_recurrent_bwd_params& p, fa_launch& launch, int units) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    return visit_cell(p.mode, [&]<class Cell>() {
      launch.kernel = kName<T, Cell>.text;
      const char* const reason = too_large(p.x.shape[0], p.x.shape[1], p.x.shape[2], p.w_hh.shape[1]);
      if (reason) return fail(launch, FA_UNSUPPORTED, reason);
      const Backward<T, Cell> op(p, launch.query ? nullptr : launch.workspace, units);
      if (!launch.query) return op.run(launch);
      op.query(launch);
      return FA_OK;
    });
  });
}

fa_status recurrent_bwd(const fa_recurrent_bwd_params& p, fa_launch& launch) { return recurrent_bwd(p, launch, 0); }

}  // namespace fastattn::cuda
