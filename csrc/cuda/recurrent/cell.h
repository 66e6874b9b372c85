// The cells of recurrent networks, a hidden unit at a time: what a step makes of its gates, and back.
//
//   a[g]: the input's part of a gate, s[g]: the state's, both with their biases; saved[k]: what the backward reads
//   d[k]: the gradients of the slots; those of s are the first kGates slots, those of a the last kGates
#pragma once

#include "cuda/tile/activation.h"
#include "ops/recurrent.h"

namespace fastattn::cuda {

struct State {
  float h, c;
};

// Gates of w_hh's rows [to, to + n) whose gradients are the slots [from, from + n).
struct GatePiece {
  int from, to, n;
};

struct TanhCell {
  static constexpr const char *kForward = "rnn_fwd", *kBackward = "rnn_bwd";
  static constexpr int kGates = 1, kSlots = 1;
  static constexpr bool kHasCell = false, kReadsState = false;
  static constexpr GatePiece kPieces[] = {{0, 0, 1}};
  static constexpr int kFirstGate = 0;  // of w_hh, whose gradient is slot 0; the others follow it, round
  __device__ static State forward(const float (&a)[1], const float (&s)[1], State state, float (&saved)[1]) {
    saved[0] = tanhf(a[0] + s[0]);
    return {saved[0], state.c};
  }
  // grad comes with the gradients of the new state, and leaves with those of the old one, but for what goes through s.
  __device__ static void backward(const float (&saved)[1], State, float, State& grad, float (&d)[1]) {
    d[0] = grad.h * (1.0f - saved[0] * saved[0]);
    grad.h = 0.0f;
  }
};

struct ReluCell : TanhCell {
  __device__ static State forward(const float (&a)[1], const float (&s)[1], State state, float (&saved)[1]) {
    const float x = a[0] + s[0];
    saved[0] = x < 0.0f ? 0.0f : x;  // NaN stays
    return {saved[0], state.c};
  }
  __device__ static void backward(const float (&saved)[1], State, float, State& grad, float (&d)[1]) {
    d[0] = saved[0] <= 0.0f ? 0.0f : grad.h;
    grad.h = 0.0f;
  }
};

struct LstmCell {
  static constexpr const char *kForward = "lstm_fwd", *kBackward = "lstm_bwd";
  static constexpr int kGates = 4, kSlots = 4;
  static constexpr bool kHasCell = true, kReadsState = false;
  static constexpr GatePiece kPieces[] = {{0, 0, 4}};
  static constexpr int kFirstGate = 0;
  __device__ static State forward(const float (&a)[4], const float (&s)[4], State state, float (&saved)[4]) {
    const float i = sigmoid(a[0] + s[0]), f = sigmoid(a[1] + s[1]), g = tanhf(a[2] + s[2]), o = sigmoid(a[3] + s[3]);
    saved[0] = i;
    saved[1] = f;
    saved[2] = g;
    saved[3] = o;
    const float c = fmaf(f, state.c, i * g);
    return {o * tanhf(c), c};
  }
  __device__ static void backward(const float (&saved)[4], State before, float c, State& grad, float (&d)[4]) {
    const float i = saved[0], f = saved[1], g = saved[2], o = saved[3];
    const float t = tanhf(c), dc = fmaf(grad.h * o, 1.0f - t * t, grad.c);
    d[0] = dc * g * (i * (1.0f - i));
    d[1] = dc * before.c * (f * (1.0f - f));
    d[2] = dc * i * (1.0f - g * g);
    d[3] = grad.h * t * (o * (1.0f - o));
    grad = {0.0f, dc * f};
  }
};

// Slots: s_n, r, z, n, so that the gradients of s (n r z, in this order) lie side by side, and those of a (r z n) too.
struct GruCell {
  static constexpr const char *kForward = "gru_fwd", *kBackward = "gru_bwd";
  static constexpr int kGates = 3, kSlots = 4;
  static constexpr bool kHasCell = false, kReadsState = true;
  static constexpr GatePiece kPieces[] = {{0, 2, 1}, {1, 0, 2}};
  static constexpr int kFirstGate = 2;
  __device__ static State forward(const float (&a)[3], const float (&s)[3], State state, float (&saved)[4]) {
    const float r = sigmoid(a[0] + s[0]), z = sigmoid(a[1] + s[1]), n = tanhf(fmaf(r, s[2], a[2]));
    saved[0] = s[2];
    saved[1] = r;
    saved[2] = z;
    saved[3] = n;
    return {fmaf(z, state.h - n, n), state.c};
  }
  __device__ static void backward(const float (&saved)[4], State before, float, State& grad, float (&d)[4]) {
    const float r = saved[1], z = saved[2], n = saved[3];
    const float dn = grad.h * (1.0f - z) * (1.0f - n * n);
    d[0] = dn * r;
    d[1] = dn * saved[0] * (r * (1.0f - r));
    d[2] = grad.h * (before.h - n) * (z * (1.0f - z));
    d[3] = dn;
    grad.h = grad.h * z;
  }
};

// f.template operator()<Cell>() for the cell of a mode.
template <class F>
fa_status visit_cell(int32_t mode, F&& f) {
  switch (mode) {
    case FA_RNN_TANH: return f.template operator()<TanhCell>();
    case FA_RNN_RELU: return f.template operator()<ReluCell>();
    case FA_LSTM: return f.template operator()<LstmCell>();
    default: return f.template operator()<GruCell>();
  }
}

}  // namespace fastattn::cuda
