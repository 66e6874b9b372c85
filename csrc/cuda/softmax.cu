// softmax, log_softmax and logsumexp over an axis that is contiguous.
//
//   s = scale * x + mask,  m = max(s),  l = sum(exp(s - m))
//   out = exp(s - m) / l   or   out = s - (m + log(l))   or   out = m + log(l)
//
// x, out: any shape; a row is one position of the axes but one and has C elements. A row belongs to a warp (C <= 1024,
// four rows to a block) or to a block. Its threads keep it in registers between the load and the store, 32 elements
// each, so that x is read once and out written once: the roofline is DRAM's bandwidth, 2 C elements a row. Beyond 32768
// elements a row does not fit: the first pass computes the online state, the second reads x again (3 C elements).
//
// Loads and stores are of 16 bytes where base, row strides and C allow, else of one element; a mask, which may be
// broadcast along any axis, is read element by element.
//
// Nothing to keep: m = -inf is replaced by 0, so that l = 0 and no inf - inf occurs; a NaN still reaches l.
//
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).
// Not yet: an axis with a stride.
#include "cuda/entries.h"

#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"
#include "cuda/tile/softmax_state.h"
#include "cuda/types.h"

namespace fastattn::cuda {
namespace {

// The first that a row fits into. Packs of 32 elements and their addresses take 56 registers of the 64 that 1024
// threads have each; one element at a time takes 80, and would spill. None of these choices has been measured on a GPU.
// clang-format off
constexpr RowConfig kConfigs[] = {
    {"warp8", 128, 32, 8, true},           // short rows: four a block, few idle lanes
    {"warp32", 128, 32, 32, true},         // no barrier
    {"block128", 128, 128, 32, true},      // the smallest block that holds the row, for most rows in flight
    {"block512", 512, 512, 32, true},
    {"block1024", 1024, 1024, 32, false},  // the largest block there is
    {"online", 512, 512, 0, true},         // two passes
};
// clang-format on
constexpr int kNumConfigs = sizeof kConfigs / sizeof kConfigs[0];

enum class MaskKind { kNone, kKeep, kAdd };
enum Tensors { kX, kOut, kMask, kNumTensors };

template <class T>
struct Problem {
  const T* x;        // (rows, C)
  T* out;            // (rows, C); of logsumexp (rows, 1)
  const void* mask;  // (rows, C), bytes or T
  MaskKind mask_kind;
  int mask_step;  // along the row: 1, or 0 where it is broadcast
  int64_t C;
  float scale;
  int form;
  Rows<kNumTensors> rows;
};

// A row's mask, from its first element on.
template <class T>
struct RowMask {
  const void* data;
  MaskKind kind;
  int step;

  // The score with the mask on it. Of what is hidden neither NaN nor inf is left.
  template <class Index>
  __device__ float operator()(float s, Index i) const {
    if (kind == MaskKind::kKeep) return static_cast<const uint8_t*>(data)[i * step] ? s : -kInf;
    const float added = to_float(static_cast<const T*>(data)[i * step]);
    return added == -kInf ? -kInf : s + added;
  }
};

// kVec scores from element i on; past the end of the row -inf. Index is int for a row that is kept, int64_t for a long
// one.
template <int kVec, class T, class Index>
__device__ inline void load_scores(float (&s)[kVec], const T* x, const RowMask<T>& mask, Index i, Index C,
                                   float scale) {
  load_pack(s, x, i, C, -kInf, scale);
  if (mask.kind == MaskKind::kNone) return;
#pragma unroll
  for (int v = 0; v < kVec; ++v) {
    if (i + v < C) s[v] = mask(s[v], i + v);
  }
}

// Scores to results, by the row's state.
template <int kVec>
__device__ inline void finish(float (&s)[kVec], const SoftmaxState& state, int form) {
  const float base = state.base(), inverse = state.inverse_sum(), lse = state.lse();
#pragma unroll
  for (int v = 0; v < kVec; ++v) {
    if (form == FA_SOFTMAX) {
      s[v] = exp_score(s[v] - base) * inverse;
    } else {
      s[v] = state.row_sum == 0.0f ? -kInf : s[v] - lse;
    }
  }
}

template <class T, int kVec, int kConfig>
__global__ void __launch_bounds__(kConfigs[kConfig].threads) softmax_kernel(Problem<T> p) {
  constexpr int kThreads = kConfigs[kConfig].threads, kRowThreads = kConfigs[kConfig].row_threads;
  constexpr int kPacks = kConfigs[kConfig].elements / kVec;
  constexpr bool kOnline = kPacks == 0;
  SHARED_ARRAY(float, sMax, 16, 32);
  SHARED_ARRAY(float, sSum, 16, 32);

  const int thread = static_cast<int>(threadIdx.x) % kRowThreads;
  int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kRowThreads) + threadIdx.x / kRowThreads;
  if (row >= p.rows.size) return;  // a whole warp: rows that share a block have one each
  const T* x = p.x;
  T* out = p.out;
  int64_t mask_at = 0;
  for (int d = 0; d < p.rows.ndim; ++d) {  // row_offsets, which would take registers that spill here
    const int64_t at = row % p.rows.shape[d];
    row /= p.rows.shape[d];
    x += at * p.rows.strides[kX][d];
    out += at * p.rows.strides[kOut][d];
    mask_at += at * p.rows.strides[kMask][d];
  }
  const int mask_bytes = p.mask_kind == MaskKind::kAdd ? sizeof(T) : 1;
  const RowMask<T> mask{static_cast<const char*>(p.mask) + mask_at * mask_bytes, p.mask_kind, p.mask_step};
  const int C = static_cast<int>(p.C);  // of a row that is kept
  auto element = [&](int pack) { return (pack * kRowThreads + thread) * kVec; };

