// activation forward and backward: out = f(x), dx = dout f'(x), element by element, any strides.
//
// Traffic: forward reads x and writes out, backward reads x and dout and writes dx, each once. In float with AVX-512
// gelu takes about 25 operations an element, silu 20, which is what a core has time for at half of DRAM's bandwidth:
// both limits are near. The arithmetic, and why the left tails keep their digits, is in simd/math.h.
//
// Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
#include "activation.h"

#include "elementwise.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr const char* kUnknown = "no such activation";

}  // namespace

fa_status activation_fwd(const fa_activation_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const double n = static_cast<double>(num_elements(p.x));
    const bool known = visit_activation(p.activation, [&]<class Function>(Function) {
      describe<Function::kForward, T>(launch, {.flops = 8 * n, .bytes = 2 * sizeof(T) * n});
      if (launch.query) return;
      elementwise<T>(launch, {&p.x}, {&p.out}, AxisOrder::kAny, [&](const T* const* in, T* const* out, const Run& run) {
        map_run(in[0], out[0], run, [](auto x) { return Function::value(x); });
      });
    });
    return known ? FA_OK : fail(launch, FA_UNSUPPORTED, kUnknown);
  });
}

fa_status activation_bwd(const fa_activation_bwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const double n = static_cast<double>(num_elements(p.x));
    const bool known = visit_activation(p.activation, [&]<class Function>(Function) {
      describe<Function::kBackward, T>(launch, {.flops = 12 * n, .bytes = 3 * sizeof(T) * n});
      if (launch.query) return;
      elementwise<T>(launch, {&p.x, &p.dout}, {&p.dx}, AxisOrder::kAny,
                     [&](const T* const* in, T* const* out, const Run& run) {
                       map_run(in[0], in[1], out[0], run, [](auto x, auto dout) { return dout * Function::slope(x); });
                     });
    });
    return known ? FA_OK : fail(launch, FA_UNSUPPORTED, kUnknown);
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
