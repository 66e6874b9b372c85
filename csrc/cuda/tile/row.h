// Rows that threads share: who has which elements, how they move, what a configuration is called.
#pragma once

#include "cuda/host.h"
#include "cuda/platform.h"
#include "cuda/types.h"

namespace fastattn::cuda {

struct RowConfig {
  const char* name;
  int threads;      // of a block
  int row_threads;  // of a row
  int elements;     // of a row that a thread keeps; 0: none, the row is read again
  bool single;      // also by single elements, where rows are not aligned
  constexpr int64_t max_columns() const { return elements ? int64_t{row_threads} * elements : INT64_MAX; }
  constexpr int rows() const { return threads / row_threads; }  // of a block
};

// kVec elements from element i on, times scale; past the end of the row `past`. Index is int for a row that is kept,
// int64_t for a long one.
template <int kVec, class T, class Index>
__device__ inline void load_pack(float (&r)[kVec], const T* x, Index i, Index C, float past = 0.0f,
                                 float scale = 1.0f) {
  if (i + kVec <= C) {
    const auto pack = *reinterpret_cast<const Packed<T, kVec>*>(x + i);
#pragma unroll
    for (int v = 0; v < kVec; ++v) r[v] = scale * to_float(pack.at[v]);
  } else {
#pragma unroll
    for (int v = 0; v < kVec; ++v) r[v] = i + v < C ? scale * to_float(x[i + v]) : past;
  }
}

template <int kVec, class T, class Index>
__device__ inline void store_pack(T* out, const float (&y)[kVec], Index i, Index C) {
  if (i + kVec <= C) {
    Packed<T, kVec> pack;
#pragma unroll
    for (int v = 0; v < kVec; ++v) pack.at[v] = from_float<T>(y[v]);
    *reinterpret_cast<Packed<T, kVec>*>(out + i) = pack;
  } else {
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      if (i + v < C) out[i + v] = from_float<T>(y[v]);
    }
  }
}

// Where row number `row` of each tensor begins.
template <int kTensors>
__device__ inline void row_offsets(const Rows<kTensors>& rows, int64_t row, int64_t (&offset)[kTensors]) {
  for (int t = 0; t < kTensors; ++t) offset[t] = 0;
  for (int d = 0; d < rows.ndim; ++d) {
    const int64_t at = row % rows.shape[d];
    row /= rows.shape[d];
    for (int t = 0; t < kTensors; ++t) offset[t] += at * rows.strides[t][d];
  }
}

// Whether every row begins at a multiple of 16 bytes.
template <class T>
bool rows_aligned(const void* data, const int64_t* strides, int ndim) {
  bool aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0;
  for (int d = 0; d < ndim; ++d) aligned = aligned && strides[d] * static_cast<int64_t>(sizeof(T)) % 16 == 0;
  return aligned;
}

// OP_DTYPE_CONFIG_sm80, or OP_DTYPE_sm80 where there is one configuration.
struct KernelName {
  char text[64] = {};
  constexpr KernelName() = default;
  constexpr KernelName(const char* op, const char* dtype, const char* config = "") {
    int n = 0;
    const char* const parts[] = {op, "_", dtype, *config ? "_" : "", config, "_sm80"};
    for (const char* part : parts) {
      while (*part) text[n++] = *part++;
    }
  }
};

}  // namespace fastattn::cuda
