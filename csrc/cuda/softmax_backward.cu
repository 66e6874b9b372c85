// The gradient of softmax and log_softmax over an axis, from the result.
//
//   softmax      dx = scale out (dout - sum(dout out))
//   log_softmax  dx = scale (dout - exp(out) sum(dout)), 0 in a row that is -inf throughout: it had nothing to keep
//
// out, dout, dx: any shape; a row is one position of the axes but one and has C elements. A row belongs to a warp (four
// to a block) or to a block, whose threads keep both inputs in registers between the sum and the store, 16 elements of
// each: the roofline is DRAM's bandwidth, 3 C elements a row. Beyond 16384 elements the second pass reads both again
// (5 C). dx may be dout: each thread reads its elements before it writes them. Rows that are not aligned, or have a
// stride, as forward (softmax.cu), to the bit; across, both inputs are read twice.
//
// Source: derived from the forward (softmax.cu); the sum is sum(dout out) since out's rows sum to 1.
#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/columns.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"
#include "cuda/tile/softmax_state.h"

namespace fastattn::cuda {
namespace {

// The first that a row fits into; none of it measured on a GPU.
// clang-format off
constexpr RowConfig kConfigs[] = {
    {"warp8", 128, 32, 8},
    {"warp16", 128, 32, 16},
    {"block128", 128, 128, 16},
    {"block512", 512, 512, 16},
    {"block1024", 1024, 1024, 16},
    {"reread", 512, 512, 0},
};
// clang-format on
constexpr int kNumConfigs = sizeof kConfigs / sizeof kConfigs[0];

enum Tensors { kOut, kDout, kDx, kNumTensors };

template <class T>
struct Problem {
  const T* out;                          // (rows, C)
  const T* dout;                         // (rows, C)
  T* dx;                                 // (rows, C)
  int64_t out_step, dout_step, dx_step;  // strides of the axis
  int64_t C;
  float scale;
  bool log;
  Rows<kNumTensors> rows;
};

template <class T>
constexpr int kVec = 16 / sizeof(T);

// One row: what is read of it, added up and written.
template <class T, bool kPacks>
struct Row {
  const T* out;
  const T* dout;
  T* dx;
  int64_t out_step, dout_step, dx_step;
  float scale;
  bool log;

