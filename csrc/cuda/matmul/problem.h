// From the tensors of a call to the problem that the kernels see.
#pragma once

#include "cuda/host.h"
#include "cuda/matmul/config.h"
#include "ops/matmul.h"

namespace fastattn::cuda {

enum MatmulTensor { kMatA, kMatB, kMatOut, kMatResidual, kMatPreact, kNumMatTensors };

// What happens to a sum on its way to out.
template <class T>
struct MatmulEpilogue {
  const T* bias;      // (N) or nullptr
  const T* residual;  // (batch, M, N) or nullptr
  T* preact;          // (batch, M, N) or nullptr
  void* out;          // (batch, M, N), of T or of float
  int64_t bias_n, out_m, residual_m, preact_m;
  int activation;
  bool accumulate;
  bool wide;   // out is of float, though T is not
  bool packs;  // four elements lie so that they can move at once, in all of them
};

template <class T>
struct MatmulProblem {
  using Element = T;
  const T* a;  // (batch, sums, M, K)
  const T* b;  // (batch, sums, K, N)
  int64_t M, N, K;
  int64_t a_m, a_k, b_k, b_n;
  int64_t parts;   // chunks of K
  int64_t chunks;  // and of all that is summed: sums * parts
  Rows<kNumMatTensors> batch;
  Rows<2> sums;  // batch axes that are summed into out, of a and b
  MatmulEpilogue<T> epilogue;
  float* partial = nullptr;  // (pieces, batch, M, N): sums of one chunk each, where blocks share K
  int64_t first_chunk = 0;   // of this launch
  int64_t pieces = 1;

  __host__ __device__ int64_t entries() const { return batch.size; }
};

// The batch axes of t that are summed into out, or the others.
inline fa_tensor batch_axes(const fa_tensor& t, const fa_tensor& out, bool summed) {
  fa_tensor axes = {};
  for (int d = 0; d < out.ndim - 2; ++d) {
    if ((out.strides[d] == 0 && out.shape[d] > 1) != summed) continue;
    axes.shape[axes.ndim] = out.shape[d];
    axes.strides[axes.ndim++] = t.data == nullptr ? 0 : t.strides[d];
  }
  return axes;
}

// Batch entries that share b and lie row behind row are rows of one matrix.
template <class T>
void fold_batch_into_rows(MatmulProblem<T>& q) {
  auto& axes = q.batch;
  MatmulEpilogue<T>& e = q.epilogue;
  int64_t* const rows[] = {&q.a_m, nullptr, &e.out_m, &e.residual_m, &e.preact_m};
  const bool present[] = {true, false, true, e.residual != nullptr, e.preact != nullptr};
  while (axes.ndim > 0 && axes.strides[kMatB][0] == 0) {
    for (int t = 0; t < kNumMatTensors; ++t) {
      if (present[t] && q.M > 1 && axes.strides[t][0] != q.M * *rows[t]) return;
    }
    for (int t = 0; t < kNumMatTensors; ++t) {
      if (present[t] && q.M == 1) *rows[t] = axes.strides[t][0];
      for (int d = 1; d < axes.ndim; ++d) axes.strides[t][d - 1] = axes.strides[t][d];
    }
    q.M *= axes.shape[0];
    axes.size /= axes.shape[0];
    for (int d = 1; d < axes.ndim; ++d) axes.shape[d - 1] = axes.shape[d];
    --axes.ndim;
  }
}

template <class T>
bool strides_are_multiples(const MatmulProblem<T>& q, int tensor, int64_t of) {
  bool yes = true;
  for (int d = 0; d < q.batch.ndim; ++d) yes = yes && q.batch.strides[tensor][d] % of == 0;
  if (tensor <= kMatB) {
    for (int d = 0; d < q.sums.ndim; ++d) yes = yes && q.sums.strides[tensor][d] % of == 0;
  }
  return yes;
}

template <class T>
MatmulProblem<T> make_matmul_problem(const fa_matmul_params& p) {
  const int m = p.out.ndim - 2, n = p.out.ndim - 1;
  const fa_tensor axes[] = {batch_axes(p.a, p.out, false), batch_axes(p.b, p.out, false),
                            batch_axes(p.out, p.out, false), batch_axes(p.residual, p.out, false),
                            batch_axes(p.preact, p.out, false)};
  const fa_tensor sums[] = {batch_axes(p.a, p.out, true), batch_axes(p.b, p.out, true)};
  auto row = [&](const fa_tensor& t) { return t.data == nullptr ? 0 : t.strides[m]; };
  const int64_t M = p.out.shape[m], N = p.out.shape[n], K = p.a.shape[n];
  MatmulProblem<T> q{
      static_cast<const T*>(p.a.data),
      static_cast<const T*>(p.b.data),
      M,
      N,
      K,
      p.a.strides[m],
      K > 1 ? p.a.strides[n] : 0,
      K > 1 ? p.b.strides[m] : 0,
      N > 1 ? p.b.strides[n] : 0,
      (K + kMatmulChunk - 1) / kMatmulChunk,
      0,
      Rows<kNumMatTensors>({&axes[0], &axes[1], &axes[2], &axes[3], &axes[4]}, -1),
      Rows<2>({&sums[0], &sums[1]}, -1),
      {static_cast<const T*>(p.bias.data), static_cast<const T*>(p.residual.data), static_cast<T*>(p.preact.data),
       p.out.data, p.bias.data == nullptr ? 0 : p.bias.strides[0], row(p.out), row(p.residual), row(p.preact),
       p.activation, p.accumulate != 0, p.out.dtype != p.a.dtype, true}};
  q.chunks = q.sums.size * q.parts;
  if (q.batch.size > 0) fold_batch_into_rows(q);
  if (q.M == 1) q.a_m = 0;

  MatmulEpilogue<T>& e = q.epilogue;
  const void* const data[] = {e.out, e.residual, e.preact};
  const int64_t rows[] = {e.out_m, e.residual_m, e.preact_m};
  for (int i = 0; i < 3; ++i) {
    if (data[i] == nullptr) continue;
    const uintptr_t bytes = 4 * (i == 0 && e.wide ? sizeof(float) : sizeof(T));
    e.packs = e.packs && reinterpret_cast<uintptr_t>(data[i]) % bytes == 0 && (q.M == 1 || rows[i] % 4 == 0) &&
              strides_are_multiples(q, kMatOut + i, 4);
  }
  return q;
}

template <class T>
Load load_of(const MatmulProblem<T>& q, int tensor) {
  const int64_t row = tensor == kMatA ? q.a_m : q.b_n, k = tensor == kMatA ? q.a_k : q.b_k;
  const int64_t pack = 16 / sizeof(T);
  const void* data = tensor == kMatA ? q.a : q.b;
  if (reinterpret_cast<uintptr_t>(data) % 16 != 0 || !strides_are_multiples(q, tensor, pack)) return Load::kElements;
  if (k == 1 && row % pack == 0) return Load::kAlongK;
  if (row == 1 && k % pack == 0) return Load::kAlongRows;
  return Load::kElements;
}

}  // namespace fastattn::cuda
