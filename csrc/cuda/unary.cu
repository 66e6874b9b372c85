// unary: exp, log, tanh and erf, element by element, in float32.
//
//   out = f(x)      x, out of one shape, any strides
//
// The functions are CUDA's own of full precision, at most 2 units in the last place by its tables.
//
// Tiles, traffic and roofline: tile/elementwise.h; 2 elements move for one.
// Source: CUDA C++ Programming Guide, "Mathematical Functions", single precision.
#include "cuda/entries.h"
#include "cuda/tile/elementwise.h"

namespace fastattn::cuda {
namespace {

template <int kFunction>
struct Function {
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const {
    if constexpr (kFunction == FA_EXP) out[0] = expf(in[0]);
    if constexpr (kFunction == FA_LOG) out[0] = logf(in[0]);
    if constexpr (kFunction == FA_TANH) out[0] = tanhf(in[0]);
    if constexpr (kFunction == FA_ERF) out[0] = erff(in[0]);
  }
};

}  // namespace

fa_status unary(const fa_unary_params& p, fa_launch& launch) {
  if (p.x.dtype != FA_F32)
    return fail(launch, FA_UNSUPPORTED, "the CUDA kernels of exp, log, tanh and erf take float32");
  static constexpr KernelName kName{"unary", kTypeName<float>};
  launch.kernel = kName.text;
  auto run = [&](auto f) {
    const fa_status status = run_elementwise<float, 1, 1>({&p.x, &p.out}, f, launch);
    launch.flops = 16 * launch.bytes / (2 * sizeof(float));
    return status;
  };
  switch (p.function) {
    case FA_EXP: return run(Function<FA_EXP>());
    case FA_LOG: return run(Function<FA_LOG>());
    case FA_TANH: return run(Function<FA_TANH>());
    case FA_ERF: return run(Function<FA_ERF>());
    default: return fail(launch, FA_UNSUPPORTED, "no such unary function");
  }
}

}  // namespace fastattn::cuda
