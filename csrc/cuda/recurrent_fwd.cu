// recurrent_fwd: one layer of a recurrent network, in one direction.
//
//   x (T, B, I)   w_ih (G H, I)   w_hh (G H, H)   output (T, B, H)   gates (T, B, K, H), slots of recurrent/cell.h
//
// The input's part of all gates, with b_ih, is matmul.cu's product of some steps at once, into gates, while those stay
// in L2. Then a launch a step: a block has 32 rows of the batch and all gates of 16 units, so that what the cell makes
// of its sums stays in it:
//
//   s = h w_hh^T + b_hh   (32, 16 G), recurrent/product.h, from weights that are packed once a call in that order
//   cell                  of s and of the input's part, which is read while the product runs: gates in place, c, h,
//   output
//
// The state is float; what a step's product reads has two copies, since all blocks read all of the old one. One stream
// orders the steps. A kernel that stays for all of them would save the weights' way from L2, and has to wait for all
// blocks of the device at every step, which costs about what a launch does.
//
// Work 2 T B G H (I + H) flops. A block reads its weights and the state of its rows from L2, a step (16 G + 64) H
// elements of 16 bits, (16 G + 32) H of float. That, and a launch, are the floor of 16 bits; of float the FMA units
// from H = 512 or so on. Of one sequence it is the reading of w_hh.
//
// Bits: a sum is four, of the quarters of all stages of K in their order, added in order. What a row gets is a function
// of that row.
//
// Source: Hochreiter and Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers et al. (2000); Cho
// et al., "Learning phrase representations using RNN encoder-decoder" (2014), with the reset gate after the product;
// Appleyard, Kocisky and Blunsom, "Optimizing performance of recurrent neural networks on GPUs" (2016) for the input's
// product of many steps.
// Not yet: a tile for few rows; steps of one launch.
#include "cuda/recurrent/layer.h"

namespace fastattn::cuda {
namespace {

constexpr int64_t kProductBytes = int64_t{16} << 20;  // of gates, which stay in L2 until their steps have read them

template <class T>
struct Step {
  int64_t B, H, t;
  Lengths lengths;
  StepOperand<T> from, to;
  StepWeights<T> w_hh;
  const T* b_hh;
  int64_t b_step;
  float *h, *c;  // (B, H)
  float* gates;  // (B, kSlots H) of this step
  bool saves;
  float* cells;  // (B, H) of this step, or nullptr
  T* output;     // (B, H) of this step
};

template <class T, class Cell>
__global__ void __launch_bounds__(kStepThreads, 1) recurrent_forward_kernel(Step<T> p) {
  constexpr int kGates = Cell::kGates, kSlots = Cell::kSlots, kColumns = kGates * kStepUnits;
  using Element = StepElement<kStepUnits>;
  constexpr int kEach = Element::kEach;
  SHARED_DYN(unsigned char, sMemory);
  const int64_t row0 = Element::first_row(), unit = Element::unit();
  const int rows = clamp_count(p.B - row0, kStepRows);
  const bool any = any_row(p.lengths, p.B, p.t);

  State state[kEach];
  float a[kEach][kGates], bias[kGates];
  bool active[kEach], inside[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int64_t b = row0 + Element::row_of_tile(i), at = b * p.H + unit;
    inside[i] = b < p.B && unit < p.H;
    active[i] = inside[i] && p.t < p.lengths.at(b);
    state[i].h = inside[i] ? p.h[at] : 0.0f;
    state[i].c = Cell::kHasCell && active[i] ? p.c[at] : 0.0f;
#pragma unroll
    for (int g = 0; g < kGates; ++g) {
      a[i][g] = active[i] ? p.gates[(b * kSlots + kSlots - kGates + g) * p.H + unit] : 0.0f;
    }
  }
#pragma unroll
  for (int g = 0; g < kGates; ++g) {
    bias[g] = p.b_hh != nullptr && unit < p.H ? to_float(p.b_hh[(g * p.H + unit) * p.b_step]) : 0.0f;
  }
  if (any) step_product<T, kColumns>(sMemory, p.from, row0, rows, p.w_hh, blockIdx.y);

#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (!inside[i]) continue;
    const int row = Element::row_of_tile(i);
    const int64_t b = row0 + row, at = b * p.H + unit;
    if (!active[i]) {
      p.to.store(b, unit, state[i].h);
      p.output[at] = from_float<T>(p.lengths.at(b) < 0 ? __builtin_nanf("") : 0.0f);
      continue;
    }
    float s[kGates], saved[kSlots];
#pragma unroll
    for (int g = 0; g < kGates; ++g) {
      s[g] = step_sum<T, kColumns>(sMemory, row, g * kStepUnits + Element::unit_of_tile()) + bias[g];
    }
    const State next = Cell::forward(a[i], s, state[i], saved);
    p.h[at] = next.h;
    p.to.store(b, unit, next.h);
    p.output[at] = from_float<T>(next.h);
    if constexpr (Cell::kHasCell) {
      p.c[at] = next.c;
      if (p.cells != nullptr) p.cells[at] = next.c;
    }
    if (!p.saves) continue;
#pragma unroll
    for (int k = 0; k < kSlots; ++k) p.gates[(b * kSlots + k) * p.H + unit] = saved[k];
  }
}

template <class T, class Cell>
constexpr KernelName kName{Cell::kForward, kTypeName<T>};

template <class T, class Cell>
struct Forward {
  static constexpr int kGates = Cell::kGates, kSlots = Cell::kSlots, kColumns = kGates * kStepUnits;

