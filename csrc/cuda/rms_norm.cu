// rms_norm over the last axis, forward and backward.
//
//   rstd = 1 / sqrt(sum(x^2) / C + eps),  n = x rstd,  out = n weight
//   g = dout weight;  dx = rstd (g - n sum(g n) / C);  dweight = sum_rows(dout n)
//
//   x, out, dout, dx (rows..., C), contiguous along C;  weight and bias (C);  statistics (R), float
//
// Tiles, traffic and roofline: tile/norm.h.
// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019), section 4.
#include "cuda/entries.h"
#include "cuda/tile/norm_run.h"

namespace fastattn::cuda {
namespace {

template <class T>
constexpr NormNames kForwardNames{"rms_norm_fwd", kTypeName<T>};
template <class T>
constexpr NormNames kBackwardNames{"rms_norm_bwd", kTypeName<T>};

}  // namespace

fa_status rms_norm_fwd(const fa_rms_norm_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    fa_layer_norm_fwd_params all = {};
    all.x = p.x;
    all.weight = p.weight;
    all.out = p.out;
    all.rstd = p.rstd;
    all.eps = p.eps;
    return norm_forward<T, false>(all, kForwardNames<T>, launch);
  });
}

fa_status rms_norm_bwd(const fa_rms_norm_bwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    fa_layer_norm_bwd_params all = {};
    all.x = p.x;
    all.weight = p.weight;
    all.rstd = p.rstd;
    all.dout = p.dout;
    all.dx = p.dx;
    all.dweight = p.dweight;
    return norm_backward<T, false>(all, kBackwardNames<T>, launch);
  });
}

}  // namespace fastattn::cuda