  SoftmaxState state = SoftmaxState::init();
  float s[kOnline ? 1 : kPacks][kVec];
  if constexpr (kOnline) {
    for (int64_t i = element(0); i < p.C; i += kRowThreads * kVec) {
      load_scores(s[0], x, mask, i, p.C, p.scale);
      state.update(s[0]);
    }
    state.rescale_to(reduce_threads<kRowThreads>(state.row_max, MaxOp(), sMax));
  } else {
#pragma unroll
    for (int pack = 0; pack < kPacks; ++pack) load_scores(s[pack], x, mask, element(pack), C, p.scale);
#pragma unroll
    for (int pack = 0; pack < kPacks; ++pack) {
#pragma unroll
      for (int v = 0; v < kVec; ++v) state.row_max = fmaxf(state.row_max, s[pack][v]);
    }
    state.row_max = reduce_threads<kRowThreads>(state.row_max, MaxOp(), sMax);
    const float base = state.base();
#pragma unroll
    for (int pack = 0; pack < kPacks; ++pack) {
#pragma unroll
      for (int v = 0; v < kVec; ++v) state.row_sum += exp_score(s[pack][v] - base);
    }
  }
  state.row_sum = reduce_threads<kRowThreads>(state.row_sum, SumOp(), sSum);

  if (p.form == FA_LOGSUMEXP) {
    if (thread == 0) *out = from_float<T>(state.row_max == kInf ? kInf : state.lse());
  } else if constexpr (kOnline) {
    for (int64_t i = element(0); i < p.C; i += kRowThreads * kVec) {
      load_scores(s[0], x, mask, i, p.C, p.scale);
      finish(s[0], state, p.form);
      store_pack(out, s[0], i, p.C);
    }
  } else {
#pragma unroll
    for (int pack = 0; pack < kPacks; ++pack) {
      finish(s[pack], state, p.form);
      store_pack(out, s[pack], element(pack), C);
    }
  }
}

template <class T, int kConfig>
constexpr KernelName kName{"softmax_fwd", kTypeName<T>, kConfigs[kConfig].name};

template <class T, int kConfig>
fa_status run(const Problem<T>& p, bool aligned, fa_launch& launch) {
  launch.kernel = kName<T, kConfig>.text;
  if (launch.query || p.rows.size == 0 || (p.C == 0 && p.form != FA_LOGSUMEXP)) return FA_OK;
  constexpr int kRows = kConfigs[kConfig].rows();
  const int64_t blocks = (p.rows.size + kRows - 1) / kRows;
  if (blocks > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more rows than a grid has blocks");
  constexpr int kVec = 16 / sizeof(T);
  const LaunchConfig config{dim3(static_cast<unsigned>(blocks)), dim3(kConfigs[kConfig].threads), 0, launch.stream};
  constexpr int kUnaligned = kConfigs[kConfig].single ? 1 : kVec;
  auto kernel = aligned ? softmax_kernel<T, kVec, kConfig> : softmax_kernel<T, kUnaligned, kConfig>;
  const char* error = cuda::launch(kernel, config, p);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

template <class T, int kConfig = 0>
fa_status dispatch(const Problem<T>& p, bool aligned, fa_launch& launch) {
  if constexpr (kConfig + 1 < kNumConfigs) {
    constexpr RowConfig kThis = kConfigs[kConfig];
    if (p.C > kThis.max_columns() || !(aligned || kThis.single)) return dispatch<T, kConfig + 1>(p, aligned, launch);
  }
  return run<T, kConfig>(p, aligned, launch);
}

}  // namespace

fa_status softmax_fwd(const fa_softmax_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const int64_t C = p.x.shape[p.axis];
    const bool whole = p.form != FA_LOGSUMEXP;  // out has as many elements as x
    if (C > 1 && (p.x.strides[p.axis] != 1 || (whole && p.out.strides[p.axis] != 1))) {
      return fail(launch, FA_UNSUPPORTED, "softmax on CUDA needs a contiguous axis");
    }
    fa_tensor mask = p.mask;
    auto kind = MaskKind::kNone;
    if (mask.data == nullptr) {
      for (int64_t& stride : mask.strides) stride = 0;
    } else {
      kind = mask.dtype == FA_BOOL ? MaskKind::kKeep : MaskKind::kAdd;
      if (C > 1 && mask.strides[p.axis] != 0 && mask.strides[p.axis] != 1) {
        return fail(launch, FA_UNSUPPORTED, "softmax on CUDA needs a mask that is contiguous along the axis");
      }
    }
    const Problem<T> problem{static_cast<const T*>(p.x.data),
                             static_cast<T*>(p.out.data),
                             mask.data,
                             kind,
                             C > 1 ? static_cast<int>(mask.strides[p.axis]) : 0,
                             C,
                             static_cast<float>(p.scale),
                             p.form,
                             Rows<kNumTensors>({&p.x, &p.out, &mask}, p.axis)};
    const auto& rows = problem.rows;
    const double n = static_cast<double>(rows.size) * static_cast<double>(C);
    launch.workspace_bytes = 0;
    launch.flops = 4 * n;
    launch.bytes = (n + (whole ? n : static_cast<double>(rows.size))) * sizeof(T);
    const bool aligned = rows_aligned<T>(p.x.data, rows.strides[kX], rows.ndim) &&
                         (!whole || rows_aligned<T>(p.out.data, rows.strides[kOut], rows.ndim));
    return dispatch<T>(problem, aligned, launch);
  });
}

}  // namespace fastattn::cuda
