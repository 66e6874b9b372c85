// The gradient of softmax and log_softmax over an axis that is contiguous, from the result.
//
//   softmax      dx = scale out (dout - sum(dout out))
//   log_softmax  dx = scale (dout - exp(out) sum(dout)), 0 in a row that is -inf throughout: it had nothing to keep
//
// out, dout, dx: any shape; a row is one position of the axes but one and has C elements. A row belongs to a warp (four
// to a block) or to a block, whose threads keep both inputs in registers between the sum and the store, 16 elements of
// each: the roofline is DRAM's bandwidth, 3 C elements a row. Beyond 16384 elements the second pass reads both again
// (5 C). dx may be dout: each thread reads its elements before it writes them.
//
// Source: derived from the forward (softmax.cu); the sum is sum(dout out) since out's rows sum to 1.
// Not yet: an axis with a stride.
#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"
#include "cuda/tile/softmax_state.h"

namespace fastattn::cuda {
namespace {

// The first that a row fits into; none of it measured on a GPU. Single elements spill in 64 registers, as forward.
// clang-format off
constexpr RowConfig kConfigs[] = {
    {"warp8", 128, 32, 8, true},
    {"warp16", 128, 32, 16, true},
    {"block128", 128, 128, 16, true},
    {"block512", 512, 512, 16, true},
    {"block1024", 1024, 1024, 16, false},
    {"reread", 512, 512, 0, true},
};
// clang-format on
constexpr int kNumConfigs = sizeof kConfigs / sizeof kConfigs[0];

enum Tensors { kOut, kDout, kDx, kNumTensors };

template <class T>
struct Problem {
  const T* out;   // (rows, C)
  const T* dout;  // (rows, C)
  T* dx;          // (rows, C)
  int64_t C;
  float scale;
  bool log;
  Rows<kNumTensors> rows;
};

template <class T, int kVec, int kConfig>
__global__ void __launch_bounds__(kConfigs[kConfig].threads) softmax_backward_kernel(Problem<T> p) {
  constexpr RowConfig kThis = kConfigs[kConfig];
  constexpr int kPacks = kThis.elements / kVec;
  constexpr bool kKept = kPacks > 0;
  SHARED_ARRAY(float, sSum, 16, 32);
  SHARED_ARRAY(float, sKept, 16, 32);

  const int thread = static_cast<int>(threadIdx.x) % kThis.row_threads;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThis.rows() + threadIdx.x / kThis.row_threads;
  if (row >= p.rows.size) return;  // a whole warp: rows that share a block have one each
  int64_t begin[kNumTensors];
  row_offsets(p.rows, row, begin);
  const T* out = p.out + begin[kOut];
  const T* dout = p.dout + begin[kDout];
  T* dx = p.dx + begin[kDx];
  auto element = [&](int pack) { return (pack * kThis.row_threads + thread) * kVec; };
  const int C = static_cast<int>(p.C);  // of a row that is kept

  float y[kKept ? kPacks : 1][kVec], dy[kKept ? kPacks : 1][kVec];
  float sum = 0.0f, kept = 0.0f;
  const float past = p.log ? -kInf : 0.0f;  // of out, past the end of the row
  auto add = [&](const float(&out_pack)[kVec], const float(&dout_pack)[kVec]) {
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      sum += p.log ? dout_pack[v] : dout_pack[v] * out_pack[v];
      kept = out_pack[v] == -kInf ? kept : 1.0f;
    }
  };
  auto finish = [&](const float(&out_pack)[kVec], float(&pack)[kVec]) {
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      if (p.log) {
        pack[v] = kept == 0.0f ? 0.0f : p.scale * (pack[v] - exp_score(out_pack[v]) * sum);
      } else {
        pack[v] = p.scale * out_pack[v] * (pack[v] - sum);
      }
    }
  };

