// The activation functions and their derivatives, by their codes: what the op and matmul's epilogue share.
#pragma once

#include "cpu/simd/math.h"
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

struct Gelu {
  static constexpr FixedString kForward = "gelu_fwd", kBackward = "gelu_bwd";
  template <class V>
  static FASTATTN_INLINE V value(V x) {
    return gelu(x);
  }
  template <class V>
  static FASTATTN_INLINE V slope(V x) {
    return gelu_grad(x);
  }
};
struct GeluTanh {
  static constexpr FixedString kForward = "gelu_fwd", kBackward = "gelu_bwd";
  template <class V>
  static FASTATTN_INLINE V value(V x) {
    return gelu_tanh(x);
  }
  template <class V>
  static FASTATTN_INLINE V slope(V x) {
    return gelu_tanh_grad(x);
  }
};
struct Silu {
  static constexpr FixedString kForward = "silu_fwd", kBackward = "silu_bwd";
  template <class V>
  static FASTATTN_INLINE V value(V x) {
    return silu(x);
  }
  template <class V>
  static FASTATTN_INLINE V slope(V x) {
    return silu_grad(x);
  }
};
struct Relu {
  static constexpr FixedString kForward = "relu_fwd", kBackward = "relu_bwd";
  template <class V>
  static FASTATTN_INLINE V value(V x) {
    return max(V::zero(), x);  // x where it is NaN
  }
  template <class V>
  static FASTATTN_INLINE V slope(V x) {
    return select(x <= V::zero(), V::zero(), V::set(1));
  }
};
struct SigmoidFunction {
  static constexpr FixedString kForward = "sigmoid_fwd", kBackward = "sigmoid_bwd";
  template <class V>
  static FASTATTN_INLINE V value(V x) {
    return sigmoid(x);
  }
  template <class V>
  static FASTATTN_INLINE V slope(V x) {
    return sigmoid_grad(x);
  }
};

// f(function) for the function of a code; false, and no call, for FA_ACT_NONE and what is no code.
template <class F>
FASTATTN_INLINE bool visit_activation(int32_t activation, F&& f) {
  switch (activation) {
    case FA_ACT_GELU: f(Gelu{}); return true;
    case FA_ACT_GELU_TANH: f(GeluTanh{}); return true;
    case FA_ACT_SILU: f(Silu{}); return true;
    case FA_ACT_RELU: f(Relu{}); return true;
    case FA_ACT_SIGMOID: f(SigmoidFunction{}); return true;
    default: return false;
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
