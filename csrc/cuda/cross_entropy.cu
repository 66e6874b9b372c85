// cross_entropy of logits (N, C) against class ids (N) or probabilities (N, C), forward and backward.
//
//   loss_i = sum_c q_ic (lse_i - x_ic),  lse_i = log(sum(exp(x_i))),  q: ops/cross_entropy.h
//   dlogits_ic = g_i (exp(x_ic - lse_i) sum_k q_ik - q_ic),  dtarget_ic = g_i on_target weight_c (lse_i - x_ic)
//   g_i = dloss [/ divisor]
//
// A row belongs to a warp (C <= 1024, four to a block) or to a block of 256 threads. Forward keeps the online state of
// what it reads: C elements a row. Where q has a part along the whole row (probabilities, smoothing) a second pass adds
// it up relative to the row's maximum, so that large logits cost no digits: 2 C more with probabilities. Backward reads
// x and writes dlogits, 2 C; the sum of a soft q is a pass before. Packs of 16 bytes where the rows lie so: the
// roofline is DRAM's bandwidth.
//
// Row losses go through the workspace; one block adds them, and what the mean divides by, in an order that is a
// function of N alone. An id out of range is never read by: its loss is NaN, its gradients are 0.
//
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 3.
// Not yet: rows that are kept in registers between the two passes.
#include "ops/cross_entropy.h"

#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"
#include "cuda/tile/softmax_state.h"

namespace fastattn::cuda {
namespace {

// clang-format off
constexpr RowConfig kConfigs[] = {
    {"warp", 128, 32, 0},
    {"block256", 256, 256, 0},
};
// clang-format on
constexpr int64_t kWarpClasses = 1024;
constexpr int kSumThreads = 512;  // 1024 would spill

enum class Id { kProbabilities, kClass, kIgnored, kOutside };

// Row number i of a tensor with `trailing` axes behind the rows.
struct RowsOf {
  Rows<1> rows;
  explicit RowsOf(const fa_tensor& t, int trailing) : rows(Rows<1>({&t}, -1)) {
    fa_tensor outer = t;
    outer.ndim -= trailing;
    rows = Rows<1>({&outer}, -1);
  }
  __device__ int64_t operator()(int64_t i) const {
    if (rows.ndim == 1) return i * rows.strides[0][0];
    int64_t at[1];
    row_offsets(rows, i, at);
    return at[0];
  }
};

// What the rows are scored against.
template <class T>
struct Labels {
  const void* target;  // (N) ids, or (N, C)
  const T* weight;     // (C) or nullptr
  RowsOf target_rows;
  int64_t weight_step, C, ignore_index;
  float on_target, everywhere;
  int32_t dtype;

  template <class Params>
  explicit Labels(const Params& p)
      : target(p.target.data),
        weight(static_cast<const T*>(p.weight.data)),
        target_rows(p.target, p.target.dtype == FA_I32 || p.target.dtype == FA_I64 ? 0 : 1),
        weight_step(p.weight.strides[0]),
        C(p.logits.shape[p.logits.ndim - 1]),
        ignore_index(p.ignore_index),
        on_target(static_cast<float>(1 - p.label_smoothing)),
        everywhere(C > 0 ? static_cast<float>(p.label_smoothing / static_cast<double>(C)) : 0.0f),
        dtype(p.target.dtype) {}

  __host__ __device__ bool probabilities() const { return dtype != FA_I32 && dtype != FA_I64; }
  __host__ __device__ bool soft() const { return probabilities() || everywhere != 0.0f; }

  __device__ Id kind(int64_t row, int64_t& id) const {
    id = -1;
    if (probabilities()) return Id::kProbabilities;
    const int64_t at = target_rows(row);
    id = dtype == FA_I32 ? static_cast<const int32_t*>(target)[at] : static_cast<const int64_t*>(target)[at];
    return id == ignore_index ? Id::kIgnored : id < 0 || id >= C ? Id::kOutside : Id::kClass;
  }
  __device__ float weight_of(int64_t c) const { return weight == nullptr ? 1.0f : to_float(weight[c * weight_step]); }
  // q at the class id, beside the soft part.
  __device__ float at_id(Id kind, int64_t id) const { return kind == Id::kClass ? on_target * weight_of(id) : 0.0f; }
  // The soft part at class c.
  __device__ float soft_at(const T* y, int64_t c) const {
    return ((y == nullptr ? 0.0f : on_target * to_float(y[c])) + everywhere) * weight_of(c);
  }
  __device__ const T* row(int64_t i) const {
    return probabilities() ? static_cast<const T*>(target) + target_rows(i) : nullptr;
  }
};

template <class T>
struct Forward {
  const T* logits;  // (N, C)
  float* loss;      // (N)
  float* lse;       // (N) or nullptr
  int64_t N, step;  // along a row of logits
  RowsOf logits_rows, loss_rows, lse_rows;
  Labels<T> labels;
};

template <class T>
struct Backward {
  const T* logits;       // (N, C)
  const float* lse;      // (N)
  const float* dloss;    // (N) or ()
  const float* divisor;  // () or nullptr
  T* dlogits;            // (N, C) or nullptr
  T* dtarget;            // (N, C) or nullptr
  int64_t N, step;
  RowsOf logits_rows, lse_rows, dloss_rows, dlogits_rows, dtarget_rows;
  Labels<T> labels;
};

template <class T>
constexpr int kVec = 16 / sizeof(T);

// Where a thread starts; of a row that there is not, its number alone.
template <class T, int kConfig>
struct Start {
  int thread;  // of those of the row
  int64_t row, id;
  const T* x;
  Id kind;

