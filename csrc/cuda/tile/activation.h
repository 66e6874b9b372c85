// The activations of ops/activation.h in float, and their derivatives: y = f(x), f'(x). Inputs of any size: what
// overflows saturates to the limit of f, and a NaN stays one.
#pragma once

#include "cuda/platform.h"
#include "ops/activation.h"

namespace fastattn::cuda {

// By exp of what is negative, so that the left tail keeps its digits to the last subnormal.
__device__ inline float sigmoid(float x) {
  const float z = expf(-fabsf(x));
  return (x < 0.0f ? z : 1.0f) / (1.0f + z);
}

// A factor that only counts where x is small; -inf times 0 would be NaN.
__device__ inline float clamped(float x) { return fminf(fmaxf(x, -100.0f), 100.0f); }

template <int kActivation>
struct Activation;

template <>
struct Activation<FA_ACT_GELU> {
  // erfc: 1 + erf would cancel for x < 0.
  __device__ static float phi(float x) { return 0.5f * erfcf(x * -0.707106781f); }
  __device__ static float value(float x) { return x < -20.0f ? -0.0f : x * phi(x); }
  __device__ static float slope(float x) { return phi(x) + clamped(x) * 0.398942280f * expf(-0.5f * x * x); }
};

template <>
struct Activation<FA_ACT_GELU_TANH> {
  // (1 + tanh(u)) / 2 = sigmoid(2 u), without the cancellation.
  __device__ static float gate(float x) { return sigmoid(1.59576912f * (x + 0.044715f * x * x * x)); }
  __device__ static float value(float x) { return x < -20.0f ? -0.0f : x * gate(x); }
  __device__ static float slope(float x) {
    const float s = gate(x), c = clamped(x);
    return s + c * s * (1.0f - s) * 1.59576912f * (1.0f + 3.0f * 0.044715f * c * c);
  }
};

template <>
struct Activation<FA_ACT_SILU> {
  __device__ static float value(float x) { return x < -104.0f ? -0.0f : x * sigmoid(x); }
  __device__ static float slope(float x) {
    const float s = sigmoid(x);
    return s * (1.0f + clamped(x) * (1.0f - s));
  }
};

template <>
struct Activation<FA_ACT_RELU> {
  __device__ static float value(float x) { return x < 0.0f ? 0.0f : x; }
  __device__ static float slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};

template <>
struct Activation<FA_ACT_SIGMOID> {
  __device__ static float value(float x) { return sigmoid(x); }
  __device__ static float slope(float x) {
    const float s = sigmoid(x);
    return s * (1.0f - s);
  }
};

}  // namespace fastattn::cuda
