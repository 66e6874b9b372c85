// softmax, log_softmax and logsumexp over an axis.
//
//   s = scale * x + mask,  m = max(s),  l = sum(exp(s - m))
//   out = exp(s - m) / l   or   out = s - (m + log(l))   or   out = m + log(l)
//
// x, out: any shape; a row is one position of the axes but one and has C elements. A row belongs to a warp (C <= 1024,
// four rows to a block) or to a block. Its threads keep it in registers between the load and the store, 32 elements
// each, so that x is read once and out written once: the roofline is DRAM's bandwidth, 2 C elements a row. Beyond 32768
// elements a row does not fit: the first pass computes the online state, the second reads x again (3 C elements).
//
// A thread owns packs of 16 bytes, loaded and stored as such where base, row strides and C allow, else by single
// elements, which may be a stride apart; a mask, which may be broadcast along any axis, is read element by element.
// Rows with a stride that lie side by side are read across (tile/columns.h): three passes, 4 C elements where the rows
// of a block do not stay in cache. The bits are the same on every way: what is rounded is written as fma or __fmul_rn.
//
// Nothing to keep: m = -inf is replaced by 0, so that l = 0 and no inf - inf occurs; a NaN still reaches l.
//
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).
#include "cuda/entries.h"

#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/columns.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"
#include "cuda/tile/softmax_state.h"
#include "cuda/types.h"

namespace fastattn::cuda {
namespace {

// The first that a row fits into. Packs of 32 elements and their addresses take 56 registers of the 64 that 1024
// threads have each. None of these choices has been measured on a GPU.
// clang-format off
constexpr RowConfig kConfigs[] = {
    {"warp8", 128, 32, 8},           // short rows: four a block, few idle lanes
    {"warp32", 128, 32, 32},         // no barrier
    {"block128", 128, 128, 32},      // the smallest block that holds the row, for most rows in flight
    {"block512", 512, 512, 32},
    {"block1024", 1024, 1024, 32},   // the largest block there is
    {"online", 512, 512, 0},         // two passes
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
  int64_t x_step, out_step, mask_step;  // strides of the axis
  int64_t C;
  float scale;
  int form;
  Rows<kNumTensors> rows;
};

template <class T>
constexpr int kVec = 16 / sizeof(T);

// A row's scores, from its first element on.
template <class T, bool kPacks>
struct Scores {
  const T* x;
  const void* mask;
  MaskKind kind;
  int64_t step, mask_step;
  float scale;

