// What both passes through a layer share: who has what in a step, lengths, the states before and after the steps,
// packed weights, and the host's part of it.
#pragma once

#include "cuda/entries.h"
#include "cuda/launch.h"
#include "cuda/recurrent/cell.h"
#include "cuda/recurrent/product.h"
#include "cuda/tile/row.h"
#include "cuda/workspace.h"

namespace fastattn::cuda {

inline constexpr int kCopyThreads = 256;

template <class T>
constexpr int32_t kDtypeOf = sizeof(T) == 4       ? FA_F32
                             : __is_same(T, bf16) ? FA_BF16
                                                  : FA_F16;

// A matrix of any strides; one without data is 0.
template <class T>
struct Matrix {
  const T* data;
  int64_t row, column;
  explicit Matrix(const fa_tensor& t)
      : data(static_cast<const T*>(t.data)),
        row(t.data == nullptr ? 0 : t.strides[0]),
        column(t.data == nullptr ? 0 : t.strides[1]) {}
  __device__ float load(int64_t r, int64_t c) const {
    return data == nullptr ? 0.0f : to_float(data[r * row + c * column]);
  }
};

struct Lengths {
  const void* data;
  int64_t stride, T;
  bool wide;  // of 64 bits
  Lengths(const fa_tensor& t, int64_t steps)
      : data(t.data), stride(t.data == nullptr ? 0 : t.strides[0]), T(steps), wide(t.dtype == FA_I64) {}
  // -1 where it is none of 0 to T, which only the device can see: the row has no step, NaN for results, and no
  // gradient.
  __device__ int64_t at(int64_t b) const {
    if (data == nullptr) return T;
    const int64_t n =
        wide ? static_cast<const int64_t*>(data)[b * stride] : static_cast<const int32_t*>(data)[b * stride];
    return n < 0 || n > T ? -1 : n;
  }
};

// A block has kStepRows rows of the batch and kUnits units, and a thread some of these elements.
template <int kUnits>
struct StepElement {
  static constexpr int kEach = kStepRows * kUnits / kStepThreads;
  static constexpr int kRowsApart = kStepThreads / kUnits;

  __device__ static int64_t first_row() { return int64_t{blockIdx.x} * kStepRows; }
  __device__ static int unit_of_tile() { return static_cast<int>(threadIdx.x) % kUnits; }
  __device__ static int64_t unit() { return int64_t{blockIdx.y} * kUnits + unit_of_tile(); }
  __device__ static int row_of_tile(int i) { return i * kRowsApart + static_cast<int>(threadIdx.x) / kUnits; }
};

// Whether a row of the block takes part in a step, for the whole block.
__device__ inline bool any_row(const Lengths& lengths, int64_t B, int64_t t) {
  static_assert(kStepRows == 32);
  const int64_t b = int64_t{blockIdx.x} * kStepRows + threadIdx.x % 32;
  return __any_sync(0xffffffff, b < B && t < lengths.at(b)) != 0;
}

// state = from, in float, and as what the first step's product reads, where there is one.
template <class T>
__global__ void __launch_bounds__(kCopyThreads)
    recurrent_begin_kernel(Matrix<T> from, Lengths lengths, int64_t B, int64_t H, float* state,
                           StepOperand<T> operand) {
  const int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i >= B * H) return;
  const int64_t b = i / H, unit = i % H;
  const float x = operand.data == nullptr && lengths.at(b) < 0 ? 0.0f : from.load(b, unit);
  state[i] = x;
  if (operand.data != nullptr) operand.store(b, unit, x);
}

// to = state. has_results: of the forward, where a length out of range gives NaN.
template <class T>
__global__ void __launch_bounds__(kCopyThreads)
    recurrent_end_kernel(const float* state, Lengths lengths, int64_t B, int64_t H, T* to, bool has_results) {
  const int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i >= B * H) return;
  to[i] = from_float<T>(has_results && lengths.at(i / H) < 0 ? __builtin_nanf("") : state[i]);
}