  __device__ Row(const Problem<T>& p, int64_t row)
      : out_step(p.out_step), dout_step(p.dout_step), dx_step(p.dx_step), scale(p.scale), log(p.log) {
    int64_t begin[kNumTensors];
    row_offsets(p.rows, row, begin);
    out = p.out + begin[kOut];
    dout = p.dout + begin[kDout];
    dx = p.dx + begin[kDx];
  }
  template <int n, class Index>
  __device__ void load(float (&y)[n], float (&dy)[n], Index i, Index C) const {
    load_pack<kPacks>(y, out, i, C, log ? -kInf : 0.0f, 1.0f, out_step);
    load_pack<kPacks>(dy, dout, i, C, 0.0f, 1.0f, dout_step);
  }
  template <int n>
  __device__ void add(const float (&y)[n], const float (&dy)[n], float& sum, float& kept) const {
#pragma unroll
    for (int v = 0; v < n; ++v) {
      sum = log ? sum + dy[v] : fmaf(dy[v], y[v], sum);
      kept = y[v] == -kInf ? kept : 1.0f;
    }
  }
  // Gradients in place of dout.
  template <int n>
  __device__ void finish(const float (&y)[n], float (&dy)[n], float sum, float kept) const {
#pragma unroll
    for (int v = 0; v < n; ++v) {
      if (log) {
        dy[v] = kept == 0.0f ? 0.0f : scale * fmaf(-exp_score(y[v]), sum, dy[v]);
      } else {
        dy[v] = scale * y[v] * (dy[v] - sum);
      }
    }
  }
};

template <class T, bool kPacks, int kConfig>
__global__ void __launch_bounds__(kConfigs[kConfig].threads) softmax_backward_kernel(Problem<T> p) {
  constexpr RowConfig kThis = kConfigs[kConfig];
  constexpr int kKept = kThis.kept(kPacks) / kVec<T>;
  SHARED_ARRAY(float, sSum, 16, 32);
  SHARED_ARRAY(float, sKept, 16, 32);

  const int thread = static_cast<int>(threadIdx.x) % kThis.row_threads;
  const int64_t number = static_cast<int64_t>(blockIdx.x) * kThis.rows() + threadIdx.x / kThis.row_threads;
  if (number >= p.rows.size) return;  // a whole warp: rows that share a block have one each
  const Row<T, kPacks> row(p, number);
  auto element = [&](int pack) { return (pack * kThis.row_threads + thread) * kVec<T>; };
  const int C = static_cast<int>(p.C);  // of a row that is kept

  auto again = [&](auto&& f) {
    constexpr int kAtOnce = kThis.at_once(kPacks, kVec<T>);
    for_row_again<kAtOnce, kVec<T>>(element(0), kThis.row_threads * kVec<T>, p.C, [&](auto& out, int64_t i) {
      float dout[kAtOnce];
      row.load(out, dout, i, p.C);
      f(out, dout, i);
    });
  };
  float y[kKept > 0 ? kKept : 1][kVec<T>], dy[kKept > 0 ? kKept : 1][kVec<T>];
  float sum = 0.0f, kept = 0.0f;
  if constexpr (kKept > 0) {
#pragma unroll
    for (int pack = 0; pack < kKept; ++pack) row.load(y[pack], dy[pack], element(pack), C);
#pragma unroll
    for (int pack = 0; pack < kKept; ++pack) row.add(y[pack], dy[pack], sum, kept);
  } else {
    again([&](const auto& out, const auto& dout, int64_t) { row.add(out, dout, sum, kept); });
  }
  sum = reduce_threads<kThis.row_threads>(sum, SumOp(), sSum);
  if (p.log) kept = reduce_threads<kThis.row_threads>(kept, MaxOp(), sKept);

  if constexpr (kKept > 0) {
#pragma unroll
    for (int pack = 0; pack < kKept; ++pack) {
      row.finish(y[pack], dy[pack], sum, kept);
      store_pack<kPacks>(row.dx, dy[pack], element(pack), C, row.dx_step);
    }
  } else {
    again([&](const auto& out, auto& dout, int64_t i) {
      row.finish(out, dout, sum, kept);
      store_pack<kPacks>(row.dx, dout, i, p.C, row.dx_step);
    });
  }
}

// The same across: of what row_threads threads do.
template <class T>
__global__ void __launch_bounds__(kColumnThreads<T>) softmax_backward_columns_kernel(Problem<T> p, int row_threads) {
  SHARED_ARRAY(float, sPart, 16, kColumnThreads<T>);
  const int lane = static_cast<int>(threadIdx.x) / kColumns<T>;
  const int64_t number = static_cast<int64_t>(blockIdx.x) * kColumns<T> + threadIdx.x % kColumns<T>;
  const bool inside = number < p.rows.size;  // the others wait at the barriers
  const int64_t C = inside ? p.C : 0;
  const Row<T, false> row(p, inside ? number : 0);
  float kept = 0.0f;
  auto part = [&](int thread) {
    float sum = 0.0f;
    for (int64_t i = int64_t{thread} * kVec<T>; i < C; i += int64_t{row_threads} * kVec<T>) {
      float y[kVec<T>], dy[kVec<T>];
      row.load(y, dy, i, C);
      row.add(y, dy, sum, kept);
    }
    return sum;
  };
  const float sum = sum_column<kColumns<T>>(row_threads, part, sPart);
  if (p.log) kept = reduce_column<kColumns<T>>(kept, MaxOp(), sPart);
  for (int64_t i = lane; i < C; i += 32) {
    float y[1], dy[1];
    row.load(y, dy, i, C);
    row.finish(y, dy, sum, kept);
    store_pack<false>(row.dx, dy, i, C, row.dx_step);
  }
}

template <class T, int kConfig>
constexpr KernelName kName{"softmax_bwd", kTypeName<T>, kConfigs[kConfig].name};
template <class T>
constexpr KernelName kColumnsName{"softmax_bwd", kTypeName<T>, "columns"};

template <class T, int kConfig = 0>
fa_status dispatch(const Problem<T>& p, RowLayout layout, fa_launch& launch) {
  constexpr RowConfig kThis = kConfigs[kConfig];
  if constexpr (kConfig + 1 < kNumConfigs) {
    if (p.C > kThis.max_columns()) return dispatch<T, kConfig + 1>(p, layout, launch);
  }
  const bool columns = layout == RowLayout::kColumns;
  launch.kernel = columns ? kColumnsName<T>.text : kName<T, kConfig>.text;
  if (launch.query || p.rows.size == 0 || p.C == 0) return FA_OK;
  const int block_rows = columns ? kColumns<T> : kThis.rows();
  const int64_t blocks = (p.rows.size + block_rows - 1) / block_rows;
  if (blocks > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more rows than a grid has blocks");
  const LaunchConfig config{dim3(static_cast<unsigned>(blocks)), dim3(columns ? kColumnThreads<T> : kThis.threads), 0,
                            launch.stream};
  const char* error = nullptr;
  if (columns) {
    error = cuda::launch(softmax_backward_columns_kernel<T>, config, p, kThis.row_threads);
  } else {
    const bool packs = layout == RowLayout::kPacks;
    error = cuda::launch(packs ? softmax_backward_kernel<T, true, kConfig> : softmax_backward_kernel<T, false, kConfig>,
                         config, p);
  }
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace

fa_status softmax_bwd(const fa_softmax_bwd_params& p, fa_launch& launch) {
  return visit_float(p.out.dtype, launch, [&]<class T>() {
    const int64_t C = p.out.shape[p.axis];
    const Problem<T> problem{static_cast<const T*>(p.out.data),
                             static_cast<const T*>(p.dout.data),
                             static_cast<T*>(p.dx.data),
                             p.out.strides[p.axis],
                             p.dout.strides[p.axis],
                             p.dx.strides[p.axis],
                             C,
                             static_cast<float>(p.scale),
                             p.form == FA_LOG_SOFTMAX,
                             Rows<kNumTensors>({&p.out, &p.dout, &p.dx}, p.axis)};
    const auto& rows = problem.rows;
    const double n = static_cast<double>(rows.size) * static_cast<double>(C);
    launch.workspace_bytes = 0;
    launch.flops = 4 * n;
    launch.bytes = 3 * n * sizeof(T);
    const fa_tensor* const tensors[] = {&p.out, &p.dout, &p.dx};
    return dispatch<T>(problem, row_layout<T>(rows, tensors, kNumTensors, p.axis), launch);
  });
}

}  // namespace fastattn::cuda
