// From a sum to out: bias, preact, activation, residual, accumulate, and one rounding.
#pragma once

#include "cuda/matmul/problem.h"
#include "cuda/tile/activation.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {

template <class T>
__device__ inline void load_four(float (&x)[4], const T* row, int64_t n, int64_t N, bool packs) {
  if (packs) return load_pack(x, row, n, N);
#pragma unroll
  for (int v = 0; v < 4; ++v) x[v] = n + v < N ? to_float(row[n + v]) : 0.0f;
}

template <class T>
__device__ inline void store_four(T* row, const float (&x)[4], int64_t n, int64_t N, bool packs) {
  if (packs) return store_pack(row, x, n, N);
#pragma unroll
  for (int v = 0; v < 4; ++v) {
    if (n + v < N) row[n + v] = from_float<T>(x[v]);
  }
}

template <int kActivation>
__device__ inline void activate_four(float (&x)[4]) {
#pragma unroll
  for (int v = 0; v < 4; ++v) x[v] = Activation<kActivation>::value(x[v]);
}

__device__ inline void activate(float (&x)[4], int activation) {
  switch (activation) {
    case FA_ACT_GELU: return activate_four<FA_ACT_GELU>(x);
    case FA_ACT_GELU_TANH: return activate_four<FA_ACT_GELU_TANH>(x);
    case FA_ACT_SILU: return activate_four<FA_ACT_SILU>(x);
    case FA_ACT_RELU: return activate_four<FA_ACT_RELU>(x);
    case FA_ACT_SIGMOID: return activate_four<FA_ACT_SIGMOID>(x);
    default: return;
  }
}

template <class Out>
__device__ inline void write_four(Out* row, float (&x)[4], int64_t n, int64_t N, bool accumulate, bool packs) {
  if (accumulate) {
    float before[4];
    load_four(before, row, n, N, packs);
#pragma unroll
    for (int v = 0; v < 4; ++v) x[v] += before[v];
  }
  store_four(row, x, n, N, packs);
}

// Where the sums of an entry go: four columns from n on of row m.
template <class Problem>
struct SumTarget;

template <class T>
struct SumTarget<MatmulProblem<T>> {
  int64_t at[kNumMatTensors];

  __device__ SumTarget(const MatmulProblem<T>& p, int64_t entry) { row_offsets(p.batch, entry, at); }
  // Whether neighbouring threads should have neighbouring rows.
  __device__ static constexpr bool rows_first(const MatmulProblem<T>&) { return false; }

  __device__ void finish(const MatmulProblem<T>& p, int64_t m, int64_t n, float (&x)[4]) const {
    const MatmulEpilogue<T>& e = p.epilogue;
    const int64_t N = p.N;
    if (e.bias != nullptr) {
#pragma unroll
      for (int v = 0; v < 4; ++v) x[v] += n + v < N ? to_float(e.bias[(n + v) * e.bias_n]) : 0.0f;
    }
    if (e.preact != nullptr) store_four(e.preact + at[kMatPreact] + m * e.preact_m, x, n, N, e.packs);
    activate(x, e.activation);
    if (e.residual != nullptr) {
      float residual[4];
      load_four(residual, e.residual + at[kMatResidual] + m * e.residual_m, n, N, e.packs);
#pragma unroll
      for (int v = 0; v < 4; ++v) x[v] += residual[v];
    }
    const int64_t row = at[kMatOut] + m * e.out_m;
    if (sizeof(T) != 4 && e.wide) {
      write_four(static_cast<float*>(e.out) + row, x, n, N, e.accumulate, e.packs);
    } else {
      write_four(static_cast<T*>(e.out) + row, x, n, N, e.accumulate, e.packs);
    }
  }
};

inline constexpr int kAddThreads = 256;

// Adds the pieces of one launch in order, to `total` where it is not the first; the last goes on to out.
template <class Problem>
__global__ void __launch_bounds__(kAddThreads) matmul_add_kernel(Problem p, float* total, bool last) {
  const int64_t packs = (p.N + 3) / 4, rows = p.entries() * p.M, elements = rows * p.N;
  const bool aligned = p.N % 4 == 0;
  const int64_t i = int64_t{blockIdx.x} * kAddThreads + threadIdx.x;
  if (i >= rows * packs) return;
  const int64_t row = i / packs, n = i % packs * 4;
  float x[4] = {};
  if (p.first_chunk > 0) load_four(x, total + row * p.N, n, p.N, aligned);
  for (int64_t piece = 0; piece < p.pieces; ++piece) {
    float y[4];
    load_four(y, p.partial + piece * elements + row * p.N, n, p.N, aligned);
#pragma unroll
    for (int v = 0; v < 4; ++v) x[v] += y[v];
  }
  if (last) {
    SumTarget<Problem>(p, row / p.M).finish(p, row % p.M, n, x);
  } else {
    store_four(total + row * p.N, x, n, p.N, aligned);
  }
}

}  // namespace fastattn::cuda