  // Packs from element i on; past the end of the row -inf. Of what is hidden neither NaN nor inf is left.
  template <int n, class Index>
  __device__ void load(float (&s)[n], Index i, Index C) const {
    load_pack<kPacks>(s, x, i, C, -kInf, kind == MaskKind::kAdd ? 1.0f : scale, step);
    if (kind == MaskKind::kNone) return;
    int64_t at = i * mask_step;
#pragma unroll
    for (int v = 0; v < n; ++v, at += mask_step) {
      if (i + v >= C) return;
      if (kind == MaskKind::kKeep) {
        s[v] = static_cast<const uint8_t*>(mask)[at] ? s[v] : -kInf;
      } else {
        const float added = to_float(static_cast<const T*>(mask)[at]);
        s[v] = added == -kInf ? -kInf : fmaf(scale, s[v], added);
      }
    }
  }
};

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

// Where row number `row` begins.
template <bool kPacks, class T>
__device__ inline Scores<T, kPacks> begin_row(const Problem<T>& p, int64_t row, T*& out) {
  const T* x = p.x;
  out = p.out;
  int64_t mask_at = 0;
  for (int d = 0; d < p.rows.ndim; ++d) {  // row_offsets, which would take registers that spill here
    const int64_t at = row % p.rows.shape[d];
    row /= p.rows.shape[d];
    x += at * p.rows.strides[kX][d];
    out += at * p.rows.strides[kOut][d];
    mask_at += at * p.rows.strides[kMask][d];
  }
  const int mask_bytes = p.mask_kind == MaskKind::kAdd ? sizeof(T) : 1;
  const void* mask = static_cast<const char*>(p.mask) + mask_at * mask_bytes;
  return {x, mask, p.mask_kind, p.x_step, p.mask_step, p.scale};
}

// The logsumexp of a row with inf is inf, or NaN where it has one: its scores are taken as they are.
__device__ inline bool as_they_are(const SoftmaxState& state, int form) {
  return form == FA_LOGSUMEXP && state.row_max == kInf;
}

template <class T, bool kPacks, int kConfig>
__global__ void __launch_bounds__(kConfigs[kConfig].threads) softmax_kernel(Problem<T> p) {
  constexpr RowConfig kThis = kConfigs[kConfig];
  constexpr int kRowThreads = kThis.row_threads, kKept = kThis.kept(kPacks) / kVec<T>;
  SHARED_ARRAY(float, sMax, 16, 32);
  SHARED_ARRAY(float, sSum, 16, 32);

  const int thread = static_cast<int>(threadIdx.x) % kRowThreads;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThis.rows() + threadIdx.x / kRowThreads;
  if (row >= p.rows.size) return;  // a whole warp: rows that share a block have one each
  T* out;
  const auto scores = begin_row<kPacks>(p, row, out);
  auto element = [&](int pack) { return (pack * kRowThreads + thread) * kVec<T>; };

  float s[kKept > 0 ? kKept : 1][kVec<T>];
  auto for_row = [&](auto&& f) {  // what is kept, or what is read again
    if constexpr (kKept > 0) {
#pragma unroll
      for (int pack = 0; pack < kKept; ++pack) f(element(pack), s[pack]);
    } else {
      for_row_again<kThis.at_once(kPacks, kVec<T>), kVec<T>>(element(0), kRowThreads * kVec<T>, p.C,
                                                             [&](auto& pack, int64_t i) {
                                                               scores.load(pack, i, p.C);
                                                               f(i, pack);
                                                             });
    }
  };
  if constexpr (kKept > 0) {
#pragma unroll
    for (int pack = 0; pack < kKept; ++pack) scores.load(s[pack], element(pack), static_cast<int>(p.C));
  }
  SoftmaxState state = SoftmaxState::init();
  if constexpr (kThis.elements == 0) {
    for_row([&](int64_t, const auto& pack) { state.update(pack); });
    state.rescale_to(reduce_threads<kRowThreads>(state.row_max, MaxOp(), sMax));
  } else {
    for_row([&](int64_t, const auto& pack) {
      for (const float x : pack) state.row_max = fmaxf(state.row_max, x);
    });
    state.row_max = reduce_threads<kRowThreads>(state.row_max, MaxOp(), sMax);
  }
  const bool again = as_they_are(state, p.form);
  if (again) state = {0.0f, 0.0f};
  if (kThis.elements > 0 || again) {
    const float base = state.base();
    for_row([&](int64_t, const auto& pack) {
      for (const float x : pack) state.row_sum += exp_score(x - base);
    });
  }
  state.row_sum = reduce_threads<kRowThreads>(state.row_sum, SumOp(), sSum);

  if (p.form == FA_LOGSUMEXP) {
    if (thread == 0) *out = from_float<T>(state.lse());
    return;
  }
  for_row([&](auto i, auto& pack) {
    finish(pack, state, p.form);
    store_pack<kPacks>(out, pack, i, static_cast<decltype(i)>(p.C), p.out_step);
  });
}

// The same across: of what row_threads threads do, online or not.
template <class T>
__global__ void __launch_bounds__(kColumnThreads<T>)
    softmax_columns_kernel(Problem<T> p, int row_threads, bool online) {
  SHARED_ARRAY(float, sPart, 16, kColumnThreads<T>);
  const int lane = static_cast<int>(threadIdx.x) / kColumns<T>;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kColumns<T> + threadIdx.x % kColumns<T>;
  const bool inside = row < p.rows.size;  // the others wait at the barriers
  const int64_t C = inside ? p.C : 0;
  T* out;
  const auto scores = begin_row<false>(p, inside ? row : 0, out);

  SoftmaxState state = SoftmaxState::init();
  float s[1];
#pragma unroll 1
  for (int64_t i = lane; i < C; i += 32) {
    scores.load(s, i, C);
    state.row_max = fmaxf(state.row_max, s[0]);
  }
  state.row_max = reduce_column<kColumns<T>>(state.row_max, MaxOp(), sPart);
  if (as_they_are(state, p.form)) {
    state.row_max = 0.0f;
    online = false;
  }
  const float base = state.base();
  auto part = [&](int thread) {
    SoftmaxState of_thread = SoftmaxState::init();
    for (int64_t i = int64_t{thread} * kVec<T>; i < C; i += int64_t{row_threads} * kVec<T>) {
      float pack[kVec<T>];
      scores.load(pack, i, C);
      if (online) {
        of_thread.update(pack);
      } else {
#pragma unroll
        for (int v = 0; v < kVec<T>; ++v) of_thread.row_sum += exp_score(pack[v] - base);
      }
    }
    if (online) of_thread.rescale_to(state.row_max);
    return of_thread.row_sum;
  };
  state.row_sum = sum_column<kColumns<T>>(row_threads, part, sPart);

  if (p.form == FA_LOGSUMEXP) {
    if (inside && lane == 0) *out = from_float<T>(state.lse());
    return;
  }
  for (int64_t i = lane; i < C; i += 32) {
    scores.load(s, i, C);
    finish(s, state, p.form);
    store_pack<false>(out, s, i, C, p.out_step);
  }
}

template <class T, int kConfig>
constexpr KernelName kName{"softmax_fwd", kTypeName<T>, kConfigs[kConfig].name};
template <class T>
constexpr KernelName kColumnsName{"softmax_fwd", kTypeName<T>, "columns"};

template <class T, int kConfig = 0>
fa_status dispatch(const Problem<T>& p, RowLayout layout, fa_launch& launch) {
  constexpr RowConfig kThis = kConfigs[kConfig];
  if constexpr (kConfig + 1 < kNumConfigs) {
    if (p.C > kThis.max_columns()) return dispatch<T, kConfig + 1>(p, layout, launch);
  }
  const bool columns = layout == RowLayout::kColumns;
  launch.kernel = columns ? kColumnsName<T>.text : kName<T, kConfig>.text;
  if (launch.query || p.rows.size == 0 || (p.C == 0 && p.form != FA_LOGSUMEXP)) return FA_OK;
  const int block_rows = columns ? kColumns<T> : kThis.rows();
  const int64_t blocks = (p.rows.size + block_rows - 1) / block_rows;
  if (blocks > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more rows than a grid has blocks");
  const LaunchConfig config{dim3(static_cast<unsigned>(blocks)), dim3(columns ? kColumnThreads<T> : kThis.threads), 0,
                            launch.stream};
  const char* error = nullptr;
  if (columns) {
    error = cuda::launch(softmax_columns_kernel<T>, config, p, kThis.row_threads, kThis.elements == 0);
  } else {
    const bool packs = layout == RowLayout::kPacks;
    error = cuda::launch(packs ? softmax_kernel<T, true, kConfig> : softmax_kernel<T, false, kConfig>, config, p);
  }
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace

fa_status softmax_fwd(const fa_softmax_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const int64_t C = p.x.shape[p.axis];
    const bool whole = p.form != FA_LOGSUMEXP;  // out has as many elements as x
    fa_tensor mask = p.mask;
    auto kind = MaskKind::kNone;
    if (mask.data == nullptr) {
      for (int64_t& stride : mask.strides) stride = 0;
    } else {
      kind = mask.dtype == FA_BOOL ? MaskKind::kKeep : MaskKind::kAdd;
    }
    const Problem<T> problem{static_cast<const T*>(p.x.data),
                             static_cast<T*>(p.out.data),
                             mask.data,
                             kind,
                             p.x.strides[p.axis],
                             p.out.strides[p.axis],
                             mask.strides[p.axis],
                             C,
                             static_cast<float>(p.scale),
                             p.form,
                             Rows<kNumTensors>({&p.x, &p.out, &mask}, p.axis)};
    const auto& rows = problem.rows;
    const double n = static_cast<double>(rows.size) * static_cast<double>(C);
    launch.workspace_bytes = 0;
    launch.flops = 4 * n;
    launch.bytes = (n + (whole ? n : static_cast<double>(rows.size))) * sizeof(T);
    const fa_tensor* const whole_rows[] = {&p.x, &p.out};
    return dispatch<T>(problem, row_layout<T>(rows, whole_rows, whole ? 2 : 1, p.axis), launch);
  });
}

}  // namespace fastattn::cuda
