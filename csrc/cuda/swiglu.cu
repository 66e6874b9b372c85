// swiglu, element by element: silu(x) = x sigmoid(x).
//
//   out = silu(gate) up;   dgate = dout up silu'(gate),  dup = dout silu(gate)       all of one shape, any strides
//
// Tiles, traffic and roofline: tile/elementwise.h; forward moves 3 elements for one, backward 5.
// Source: Shazeer, "GLU Variants Improve Transformer" (2020), section 2.
#include "cuda/entries.h"
#include "cuda/tile/activation.h"
#include "cuda/tile/elementwise.h"

namespace fastattn::cuda {
namespace {

using Silu = Activation<FA_ACT_SILU>;

struct Forward {  // of gate and up
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = Silu::value(in[0]) * in[1]; }
};
struct Backward {  // of gate, up and dout
  __device__ void operator()(const float (&in)[3], float (&out)[2]) const {
    out[0] = in[2] * in[1] * Silu::slope(in[0]);
    out[1] = in[2] * Silu::value(in[0]);
  }
};

template <class T>
constexpr KernelName kForwardName{"swiglu_fwd", kTypeName<T>};
template <class T>
constexpr KernelName kBackwardName{"swiglu_bwd", kTypeName<T>};

}  // namespace

fa_status swiglu_fwd(const fa_swiglu_fwd_params& p, fa_launch& launch) {
  return visit_float(p.gate.dtype, launch, [&]<class T>() {
    launch.kernel = kForwardName<T>.text;
    const fa_status status = run_elementwise<T, 2, 1>({&p.gate, &p.up, &p.out}, Forward(), launch);
    launch.flops = 13 * launch.bytes / (3 * sizeof(T));
    return status;
  });
}

fa_status swiglu_bwd(const fa_swiglu_bwd_params& p, fa_launch& launch) {
  return visit_float(p.gate.dtype, launch, [&]<class T>() {
    launch.kernel = kBackwardName<T>.text;
    const fa_status status = run_elementwise<T, 3, 2>({&p.gate, &p.up, &p.dout, &p.dgate, &p.dup}, Backward(), launch);
    launch.flops = 17 * launch.bytes / (5 * sizeof(T));
    return status;
  });
}

}  // namespace fastattn::cuda