// kBackward: K are the rows of w_hh from first_row on, round, and the columns units; else K are units and the columns
// the gates of the tile's.
template <class T, bool kBackward>
__global__ void __launch_bounds__(kCopyThreads)
    recurrent_pack_kernel(Matrix<T> w_hh, int64_t H, int64_t first_row, int64_t elements, StepWeights<T> to) {
  const int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i >= elements) return;
  const int64_t k = i % to.K, column = i / to.K % to.columns, tile = i / to.K / to.columns;
  const int64_t unit = kBackward ? tile * to.columns + column : tile * kStepUnits + column % kStepUnits;
  const int64_t row = kBackward ? (k + first_row) % to.K : column / kStepUnits * H + unit;
  *to.at(tile, column, k) = unit < H ? w_hh.data[row * w_hh.row + (kBackward ? unit : k) * w_hh.column] : T{};
}

// Launches one after the other, until one fails.
struct Launches {
  fa_launch& launch;
  void* workspace;  // of other ops' kernels
  fa_status status = FA_OK;

  template <class... Params>
  void run(void (*kernel)(Params...), dim3 grid, int threads, size_t shared_bytes,
           std::type_identity_t<Params>... args) {
    if (status != FA_OK) return;
    const char* error =
        cuda::launch(kernel, {grid, dim3(static_cast<unsigned>(threads)), shared_bytes, launch.stream}, args...);
    if (error) status = fail(launch, FA_UNSUPPORTED, error);
  }
  // A thread to each of n elements.
  template <class... Params>
  void over(int64_t n, void (*kernel)(Params...), std::type_identity_t<Params>... args) {
    if (n > 0)
      run(kernel, dim3(static_cast<unsigned>((n + kCopyThreads - 1) / kCopyThreads)), kCopyThreads, 0, args...);
  }
  template <class Params>
  void op(fa_status (*entry)(const Params&, fa_launch&), const Params& p) {
    if (status != FA_OK) return;
    fa_launch inner = launch;
    inner.workspace = workspace;
    status = entry(p, inner);
    if (status != FA_OK) fail(launch, status, inner.reason);
  }
};

// The largest workspace of some ops.
struct Workspaces {
  const fa_launch& launch;  // a query
  size_t most = 0;
  template <class Params>
  void op(fa_status (*entry)(const Params&, fa_launch&), const Params& p) {
    fa_launch query = launch;
    entry(p, query);
    if (query.workspace_bytes > most) most = query.workspace_bytes;
  }
};

template <class T>
fa_tensor matrix_of(T* data, int64_t rows, int64_t columns, int64_t row_stride) {
  return {const_cast<void*>(static_cast<const void*>(data)), kDtypeOf<T>, 2, {rows, columns}, {row_stride, 1}};
}
inline fa_tensor transposed(fa_tensor t) {
  const int64_t rows = t.shape[0], stride = t.strides[0];
  t.shape[0] = t.shape[1];
  t.strides[0] = t.strides[1];
  t.shape[1] = rows;
  t.strides[1] = stride;
  return t;
}

inline int64_t num_tiles(int64_t n, int64_t of) { return (n + of - 1) / of; }
inline dim3 step_grid(int64_t B, int64_t H, int units) {
  return dim3(static_cast<unsigned>(num_tiles(B, kStepRows)), static_cast<unsigned>(num_tiles(H, units)));
}

// What a grid or a thread cannot count.
inline const char* too_large(int64_t T, int64_t B, int64_t I, int64_t H) {
  const int64_t most = int64_t{INT32_MAX} * kCopyThreads;
  if (num_tiles(H, kStepUnits) > 65535) return "more hidden units than a grid has blocks";
  if (T > 0 && B > 0 && (H > most / T / B || I > most / T / B || H > most / (4 * H))) {
    return "more elements than a grid has threads";
  }
  return nullptr;
}

}  // namespace fastattn::cuda
