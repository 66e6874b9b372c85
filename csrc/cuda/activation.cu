// gelu, gelu_tanh, silu, relu and sigmoid, and their gradients, element by element.
//
//   out = f(x),  dx = dout f'(x)       x, out, dout, dx of one shape, any strides
//
// Tiles, traffic and roofline: tile/elementwise.h; forward moves 2 elements for one, backward 3.
// Source: tile/activation.h, by the formulas of ops/activation.h.
#include "cuda/tile/activation.h"

#include "cuda/entries.h"
#include "cuda/tile/elementwise.h"

namespace fastattn::cuda {
namespace {

template <int kActivation>
struct Forward {
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const {
    out[0] = Activation<kActivation>::value(in[0]);
  }
};
template <int kActivation>
struct Backward {  // of x and dout
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const {
    // relu's is chosen, not multiplied: what dout is where x <= 0 does not matter.
    if constexpr (kActivation == FA_ACT_RELU) {
      out[0] = in[0] > 0.0f ? in[1] : 0.0f;
    } else {
      out[0] = in[1] * Activation<kActivation>::slope(in[0]);
    }
  }
};

template <class F>
fa_status visit_activation(int32_t activation, fa_launch& launch, F&& f) {
  switch (activation) {
    case FA_ACT_GELU: return f.template operator()<FA_ACT_GELU>();
    case FA_ACT_GELU_TANH: return f.template operator()<FA_ACT_GELU_TANH>();
    case FA_ACT_SILU: return f.template operator()<FA_ACT_SILU>();
    case FA_ACT_RELU: return f.template operator()<FA_ACT_RELU>();
    case FA_ACT_SIGMOID: return f.template operator()<FA_ACT_SIGMOID>();
    default: return fail(launch, FA_UNSUPPORTED, "no such activation");
  }
}

constexpr const char* kConfigs[] = {"", "", "tanh", "", "", ""};
constexpr const char* kForwardOps[] = {"", "gelu_fwd", "gelu_fwd", "silu_fwd", "relu_fwd", "sigmoid_fwd"};
constexpr const char* kBackwardOps[] = {"", "gelu_bwd", "gelu_bwd", "silu_bwd", "relu_bwd", "sigmoid_bwd"};
template <class T, int kActivation>
constexpr KernelName kForwardName{kForwardOps[kActivation], kTypeName<T>, kConfigs[kActivation]};
template <class T, int kActivation>
constexpr KernelName kBackwardName{kBackwardOps[kActivation], kTypeName<T>, kConfigs[kActivation]};

constexpr double kFlops = 12;  // an element, counting exp or erfc as 8

}  // namespace

fa_status activation_fwd(const fa_activation_fwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    return visit_activation(p.activation, launch, [&]<int kActivation>() {
      launch.kernel = kForwardName<T, kActivation>.text;
      const fa_status status = run_elementwise<T, 1, 1>({&p.x, &p.out}, Forward<kActivation>(), launch);
      launch.flops = kFlops * launch.bytes / (2 * sizeof(T));
      return status;
    });
  });
}

fa_status activation_bwd(const fa_activation_bwd_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    return visit_activation(p.activation, launch, [&]<int kActivation>() {
      launch.kernel = kBackwardName<T, kActivation>.text;
      const fa_status status = run_elementwise<T, 2, 1>({&p.x, &p.dout, &p.dx}, Backward<kActivation>(), launch);
      launch.flops = kFlops * launch.bytes / (3 * sizeof(T));
      return status;
    });
  });
}

}  // namespace fastattn::cuda
