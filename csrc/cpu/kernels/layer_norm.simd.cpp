// layer_norm over the last axis, forward and backward; norm.h has the loops.
//
//   mean = sum(x) / C,  rstd = 1 / sqrt(sum((x - mean)^2) / C + eps),  n = (x - mean) rstd,  out = n weight + bias
//   g = dout weight;  dx = rstd (g - sum(g) / C - n sum(g n) / C);  dweight = sum_rows(dout n),  dbias = sum_rows(dout)
//
//   x, out, dout, dx (rows..., C), contiguous along C;  weight, bias, dweight, dbias (C);  mean, rstd (R)
//
// Source: Ba, Kiros and Hinton, "Layer Normalization" (2016), section 3.
#include "norm.h"

namespace fastattn::cpu::FASTATTN_ISA {

fa_status layer_norm_fwd(const fa_layer_norm_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const double n = static_cast<double>(num_elements(p.x));
    describe<"layer_norm_fwd", T>(launch,
                                  {.workspace = norm_workspace<T>(p), .flops = 7 * n, .bytes = 2 * sizeof(T) * n});
    if (!launch.query) norm_forward<T, true>(p, launch);
    return FA_OK;
  });
}

fa_status layer_norm_bwd(const fa_layer_norm_bwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const NormBackward<T, true> backward(p);
    describe<"layer_norm_bwd", T>(launch, backward.work(12));
    if (!launch.query) backward.run(launch);
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