  if constexpr (kKept) {
#pragma unroll
    for (int pack = 0; pack < kPacks; ++pack) {
      load_pack(y[pack], out, element(pack), C, past);
      load_pack(dy[pack], dout, element(pack), C);
    }
#pragma unroll
    for (int pack = 0; pack < kPacks; ++pack) add(y[pack], dy[pack]);
  } else {
    for (int64_t i = element(0); i < p.C; i += kThis.row_threads * kVec) {
      load_pack(y[0], out, i, p.C, past);
      load_pack(dy[0], dout, i, p.C);
      add(y[0], dy[0]);
    }
  }
  sum = reduce_threads<kThis.row_threads>(sum, SumOp(), sSum);
  if (p.log) kept = reduce_threads<kThis.row_threads>(kept, MaxOp(), sKept);

  if constexpr (kKept) {
#pragma unroll
    for (int pack = 0; pack < kPacks; ++pack) {
      finish(y[pack], dy[pack]);
      store_pack(dx, dy[pack], element(pack), C);
    }
  } else {
    for (int64_t i = element(0); i < p.C; i += kThis.row_threads * kVec) {
      load_pack(y[0], out, i, p.C, past);
      load_pack(dy[0], dout, i, p.C);
      finish(y[0], dy[0]);
      store_pack(dx, dy[0], i, p.C);
    }
  }
}

template <class T, int kConfig>
constexpr KernelName kName{"softmax_bwd", kTypeName<T>, kConfigs[kConfig].name};

template <class T, int kConfig = 0>
fa_status dispatch(const Problem<T>& p, bool aligned, fa_launch& launch) {
  constexpr RowConfig kThis = kConfigs[kConfig];
  if constexpr (kConfig + 1 < kNumConfigs) {
    if (p.C > kThis.max_columns() || !(aligned || kThis.single)) return dispatch<T, kConfig + 1>(p, aligned, launch);
  }
  launch.kernel = kName<T, kConfig>.text;
  if (launch.query || p.rows.size == 0 || p.C == 0) return FA_OK;
  const int64_t blocks = (p.rows.size + kThis.rows() - 1) / kThis.rows();
  if (blocks > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more rows than a grid has blocks");
  constexpr int kVec = 16 / sizeof(T), kUnaligned = kThis.single ? 1 : kVec;
  auto kernel = aligned ? softmax_backward_kernel<T, kVec, kConfig> : softmax_backward_kernel<T, kUnaligned, kConfig>;
  const LaunchConfig config{dim3(static_cast<unsigned>(blocks)), dim3(kThis.threads), 0, launch.stream};
  const char* error = cuda::launch(kernel, config, p);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace

fa_status softmax_bwd(const fa_softmax_bwd_params& p, fa_launch& launch) {
  return visit_float(p.out.dtype, launch, [&]<class T>() {
    const int64_t C = p.out.shape[p.axis];
    if (C > 1 && (p.out.strides[p.axis] != 1 || p.dout.strides[p.axis] != 1 || p.dx.strides[p.axis] != 1)) {
      return fail(launch, FA_UNSUPPORTED, "softmax on CUDA needs a contiguous axis");
    }
    const Problem<T> problem{static_cast<const T*>(p.out.data),
                             static_cast<const T*>(p.dout.data),
                             static_cast<T*>(p.dx.data),
                             C,
                             static_cast<float>(p.scale),
                             p.form == FA_LOG_SOFTMAX,
                             Rows<kNumTensors>({&p.out, &p.dout, &p.dx}, p.axis)};
    const auto& rows = problem.rows;
    const double n = static_cast<double>(rows.size) * static_cast<double>(C);
    launch.workspace_bytes = 0;
    launch.flops = 4 * n;
    launch.bytes = 3 * n * sizeof(T);
    const bool aligned = rows_aligned<T>(p.out.data, rows.strides[kOut], rows.ndim) &&
                         rows_aligned<T>(p.dout.data, rows.strides[kDout], rows.ndim) &&
                         rows_aligned<T>(p.dx.data, rows.strides[kDx], rows.ndim);
    return dispatch<T>(problem, aligned, launch);
  });
}

}  // namespace fastattn::cuda