  template <class Problem>
  __device__ explicit Start(const Problem& p)
      : thread(static_cast<int>(threadIdx.x) % kConfigs[kConfig].row_threads),
        row(int64_t{blockIdx.x} * kConfigs[kConfig].rows() + threadIdx.x / kConfigs[kConfig].row_threads) {
    if (row >= p.N) return;
    x = p.logits + p.logits_rows(row);
    kind = p.labels.kind(row, id);
  }
};

template <class T, bool kPacks, int kConfig>
__global__ void __launch_bounds__(kConfigs[kConfig].threads) forward_kernel(Forward<T> p) {
  constexpr int kRowThreads = kConfigs[kConfig].row_threads, kStep = kRowThreads * kVec<T>;
  SHARED_ARRAY(float, sMax, 16, 32);
  SHARED_ARRAY(float, sSum, 16, 32);
  SHARED_ARRAY(float, sTotal, 16, 32);
  SHARED_ARRAY(float, sDot, 16, 32);
  const Start<T, kConfig> at(p);
  if (at.row >= p.N) return;  // a whole warp: rows that share a block have one each
  const int64_t C = p.labels.C;
  auto for_row = [&](auto&& f) {
    for (int64_t c = int64_t{at.thread} * kVec<T>; c < C; c += kStep) {
      float pack[kVec<T>];
      load_pack<kPacks>(pack, at.x, c, C, -kInf, 1.0f, p.step);
      f(c, pack);
    }
  };

  SoftmaxState state = SoftmaxState::init();
  for_row([&](int64_t, const float(&pack)[kVec<T>]) { state.update(pack); });
  state.rescale_to(reduce_threads<kRowThreads>(state.row_max, MaxOp(), sMax));
  state.row_sum = reduce_threads<kRowThreads>(state.row_sum, SumOp(), sSum);
  const float base = state.base(), log_sum = logf(state.row_sum);

  float total = 0.0f, dot = 0.0f;  // sums of the soft part, and of it times base - x
  if (p.labels.soft()) {
    const T* y = p.labels.row(at.row);
    for_row([&](int64_t c, const float(&pack)[kVec<T>]) {
#pragma unroll
      for (int v = 0; v < kVec<T>; ++v) {
        const float q = c + v < C ? p.labels.soft_at(y, c + v) : 0.0f;
        total += q;
        dot = q == 0.0f ? dot : fmaf(q, base - pack[v], dot);
      }
    });
    total = reduce_threads<kRowThreads>(total, SumOp(), sTotal);
    dot = reduce_threads<kRowThreads>(dot, SumOp(), sDot);
  }
  if (at.thread != 0) return;
  if (p.lse != nullptr) p.lse[p.lse_rows(at.row)] = base + log_sum;
  float loss = 0.0f;
  const float q = p.labels.at_id(at.kind, at.id);
  if (q != 0.0f) loss = q * ((base - to_float(at.x[at.id * p.step])) + log_sum);
  if (p.labels.soft() && total != 0.0f) loss += total * log_sum + dot;
  if (at.kind == Id::kIgnored) loss = 0.0f;
  if (at.kind == Id::kOutside) loss = __builtin_nanf("");
  p.loss[p.loss_rows(at.row)] = loss;
}

template <class T, bool kPacks, int kConfig>
__global__ void __launch_bounds__(kConfigs[kConfig].threads) backward_kernel(Backward<T> p) {
  constexpr int kRowThreads = kConfigs[kConfig].row_threads, kStep = kRowThreads * kVec<T>;
  SHARED_ARRAY(float, sTotal, 16, 32);
  const Start<T, kConfig> at(p);
  if (at.row >= p.N) return;  // a whole warp: rows that share a block have one each
  const int64_t C = p.labels.C;
  const bool counts = at.kind == Id::kClass || at.kind == Id::kProbabilities, soft = p.labels.soft();
  const T* y = p.labels.row(at.row);
  float g = p.dloss[p.dloss_rows(at.row)];
  if (p.divisor != nullptr) g /= *p.divisor;
  const float lse = p.lse[p.lse_rows(at.row)];

  if (p.dtarget != nullptr) {
    T* dtarget = p.dtarget + p.dtarget_rows(at.row);
    for (int64_t c = int64_t{at.thread} * kVec<T>; c < C; c += kStep) {
      float pack[kVec<T>];
      load_pack<kPacks>(pack, at.x, c, C, -kInf, 1.0f, p.step);
#pragma unroll
      for (int v = 0; v < kVec<T>; ++v) {
        if (c + v < C) pack[v] = g * p.labels.on_target * (lse - pack[v]) * p.labels.weight_of(c + v);
      }
      store_pack<kPacks>(dtarget, pack, c, C);
    }
  }
  if (p.dlogits == nullptr) return;
  float total = 0.0f;
  if (soft) {
    for (int64_t c = at.thread; c < C; c += kRowThreads) total += p.labels.soft_at(y, c);
    total = reduce_threads<kRowThreads>(total, SumOp(), sTotal);
  }
  const float at_id = p.labels.at_id(at.kind, at.id);
  T* dlogits = p.dlogits + p.dlogits_rows(at.row);
  for (int64_t c = int64_t{at.thread} * kVec<T>; c < C; c += kStep) {
    float pack[kVec<T>];
    if (counts) load_pack<kPacks>(pack, at.x, c, C, -kInf, 1.0f, p.step);
#pragma unroll
    for (int v = 0; v < kVec<T>; ++v) {
      if (!counts) {
        pack[v] = 0.0f;
        continue;
      }
      const float weight = exp_score(pack[v] - lse);
      const float hard = at_id * (c + v == at.id ? weight - 1.0f : weight);
      pack[v] = g * (soft && c + v < C ? hard + (total * weight - p.labels.soft_at(y, c + v)) : hard);
    }
    store_pack<kPacks>(dlogits, pack, c, C);
  }
}

// result = [sum of losses] [/ divisor], or the divisor alone where there are no losses. One block, so that the order is
// fixed: a thread's own elements, then the threads'.
template <class T>
__global__ void __launch_bounds__(kSumThreads)
    reduce_kernel(const float* losses, int64_t N, Labels<T> labels, bool divides, float* result) {
  SHARED_ARRAY(double, sDivisor, 16, kSumThreads);
  SHARED_ARRAY(float, sLoss, 16, 32);
  const int thread = static_cast<int>(threadIdx.x);
  float loss = 0.0f;
  double divisor = 0.0;
  for (int64_t i = thread; i < N; i += kSumThreads) {
    if (losses != nullptr) loss += losses[i];
    if (!divides) continue;
    int64_t id;
    const Id kind = labels.kind(i, id);
    if (kind == Id::kProbabilities) divisor += 1.0;
    if (kind == Id::kClass) divisor += labels.weight_of(id);
  }
  loss = reduce_threads<kSumThreads>(loss, SumOp(), sLoss);
  sDivisor[thread] = divisor;
  for (int half = kSumThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) sDivisor[thread] += sDivisor[thread + half];
  }
  if (thread != 0) return;
  const float all = static_cast<float>(sDivisor[0]);
  *result = losses == nullptr ? all : divides ? loss / all : loss;
}

template <class T, int kConfig>
constexpr KernelName kForwardName{"cross_entropy_fwd", kTypeName<T>, kConfigs[kConfig].name};
template <class T, int kConfig>
constexpr KernelName kBackwardName{"cross_entropy_bwd", kTypeName<T>, kConfigs[kConfig].name};

// f.operator()<kConfig>() of the configuration for rows of C classes.
template <class F>
fa_status visit_config(int64_t C, F&& f) {
  return C <= kWarpClasses ? f.template operator()<0>() : f.template operator()<1>();
}

template <class T>
bool in_packs(const fa_tensor& t) {
  const int last = t.ndim - 1;
  return t.data == nullptr ||
         ((t.strides[last] == 1 || t.shape[last] <= 1) && rows_aligned<T>(t.data, t.strides, last));
}

template <class Params>
bool has_probabilities(const Params& p) {
  return p.target.dtype != FA_I32 && p.target.dtype != FA_I64;
}

LaunchConfig rows_grid(const RowConfig& c, int64_t N, const fa_launch& launch) {
  return {dim3(static_cast<unsigned>((N + c.rows() - 1) / c.rows())), dim3(c.threads), 0, launch.stream};
}

}  // namespace