  const fa_recurrent_fwd_params& p;
  const int64_t T_, B, I, H;
  const Lengths lengths;
  const bool saves;
  const int64_t block;  // steps of a product
  Carver carver;
  float* const gates;  // (T, B, kSlots H), or of a block of steps
  const StepWeights<T> w_hh;
  float *const h, *const c;
  const StepOperand<T> operands[2];

  Forward(const fa_recurrent_fwd_params& params, void* workspace)
      : p(params),
        T_(p.x.shape[0]),
        B(p.x.shape[1]),
        I(p.x.shape[2]),
        H(p.w_hh.shape[1]),
        lengths(p.lengths, T_),
        saves(p.gates.data != nullptr),
        block(block_steps()),
        carver(workspace),
        gates(saves ? static_cast<float*>(p.gates.data) : carver.take<float>(block * B * kSlots * H)),
        w_hh{carver.take<T>(num_tiles(H, kStepUnits) * StepWeights<T>{nullptr, H, kColumns}.tile_elements()), H,
             kColumns},
        h(carver.take<float>(B * H)),
        c(carver.take<float>(Cell::kHasCell ? B * H : 0)),
        operands{take_operand(), take_operand()} {}

  StepOperand<T> take_operand() {
    return StepOperand<T>(carver.take<T>(StepOperand<T>(nullptr, B, H).elements()), B, H);
  }
  int64_t block_steps() const {
    const int64_t step_bytes = B * kSlots * H * int64_t{sizeof(float)};
    const int64_t steps = step_bytes > 0 && step_bytes < kProductBytes ? kProductBytes / step_bytes : 1;
    return steps < T_ ? steps : T_ > 0 ? T_ : 1;
  }
  float* gates_of(int64_t begin, int64_t t) const {
    return gates == nullptr ? nullptr : gates + (saves ? t : t - begin) * B * kSlots * H;
  }

  // Of steps [begin, begin + steps): with an axis of steps, since x may be (B, T, I) in memory.
  fa_matmul_params input_product(int64_t begin, int64_t steps) const {
    fa_matmul_params q = {};
    q.a = p.x;
    q.a.shape[0] = steps;
    q.a.data = static_cast<T*>(p.x.data) + begin * p.x.strides[0];
    q.b = {p.w_ih.data, p.w_ih.dtype, 3, {steps, I, kGates * H}, {0, p.w_ih.strides[1], p.w_ih.strides[0]}};
    q.bias = p.b_ih;
    float* const out = gates_of(begin, begin);
    q.out = {out == nullptr ? nullptr : out + (kSlots - kGates) * H,
             FA_F32,
             3,
             {steps, B, kGates * H},
             {B * kSlots * H, kSlots * H, 1}};
    return q;
  }

