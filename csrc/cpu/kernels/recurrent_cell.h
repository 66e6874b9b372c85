// The cells of recurrent networks, a vector of hidden units at a time: what a step makes of its gates, and back.
//
//   a[g]: the input's part of a gate, s[g]: the state's, both with their biases; saved[k]: what the backward reads
//   d[k]: the gradients of the slots; those of s are the first kGates slots, those of a the last kGates
#pragma once

#include "cpu/simd/math.h"
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

template <class V>
struct State {
  V h, c;
};

// Gates of w_hh's rows [to, to + n) whose gradients are the slots [from, from + n).
struct Piece {
  int from, to, n;
};

struct TanhCell {
  static constexpr FixedString kForward = "rnn_fwd", kBackward = "rnn_bwd";
  static constexpr int kGates = 1, kSlots = 1;
  static constexpr bool kHasCell = false, kReadsState = false;
  static constexpr Piece kPieces[] = {{0, 0, 1}};
  template <class V>
  static FASTATTN_INLINE State<V> forward(const V* a, const V* s, State<V> state, V* saved) {
    saved[0] = tanh(a[0] + s[0]);
    return {saved[0], state.c};
  }
  // grad comes with the gradients of the new state, and leaves with those of the old one, but for what goes through s.
  template <class V>
  static FASTATTN_INLINE void backward(const V* saved, State<V>, V, State<V>& grad, V* d) {
    d[0] = grad.h * fnma(saved[0], saved[0], V::set(1));
    grad.h = V::zero();
  }
};

struct ReluCell : TanhCell {
  template <class V>
  static FASTATTN_INLINE State<V> forward(const V* a, const V* s, State<V> state, V* saved) {
    saved[0] = max(V::zero(), a[0] + s[0]);  // NaN stays
    return {saved[0], state.c};
  }
  template <class V>
  static FASTATTN_INLINE void backward(const V* saved, State<V>, V, State<V>& grad, V* d) {
    d[0] = select(saved[0] <= V::zero(), V::zero(), grad.h);
    grad.h = V::zero();
  }
};

struct LstmCell {
  static constexpr FixedString kForward = "lstm_fwd", kBackward = "lstm_bwd";
  static constexpr int kGates = 4, kSlots = 4;
  static constexpr bool kHasCell = true, kReadsState = false;
  static constexpr Piece kPieces[] = {{0, 0, 4}};
  template <class V>
  static FASTATTN_INLINE State<V> forward(const V* a, const V* s, State<V> state, V* saved) {
    const V i = sigmoid(a[0] + s[0]), f = sigmoid(a[1] + s[1]), g = tanh(a[2] + s[2]), o = sigmoid(a[3] + s[3]);
    saved[0] = i;
    saved[1] = f;
    saved[2] = g;
    saved[3] = o;
    const V c = fma(f, state.c, i * g);
    return {o * tanh(c), c};
  }
  template <class V>
  static FASTATTN_INLINE void backward(const V* saved, State<V> before, V c, State<V>& grad, V* d) {
    const V one = V::set(1), i = saved[0], f = saved[1], g = saved[2], o = saved[3];
    const V t = tanh(c);
    const V dc = fma(grad.h * o, fnma(t, t, one), grad.c);
    d[0] = dc * g * (i * (one - i));
    d[1] = dc * before.c * (f * (one - f));
    d[2] = dc * i * fnma(g, g, one);
    d[3] = grad.h * t * (o * (one - o));
    grad = {V::zero(), dc * f};
  }
};

// Slots: s_n, r, z, n, so that the gradients of s (n r z, in this order) lie side by side, and those of a (r z n) too.
struct GruCell {
  static constexpr FixedString kForward = "gru_fwd", kBackward = "gru_bwd";
  static constexpr int kGates = 3, kSlots = 4;
  static constexpr bool kHasCell = false, kReadsState = true;
  static constexpr Piece kPieces[] = {{0, 2, 1}, {1, 0, 2}};
  template <class V>
  static FASTATTN_INLINE State<V> forward(const V* a, const V* s, State<V> state, V* saved) {
    const V r = sigmoid(a[0] + s[0]), z = sigmoid(a[1] + s[1]), n = tanh(fma(r, s[2], a[2]));
    saved[0] = s[2];
    saved[1] = r;
    saved[2] = z;
    saved[3] = n;
    return {fma(z, state.h - n, n), state.c};
  }
  template <class V>
  static FASTATTN_INLINE void backward(const V* saved, State<V> before, V, State<V>& grad, V* d) {
    const V one = V::set(1), r = saved[1], z = saved[2], n = saved[3];
    const V dn = grad.h * (one - z) * fnma(n, n, one);
    d[0] = dn * r;
    d[1] = dn * saved[0] * (r * (one - r));
    d[2] = grad.h * (before.h - n) * (z * (one - z));
    d[3] = dn;
    grad.h = grad.h * z;
  }
};

// f.template operator()<Cell>() for the cell of a mode.
template <class F>
FASTATTN_INLINE fa_status visit_cell(int32_t mode, F&& f) {
  switch (mode) {
    case FA_RNN_TANH: return f.template operator()<TanhCell>();
    case FA_RNN_RELU: return f.template operator()<ReluCell>();
    case FA_LSTM: return f.template operator()<LstmCell>();
    default: return f.template operator()<GruCell>();
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
