// rms_norm over the last axis, forward and backward; norm.h has the loops.
//
//   rstd = 1 / sqrt(sum(x^2) / C + eps),  n = x rstd,  out = n weight
//   g = dout weight;  dx = rstd (g - n sum(g n) / C);  dweight = sum_rows(dout n)
//
//   x, out, dout, dx (rows..., C), contiguous along C;  weight, dweight (C);  rstd (R)
//
// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019), section 4.
#include "norm.h"

namespace fastattn::cpu::FASTATTN_ISA {

fa_status rms_norm_fwd(const fa_rms_norm_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const fa_layer_norm_fwd_params q = {
        .x = p.x, .weight = p.weight, .bias = {}, .out = p.out, .mean = {}, .rstd = p.rstd, .eps = p.eps};
    const double n = static_cast<double>(num_elements(p.x));
    describe<"rms_norm_fwd", T>(launch,
                                {.workspace = norm_workspace<T>(q), .flops = 4 * n, .bytes = 2 * sizeof(T) * n});
    if (!launch.query) norm_forward<T, false>(q, launch);
    return FA_OK;
  });
}

fa_status rms_norm_bwd(const fa_rms_norm_bwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const fa_layer_norm_bwd_params q = {.x = p.x,
                                        .weight = p.weight,
                                        .mean = {},
                                        .rstd = p.rstd,
                                        .dout = p.dout,
                                        .dx = p.dx,
                                        .dweight = p.dweight,
                                        .dbias = {}};
    const NormBackward<T, false> backward(q);
    describe<"rms_norm_bwd", T>(launch, backward.work(9));
    if (!launch.query) backward.run(launch);
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
