// cross_entropy of logits (rows..., C) against class ids (rows...) or probabilities (rows..., C), forward and backward.
//
//   loss_i = sum_c q_ic (lse_i - logits_ic),  lse_i = log(sum(exp(logits_i))),  q: ops/cross_entropy.h
//   dlogits_ic = g_i (exp(logits_ic - lse_i) sum_k q_ik - q_ic),  g_i = dloss [/ divisor]
//
// A row belongs to one thread (cross_entropy_row.h). Traffic: forward reads logits, backward reads logits and writes
// dlogits, once each; probabilities are read beside them. Row losses go through the workspace and are summed in row
// order. Ids are checked before anything is written.
//
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 3.
#include "cross_entropy_row.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kItemElements = 16384;

// f(row) for all rows, in items of whole rows.
template <class F>
FASTATTN_INLINE void for_rows(const fa_launch& launch, int64_t N, int64_t C, F&& f) {
  const int64_t per_item = max_of<int64_t>(1, kItemElements / max_of<int64_t>(1, C));
  parallel_for(launch, ceil_div(N, per_item), [&](int64_t item, int) {
    for (int64_t r = item * per_item; r < min_of(N, (item + 1) * per_item); ++r) f(r);
    stream_fence();
  });
}

template <class A>
size_t weight_bytes(const fa_tensor& weight) {
  if (weight.data == nullptr) return 0;
  return static_cast<size_t>(round_up(weight.shape[0] * static_cast<int64_t>(sizeof(A)), 64));
}
// Class weights as the kernels read them, in the workspace; nullptr where there are none.
template <class T>
const compute_t<T>* read_weight(const fa_tensor& weight, void* workspace) {
  if (weight.data == nullptr) return nullptr;
  auto* copy = static_cast<compute_t<T>*>(workspace);
  for (int64_t c = 0; c < weight.shape[0]; ++c) copy[c] = widen(data<T>(weight)[c * weight.strides[0]]);
  return copy;
}
template <class Params>
bool has_probabilities(const Params& p) {
  return p.target.dtype != FA_I32 && p.target.dtype != FA_I64;
}
// Rows that count, or -1 after a failure is recorded.
template <class Params>
int64_t counted_rows(const Params& p, int64_t N, int64_t C, fa_launch& launch) {
  return has_probabilities(p) ? N : count_rows(p.target, C, p.ignore_index, launch);
}

}  // namespace

fa_status cross_entropy_fwd(const fa_cross_entropy_fwd_params& p, fa_launch& launch) {
  return visit_float(p.logits.dtype, launch, [&]<class T>() {
    using A = compute_t<T>;
    const int64_t N = num_rows(p.logits, 1), C = row_length(p.logits);
    const double n = static_cast<double>(N) * static_cast<double>(C);
    const bool none = p.reduction == FA_REDUCE_NONE;
    const size_t weights = weight_bytes<A>(p.weight);
    describe<"cross_entropy_fwd", T>(launch, {.workspace = weights + (none ? 0 : N * sizeof(A)),
                                              .flops = 4 * n,
                                              .bytes = (has_probabilities(p) ? 2 : 1) * sizeof(T) * n});
    if (launch.query) return FA_OK;
    const int64_t count = counted_rows(p, N, C, launch);
    if (count < 0) return FA_INVALID;

    const Labels<T> labels(p.target, read_weight<T>(p.weight, launch.workspace), C, p.ignore_index, p.label_smoothing);
    A* losses = none ? data<A>(p.loss) : reinterpret_cast<A*>(static_cast<char*>(launch.workspace) + weights);
    for_rows(launch, N, C, [&](int64_t r) {
      const T* row = data<T>(p.logits) + row_offset(p.logits, 1, r);
      const int64_t stride = p.logits.strides[p.logits.ndim - 1];
      const bool ignored = labels.ignored(r);
      A loss = 0;
      if (!ignored || p.lse.data != nullptr) {
        const RowLabel<T> label = ignored ? RowLabel<T>{} : labels.of(r);
        const RowSums<A> sums = row_sums(row, stride, C, label);
        if (!ignored) loss = row_loss(sums, row, stride, label, labels.soft_total(label));
        if (p.lse.data != nullptr) data<A>(p.lse)[row_offset(p.lse, 0, r)] = sums.lse();
      }
      losses[none ? row_offset(p.loss, 0, r) : r] = loss;
    });
    if (!none) {
      const A sum = sum_row<A>(N, [&](int64_t i, int lanes) { return load_lanes(losses + i, lanes); });
      *data<A>(p.loss) = p.reduction == FA_REDUCE_MEAN ? sum / labels.divisor(count) : sum;
    }
    return FA_OK;
  });
}

fa_status cross_entropy_bwd(const fa_cross_entropy_bwd_params& p, fa_launch& launch) {
  return visit_float(p.logits.dtype, launch, [&]<class T>() {
    using A = compute_t<T>;
    using V = Vec<A>;
    const int64_t N = num_rows(p.logits, 1), C = row_length(p.logits);
    const double n = static_cast<double>(N) * static_cast<double>(C);
    const double streams = (p.dlogits.data != nullptr) + (p.dtarget.data != nullptr) + (has_probabilities(p) ? 2 : 1);
    describe<"cross_entropy_bwd", T>(
        launch, {.workspace = weight_bytes<A>(p.weight), .flops = 4 * n, .bytes = streams * sizeof(T) * n});
    if (launch.query) return FA_OK;
    const int64_t count = counted_rows(p, N, C, launch);
    if (count < 0) return FA_INVALID;

    const Labels<T> labels(p.target, read_weight<T>(p.weight, launch.workspace), C, p.ignore_index, p.label_smoothing);
    const A divisor = p.reduction == FA_REDUCE_MEAN ? labels.divisor(count) : A(1);
    const bool stream = p.dlogits.data != nullptr && streams_rows<T>(p.logits, p.dlogits, p.logits.ndim - 1);
    for_rows(launch, N, C, [&](int64_t r) {
      const T* x = data<T>(p.logits) + row_offset(p.logits, 1, r);
      const int64_t stride = p.logits.strides[p.logits.ndim - 1];
      T* dx = data<T>(p.dlogits) + (p.dlogits.data != nullptr ? row_offset(p.dlogits, 1, r) : 0);
      if (labels.ignored(r)) return clear_row(dx, C);
      const A g = data<A>(p.dloss)[p.reduction == FA_REDUCE_NONE ? row_offset(p.dloss, 0, r) : 0] / divisor;
      const A lse = data<A>(p.lse)[row_offset(p.lse, 0, r)];
      const RowLabel<T> label = labels.of(r);
      if (p.dtarget.data != nullptr) {
        T* dy = data<T>(p.dtarget) + row_offset(p.dtarget, 1, r);
        const V shift = V::set(lse), slope = V::set(g * labels.on_target);
        alignas(64) T buffer[V::kLanes];
        map_row<A>(C, [&](int64_t i, int lanes) {
          for (int k = 0; k < lanes; ++k) buffer[k] = x[(i + k) * stride];
          V d = slope * (shift - load_lanes(buffer, lanes));
          if (labels.weight != nullptr) d = d * load_lanes(labels.weight + i, lanes);
          store_lanes(d, dy + i, lanes);
        });
      }
      if (p.dlogits.data != nullptr) row_gradient(x, stride, C, label, labels.soft_total(label), lse, g, dx, stream);
    });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
