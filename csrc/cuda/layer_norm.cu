// layer_norm over the last axis, forward and backward.
//
//   mean = sum(x) / C,  rstd = 1 / sqrt(sum((x - mean)^2) / C + eps),  n = (x - mean) rstd,  out = n weight + bias
//   g = dout weight;  dx = rstd (g - sum(g) / C - n sum(g n) / C);  dweight = sum_rows(dout n),  dbias = sum_rows(dout)
//
//   x, out, dout, dx (rows..., C), contiguous along C;  weight and bias (C);  statistics (R), float
//
// Tiles, traffic and roofline: tile/norm.h.
// Source: Ba, Kiros and Hinton, "Layer Normalization" (2016), section 3.
#include "cuda/entries.h"
#include "cuda/tile/norm_run.h"

namespace fastattn::cuda {
namespace {

template <class T>
constexpr NormNames kForwardNames{"layer_norm_fwd", kTypeName<T>};
template <class T>
constexpr NormNames kBackwardNames{"layer_norm_bwd", kTypeName<T>};

}  // namespace

fa_status layer_norm_fwd(const fa_layer_norm_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() { return norm_forward<T, true>(p, kForwardNames<T>, launch); });
}

fa_status layer_norm_bwd(const fa_layer_norm_bwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch,
                     [&]<class T>() { return norm_backward<T, true>(p, kBackwardNames<T>, launch); });
}

}  // namespace fastattn::cuda
