// binary: sum, difference, product, quotient, maximum, minimum of a and b, element by element.
//
//   out = f(a, b)      a, b, out of one shape, any strides; an operand that is absent is a number
//
// One rounding each: sources are compiled without fast division, and nothing here can be contracted. For 16-bit
// elements the result in float is rounded once more; float has more than twice their digits and two, so that is as one
// rounding.
//
// Tiles, traffic and roofline: tile/elementwise.h; 3 elements move for one, 2 with a number.
// Source: IEEE 754-2019, section 5.4.1; a NaN of either operand stays one, as in its section 9.6, maximum and minimum.
#include "cuda/entries.h"
#include "cuda/tile/elementwise.h"

namespace fastattn::cuda {
namespace {

template <int kFunction>
__device__ inline float apply(float a, float b) {
  if constexpr (kFunction == FA_ADD) return a + b;
  if constexpr (kFunction == FA_SUB) return a - b;
  if constexpr (kFunction == FA_MUL) return a * b;
  if constexpr (kFunction == FA_DIV) return a / b;
  if constexpr (kFunction == FA_MAXIMUM) return a != a ? a : a > b ? a : b;  // b where b is a NaN
  if constexpr (kFunction == FA_MINIMUM) return a != a ? a : a < b ? a : b;
}

template <int kFunction>
struct OfBoth {
  __device__ void operator()(const float (&in)[2], float (&out)[1]) const { out[0] = apply<kFunction>(in[0], in[1]); }
};
template <int kFunction>
struct OfOne {  // and a number, which is a where `first`
  float scalar;
  bool first;
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const {
    out[0] = first ? apply<kFunction>(scalar, in[0]) : apply<kFunction>(in[0], scalar);
  }
};

template <class F>
fa_status visit_function(int32_t function, fa_launch& launch, F&& f) {
  switch (function) {
    case FA_ADD: return f.template operator()<FA_ADD>();
    case FA_SUB: return f.template operator()<FA_SUB>();
    case FA_MUL: return f.template operator()<FA_MUL>();
    case FA_DIV: return f.template operator()<FA_DIV>();
    case FA_MAXIMUM: return f.template operator()<FA_MAXIMUM>();
    case FA_MINIMUM: return f.template operator()<FA_MINIMUM>();
    default: return fail(launch, FA_UNSUPPORTED, "no such binary function");
  }
}

template <class T>
constexpr KernelName kName{"binary", kTypeName<T>};

}  // namespace

fa_status binary(const fa_binary_params& p, fa_launch& launch) {
  return visit_float(p.out.dtype, launch, [&]<class T>() {
    return visit_function(p.function, launch, [&]<int kFunction>() {
      launch.kernel = kName<T>.text;
      const bool both = p.a.data != nullptr && p.b.data != nullptr;
      const fa_tensor* one = p.a.data != nullptr ? &p.a : &p.b;
      const OfOne<kFunction> with_scalar{static_cast<float>(p.scalar), p.a.data == nullptr};
      const fa_status status = both ? run_elementwise<T, 2, 1>({&p.a, &p.b, &p.out}, OfBoth<kFunction>(), launch)
                                    : run_elementwise<T, 1, 1>({one, &p.out}, with_scalar, launch);
      launch.flops = launch.bytes / ((both ? 3 : 2) * sizeof(T));
      return status;
    });
  });
}

}  // namespace fastattn::cuda
