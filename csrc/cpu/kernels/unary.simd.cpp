// out = f(x), element by element: the functions of simd/math.h as an op, on views of any strides.
//
// Traffic: x read once, out written once. In float with AVX-512 exp keeps up with memory; log, tanh and erf take 30 to
// 45 operations an element and are bound by those.
#include "cpu/simd/math.h"
#include "elementwise.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

template <class T, class F>
void run(const fa_unary_params& p, const fa_launch& launch, F f) {
  elementwise<T>(launch, {&p.x}, {&p.out}, AxisOrder::kAny,
                 [&](const T* const* in, T* const* out, const Run& run) { map_run(in[0], out[0], run, f); });
}

}  // namespace

fa_status unary(const fa_unary_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const double n = static_cast<double>(num_elements(p.x));
    describe<"unary", T>(launch, {.flops = 16 * n, .bytes = 2 * sizeof(T) * n});
    if (p.function < FA_EXP || p.function > FA_ERF) return fail(launch, FA_UNSUPPORTED, "no such unary function");
    if (launch.query) return FA_OK;
    switch (p.function) {
      case FA_EXP: run<T>(p, launch, [](auto x) { return exp(x); }); break;
      case FA_LOG: run<T>(p, launch, [](auto x) { return log(x); }); break;
      case FA_TANH: run<T>(p, launch, [](auto x) { return tanh(x); }); break;
      default: run<T>(p, launch, [](auto x) { return erf(x); }); break;
    }
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