fa_status cross_entropy_fwd(const fa_cross_entropy_fwd_params& p, fa_launch& launch) {
  return visit_float(p.logits.dtype, launch, [&]<class T>() {
    const bool none = p.reduction == FA_REDUCE_NONE;
    auto* losses = static_cast<float*>(none ? p.loss.data : launch.workspace);
    fa_tensor dense = {};  // (N), of the workspace
    dense.ndim = 1;
    dense.strides[0] = 1;
    dense.shape[0] = RowsOf(p.logits, 1).rows.size;
    const Forward<T> problem{static_cast<const T*>(p.logits.data),
                             losses,
                             static_cast<float*>(p.lse.data),
                             dense.shape[0],
                             p.logits.strides[p.logits.ndim - 1],
                             RowsOf(p.logits, 1),
                             RowsOf(none ? p.loss : dense, 0),
                             RowsOf(p.lse.data == nullptr ? dense : p.lse, 0),
                             Labels<T>(p)};
    const int64_t N = problem.N, C = problem.labels.C;
    const double n = static_cast<double>(N) * static_cast<double>(C);
    if (launch.query) launch.workspace_bytes = none ? 0 : static_cast<size_t>(N) * sizeof(float);
    launch.flops = 4 * n;
    launch.bytes = (has_probabilities(p) ? 2 : 1) * sizeof(T) * n;
    if (N > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more rows than a grid has blocks");
    return visit_config(C, [&]<int kConfig>() {
      launch.kernel = kForwardName<T, kConfig>.text;
      if (launch.query) return FA_OK;
      const char* error = nullptr;
      if (N > 0) {
        auto kernel = in_packs<T>(p.logits) ? forward_kernel<T, true, kConfig> : forward_kernel<T, false, kConfig>;
        error = cuda::launch(kernel, rows_grid(kConfigs[kConfig], N, launch), problem);
      }
      if (error == nullptr && !none) {
        error = cuda::launch(reduce_kernel<T>, {dim3(1), dim3(kSumThreads), 0, launch.stream}, losses, N,
                             problem.labels, p.reduction == FA_REDUCE_MEAN, static_cast<float*>(p.loss.data));
      }
      return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
    });
  });
}

fa_status cross_entropy_bwd(const fa_cross_entropy_bwd_params& p, fa_launch& launch) {
  return visit_float(p.logits.dtype, launch, [&]<class T>() {
    const bool mean = p.reduction == FA_REDUCE_MEAN;
    auto* divisor = static_cast<float*>(launch.workspace);
    fa_tensor one = p.lse;  // dloss () for every row
    for (int64_t& stride : one.strides) stride = 0;
    const fa_tensor& some = p.logits;  // strides of what is absent
    const Backward<T> problem{static_cast<const T*>(p.logits.data),
                              static_cast<const float*>(p.lse.data),
                              static_cast<const float*>(p.dloss.data),
                              mean ? divisor : nullptr,
                              static_cast<T*>(p.dlogits.data),
                              static_cast<T*>(p.dtarget.data),
                              RowsOf(p.logits, 1).rows.size,
                              p.logits.strides[p.logits.ndim - 1],
                              RowsOf(p.logits, 1),
                              RowsOf(p.lse, 0),
                              RowsOf(p.reduction == FA_REDUCE_NONE ? p.dloss : one, 0),
                              RowsOf(p.dlogits.data == nullptr ? some : p.dlogits, 1),
                              RowsOf(p.dtarget.data == nullptr ? some : p.dtarget, 1),
                              Labels<T>(p)};
    const int64_t N = problem.N, C = problem.labels.C;
    const double n = static_cast<double>(N) * static_cast<double>(C);
    if (launch.query) launch.workspace_bytes = mean ? sizeof(float) : 0;
    launch.flops = 4 * n;
    const double streams = (p.dlogits.data != nullptr) + (p.dtarget.data != nullptr) + (has_probabilities(p) ? 2 : 1);
    launch.bytes = streams * sizeof(T) * n;
    if (N > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more rows than a grid has blocks");
    return visit_config(C, [&]<int kConfig>() {
      launch.kernel = kBackwardName<T, kConfig>.text;
      if (launch.query || N == 0 || C == 0) return FA_OK;
      const char* error = nullptr;
      if (mean) {
        error = cuda::launch(reduce_kernel<T>, {dim3(1), dim3(kSumThreads), 0, launch.stream}, nullptr, N,
                             problem.labels, true, divisor);
      }
      if (error == nullptr) {
        const bool packs = in_packs<T>(p.logits) && in_packs<T>(p.dlogits) && in_packs<T>(p.dtarget);
        auto kernel = packs ? backward_kernel<T, true, kConfig> : backward_kernel<T, false, kConfig>;
        error = cuda::launch(kernel, rows_grid(kConfigs[kConfig], N, launch), problem);
      }
      return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
    });
  });
}

}  // namespace fastattn::cuda
