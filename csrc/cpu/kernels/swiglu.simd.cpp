// swiglu forward and backward: out = silu(gate) up; dgate = dout up silu'(gate), dup = dout silu(gate), in one pass.
//
// Traffic: forward reads gate and up and writes out, backward reads three arrays and writes two, each once. The
// backward computes the sigmoid again instead of reading it: twenty operations against two more passes over memory.
//
// Source: Shazeer, "GLU Variants Improve Transformer" (2020), section 2.
#include "cpu/simd/math.h"
#include "elementwise.h"
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {

fa_status swiglu_fwd(const fa_swiglu_fwd_params& p, fa_launch& launch) {
  return visit_float(p.gate.dtype, launch, [&]<class T>() {
    const double n = static_cast<double>(num_elements(p.gate));
    describe<"swiglu_fwd", T>(launch, {.flops = 9 * n, .bytes = 3 * sizeof(T) * n});
    if (launch.query) return FA_OK;
    elementwise<T>(launch, {&p.gate, &p.up}, {&p.out}, AxisOrder::kAny,
                   [&](const T* const* in, T* const* out, const Run& run) {
                     map_run(in[0], in[1], out[0], run, [](auto gate, auto up) { return silu(gate) * up; });
                   });
    return FA_OK;
  });
}

fa_status swiglu_bwd(const fa_swiglu_bwd_params& p, fa_launch& launch) {
  return visit_float(p.gate.dtype, launch, [&]<class T>() {
    using A = compute_t<T>;
    using V = Vec<A>;
    const double n = static_cast<double>(num_elements(p.gate));
    describe<"swiglu_bwd", T>(launch, {.flops = 15 * n, .bytes = 5 * sizeof(T) * n});
    if (launch.query) return FA_OK;
    elementwise<T>(launch, {&p.gate, &p.up, &p.dout}, {&p.dgate, &p.dup}, AxisOrder::kAny,
                   [&](const T* const* in, T* const* out, const Run& run) {
                     map_row<A>(run.length, [&](int64_t i, int lanes) {
                       const V gate = load_lanes(in[0] + i, lanes), up = load_lanes(in[1] + i, lanes);
                       const V dout = load_lanes(in[2] + i, lanes);
                       store_lanes(dout * up * silu_grad(gate), out[0] + i, lanes);
                       store_lanes(dout * silu(gate), out[1] + i, lanes);
                     });
                   });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
