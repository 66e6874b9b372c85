// cast: out = x in another dtype, element by element, rounded once to nearest, ties to even.
//
//   x, out of one shape, any strides; float32, float16 and bfloat16
//
// Every number of 16 bits is one of float, so the way through float rounds once. Of one dtype it is a copy, but that a
// 16-bit NaN becomes the one that the conversion gives.
//
// Tiles, traffic and roofline: tile/elementwise.h; x is read once, out written once.
// Source: PTX ISA, "cvt".
#include "cuda/entries.h"
#include "cuda/tile/elementwise.h"

namespace fastattn::cuda {
namespace {

struct Same {
  __device__ void operator()(const float (&in)[1], float (&out)[1]) const { out[0] = in[0]; }
};

template <class T>
constexpr KernelName kName{"cast", kTypeName<T>};

}  // namespace

fa_status cast(const fa_cast_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    return visit_float(p.out.dtype, launch, [&]<class To>() {
      launch.kernel = kName<T>.text;
      const fa_status status = run_elementwise<T, 1, 1, To>({&p.x, &p.out}, Same(), launch);
      launch.flops = 0;
      return status;
    });
  });
}

}  // namespace fastattn::cuda
