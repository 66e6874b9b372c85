// gelu forward and backward: out = x Phi(x), dx = dout (Phi(x) + x phi(x)), or the tanh form; any strides.
//
// Traffic: forward reads x and writes out, backward reads x and dout and writes dx, each once. In float with AVX-512
// the forward takes about 25 operations an element, which is what a core has time for at half of DRAM's bandwidth: both
// limits are near. The arithmetic, and why the left tail keeps its digits, is in simd/math.h.
//
// Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
#include "cpu/simd/math.h"
#include "elementwise.h"

namespace fastattn::cpu::FASTATTN_ISA {

fa_status gelu_fwd(const fa_gelu_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const double n = static_cast<double>(num_elements(p.x));
    describe<"gelu_fwd", T>(launch, {.flops = 8 * n, .bytes = 2 * sizeof(T) * n});
    if (launch.query) return FA_OK;
    auto run = [&](auto f) {
      elementwise<T>(launch, {&p.x}, p.out, AxisOrder::kAny,
                     [&](const T* const* in, T* out, int64_t, int64_t n) { map_run(in[0], out, n, f); });
    };
    if (p.tanh_form) {
      run([](auto x) { return gelu_tanh(x); });
    } else {
      run([](auto x) { return gelu(x); });
    }
    return FA_OK;
  });
}

fa_status gelu_bwd(const fa_gelu_bwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const double n = static_cast<double>(num_elements(p.x));
    describe<"gelu_bwd", T>(launch, {.flops = 12 * n, .bytes = 3 * sizeof(T) * n});
    if (launch.query) return FA_OK;
    auto run = [&](auto f) {
      elementwise<T>(launch, {&p.x, &p.dout}, p.dx, AxisOrder::kAny,
                     [&](const T* const* in, T* out, int64_t, int64_t n) { map_run(in[0], in[1], out, n, f); });
    };
    if (p.tanh_form) {
      run([](auto x, auto dout) { return dout * gelu_tanh_grad(x); });
    } else {
      run([](auto x, auto dout) { return dout * gelu_grad(x); });
    }
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
