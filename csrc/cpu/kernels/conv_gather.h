// What conv's forward and the gradient of x gather: for each output, sums over taps and channels of a source.
#pragma once

#include "conv_depthwise.h"
#include "conv_plan.h"

namespace fastattn::cpu::FASTATTN_ISA {

template <class S>
struct Gather {
  Images<const S> src;
  Images<S> dst;         // its (P, Q) positions
  int64_t K, N, groups;  // channels of src and of dst, of one group
  int64_t batch, P, Q;
  const S* weight;
  int64_t weight_group, weight_k, weight_n, weight_h, weight_w;
  const S* bias;
  int64_t bias_n;
  TapAxis taps_h, taps_w;
  // Where taps are columns (see spread): N counts (tap, column), and what its taps were is here.
  int64_t tap_columns;  // of one tap, or 0
  TapAxis spread_h, spread_w;

  int64_t taps() const { return taps_h.count * taps_w.count; }
  // Sums that a band of `rows` rows makes: those around it too, where taps are columns.
  int64_t sum_rows(int64_t rows) const { return rows + spread_h.reach(); }
  int64_t sum_cols() const { return Q + spread_w.reach(); }
};

// Where a tap's weights are.
template <class S>
FASTATTN_INLINE int64_t tap_offset(const Gather<S>& p, const TapAxis& h, const TapAxis& w, int64_t i, int64_t j) {
  return (h.index + i * h.index_step) * p.weight_h + (w.index + j * w.index_step) * p.weight_w;
}

template <class S>
Gather<S> forward_gather(const fa_conv_fwd_params& p) {
  const fa_tensor& w = p.weight;
  const int64_t groups = p.geometry.groups, columns = w.shape[0] / groups;
  return {Images<const S>(p.x),
          Images<S>(p.out),
          w.shape[1],
          columns,
          groups,
          p.out.shape[0],
          p.out.shape[2],
          p.out.shape[3],
          data<const S>(w),
          columns * w.strides[0],
          w.strides[1],
          w.strides[0],
          w.strides[2],
          w.strides[3],
          data<const S>(p.bias),
          p.bias.data == nullptr ? 0 : p.bias.strides[0],
          forward_taps(p.geometry, 0, w.shape[2]),
          forward_taps(p.geometry, 1, w.shape[3]),
          0,
          {},
          {}};
}

// The positions (phase_h + SH t, phase_w + SW u) of dx.
template <class S>
Gather<S> backward_gather(const fa_conv_bwd_input_params& p, int64_t phase_h, int64_t phase_w) {
  const fa_tensor& w = p.weight;
  const int64_t groups = p.geometry.groups, channels = w.shape[0] / groups;
  const int64_t *stride = p.geometry.stride, height = p.dx.shape[2], width = p.dx.shape[3];
  Images<S> dx(p.dx);
  dx.data += phase_h * dx.h + phase_w * dx.w;
  dx.h *= stride[0];
  dx.w *= stride[1];
  return {Images<const S>(p.dout),
          dx,
          channels,
          w.shape[1],
          groups,
          p.dx.shape[0],
          max_of(int64_t{0}, ceil_div(height - phase_h, stride[0])),
          max_of(int64_t{0}, ceil_div(width - phase_w, stride[1])),
          data<const S>(w),
          channels * w.strides[0],
          w.strides[0],
          w.strides[1],
          w.strides[2],
          w.strides[3],
          nullptr,
          0,
          backward_taps(p.geometry, 0, w.shape[2], phase_h),
          backward_taps(p.geometry, 1, w.shape[3], phase_w),
          0,
          {},
          {}};
}

// With few columns, such as the gradient of a grey image, most lanes of a vector would be empty: taps become columns. A
// sum is then of one pixel and one tap, over channels, and an output adds those of its taps.
template <class S>
Gather<S> spread(Gather<S> p) {
  const int64_t vecs = ceil_div(p.N, int64_t{Vec<compute_t<S>>::kLanes});
  const int64_t columns = p.N * p.taps(), spread_vecs = ceil_div(columns, int64_t{Vec<compute_t<S>>::kLanes});
  constexpr int64_t kLeastChannels = 8, kMostColumns = 256;  // or adding the taps is the larger part
  const bool pays =
      p.taps() > 1 && 2 * spread_vecs <= vecs * p.taps() && p.K >= kLeastChannels && columns <= kMostColumns;
  if (!pays || p.taps_h.stride != 1 || p.taps_w.stride != 1) return p;
  p.tap_columns = p.N;
  p.N = columns;
  p.spread_h = p.taps_h;
  p.spread_w = p.taps_w;
  p.taps_h = {1, 0, 1, p.taps_h.offset, 1, 1};
  p.taps_w = {1, 0, 1, p.taps_w.offset, 1, 1};
  return p;
}

template <class S>
FASTATTN_INLINE bool is_depthwise(const Gather<S>& p) {
  return p.groups > 1 && p.K == 1 && p.N == 1;
}
template <class S>
FASTATTN_INLINE Depthwise<S> depthwise_of(const Gather<S>& p) {
  return {p.src,    p.dst,    p.batch,        p.groups,   p.P,        p.Q,    p.taps_h,
          p.taps_w, p.weight, p.weight_group, p.weight_h, p.weight_w, p.bias, p.bias_n};
}

}  // namespace fastattn::cpu::FASTATTN_ISA
