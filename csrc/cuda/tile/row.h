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
  constexpr int64_t max_columns() const { return elements ? int64_t{row_threads} * elements : INT64_MAX; }
  constexpr int rows() const { return threads / row_threads; }  // of a block
  // Elements kept where packs or single elements are read: the addresses of the latter want more than the 64 registers
  // that 1024 threads have each.
  constexpr int kept(bool packs) const { return packs || threads < 1024 ? elements : 0; }
  // Elements at a time of a row that is not kept.
  constexpr int at_once(bool packs, int pack) const { return kept(packs) == elements ? pack : 1; }
};

// kVec elements from element i on, `step` apart, times scale; past the end of the row `past`. kPacks: by one load, for
// rows that are aligned and contiguous; a thread has the same elements without. Index is int for a row that is kept,
// int64_t for a long one.
template <bool kPacks = true, int kVec, class T, class Index>
__device__ inline void load_pack(float (&r)[kVec], const T* x, Index i, Index C, float past = 0.0f, float scale = 1.0f,
                                 [[maybe_unused]] int64_t step = 1) {
  if (kPacks && i + kVec <= C) {
    const auto pack = *reinterpret_cast<const Packed<T, kVec>*>(x + i);
#pragma unroll
    for (int v = 0; v < kVec; ++v) r[v] = __fmul_rn(scale, to_float(pack.at[v]));
  } else {
#pragma unroll
    for (int v = 0; v < kVec; ++v) r[v] = i + v < C ? __fmul_rn(scale, to_float(x[(i + v) * step])) : past;
  }
}

template <bool kPacks = true, int kVec, class T, class Index>
__device__ inline void store_pack(T* out, const float (&y)[kVec], Index i, Index C, [[maybe_unused]] int64_t step = 1) {
  if (kPacks && i + kVec <= C) {
    Packed<T, kVec> pack;
#pragma unroll
    for (int v = 0; v < kVec; ++v) pack.at[v] = from_float<T>(y[v]);
    *reinterpret_cast<Packed<T, kVec>*>(out + i) = pack;
  } else {
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      if (i + v < C) out[(i + v) * step] = from_float<T>(y[v]);
    }
  }
}

// Calls f(float[kAtOnce], element) for the packs of a thread, the first at element `begin`, `step` apart, in order.
template <int kAtOnce, int kVec, class F>
__device__ inline void for_row_again(int64_t begin, int step, int64_t C, F&& f) {
#pragma unroll 1
  for (int64_t i = begin; i < C; i += step) {
#pragma unroll 1
    for (int v = 0; v < kVec; v += kAtOnce) {
      float pack[kAtOnce];
      f(pack, i + v);
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

// How rows are read: by packs of 16 bytes, by single elements, or across, with neighbours (tile/columns.h).
enum class RowLayout { kPacks, kSingles, kColumns };

// Of the first `count` of the tensors that `rows` are the rows of. A function of strides and addresses alone.
template <class T, int kTensors, int kMost>
RowLayout row_layout(const Rows<kTensors>& rows, const fa_tensor* const (&tensors)[kMost], int count, int axis) {
  static_assert(kMost <= kTensors);
  bool packs = true, columns = rows.ndim > 0;
  for (int t = 0; t < count; ++t) {
    const bool contiguous = tensors[t]->shape[axis] <= 1 || tensors[t]->strides[axis] == 1;
    packs = packs && contiguous && rows_aligned<T>(tensors[t]->data, rows.strides[t], rows.ndim);
    columns = columns && !contiguous && rows.strides[t][0] == 1;
  }
  return packs ? RowLayout::kPacks : columns ? RowLayout::kColumns : RowLayout::kSingles;
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