  void query(fa_launch& launch) const {
    Workspaces products{launch};
    const int64_t lasts[] = {block, T_ % block};
    for (int64_t steps : lasts) products.op(&matmul, input_product(0, steps));
    const double t = static_cast<double>(T_), b = static_cast<double>(B), n = static_cast<double>(H);
    const double i = static_cast<double>(I), saved = saves ? kSlots + Cell::kHasCell : 0;
    launch.workspace_bytes = carver.bytes + products.most;
    launch.flops = 2 * t * b * kGates * n * (i + n);
    launch.bytes = sizeof(T) * (t * b * (i + n) + kGates * n * (i + n)) + sizeof(float) * t * b * n * saved;
  }

  fa_status run(fa_launch& launch) const {
    Launches launches{launch, carver.rest()};
    const StepOperand<T> none(nullptr, B, H);
    launches.over(B * H, &recurrent_begin_kernel<T>, Matrix<T>(p.h0), lengths, B, H, h, operands[0]);
    if constexpr (Cell::kHasCell) {
      launches.over(B * H, &recurrent_begin_kernel<T>, Matrix<T>(p.c0), lengths, B, H, c, none);
    }
    const int64_t packed = T_ * B > 0 ? num_tiles(H, kStepUnits) * kColumns * H : 0;
    launches.over(packed, &recurrent_pack_kernel<T, false>, Matrix<T>(p.w_hh), H, 0, packed, w_hh);
    for (int64_t done = 0; done < T_ && B > 0; done += block) {
      const int64_t steps = block < T_ - done ? block : T_ - done, begin = p.reverse ? T_ - done - steps : done;
      launches.op(&matmul, input_product(begin, steps));
      for (int64_t s = done; s < done + steps; ++s) step(launches, begin, s);
    }
    launches.over(B * H, &recurrent_end_kernel<T>, h, lengths, B, H, static_cast<T*>(p.h_n.data), true);
    if constexpr (Cell::kHasCell) {
      launches.over(B * H, &recurrent_end_kernel<T>, c, lengths, B, H, static_cast<T*>(p.c_n.data), true);
    }
    return launches.status;
  }

  void step(Launches& launches, int64_t begin, int64_t s) const {
    const int64_t t = p.reverse ? T_ - 1 - s : s;
    float* const cells = static_cast<float*>(p.cells.data);
    const Step<T> params{B,
                         H,
                         t,
                         lengths,
                         operands[s % 2],
                         operands[(s + 1) % 2],
                         w_hh,
                         static_cast<const T*>(p.b_hh.data),
                         p.b_hh.data == nullptr ? 0 : p.b_hh.strides[0],
                         h,
                         c,
                         gates_of(begin, t),
                         saves,
                         cells == nullptr ? nullptr : cells + t * B * H,
                         static_cast<T*>(p.output.data) + t * B * H};
    launches.run(&recurrent_forward_kernel<T, Cell>, step_grid(B, H, kStepUnits), kStepThreads,
                 step_shared_bytes<T, kColumns>(), params);
  }
};

}  // namespace

fa_status recurrent_fwd(const fa_recurrent_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    return visit_cell(p.mode, [&]<class Cell>() {
      launch.kernel = kName<T, Cell>.text;
      const char* const reason = too_large(p.x.shape[0], p.x.shape[1], p.x.shape[2], p.w_hh.shape[1]);
      if (reason) return fail(launch, FA_UNSUPPORTED, reason);
      const Forward<T, Cell> op(p, launch.query ? nullptr : launch.workspace);
      if (!launch.query) return op.run(launch);
      op.query(launch);
      return FA_OK;
    });
  });
}

}  // namespace fastattn::cuda
