// rope: pairs of elements are turned by an angle of their position.
//
//   (out_a, out_b) = (x_a cos - x_b sin, x_b cos + x_a sin),   with -sin where `inverse`
//
//   x, out (rows..., D), cos, sin (rows..., R / 2), broadcast where they repeat, any strides
//
// A thread owns a pair, or one of the D - R elements that are copied; neighbours take neighbouring pairs, so that a
// warp reads whole lines. x is read once and out written once, 2 D elements a row; the tables stay in L2: DRAM's
// bandwidth is the roofline. out may be x: a pair is read before it is written.
//
// Source: Su et al., "RoFormer" (2021), section 3.2.
// Not yet: packs of 16 bytes, which 16-bit elements want.
#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {
namespace {

constexpr int kThreads = 256;

enum Tensors { kX, kCos, kSin, kOut, kNumTensors };

template <class T>
struct Problem {
  const T* x;
  const float* cos;
  const float* sin;
  T* out;
  int64_t pairs, items;                          // of a row: pairs, and pairs with copied elements
  int64_t partner;                               // from a pair's first element to its second
  int64_t spread;                                // from a pair to the next
  int64_t x_step, cos_step, sin_step, out_step;  // strides of the last axis
  float sign;
  Rows<kNumTensors> rows;
};

template <class T>
__global__ void __launch_bounds__(kThreads) rope_kernel(Problem<T> p) {
  const int64_t all = p.rows.size * p.items;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all; i += int64_t{gridDim.x} * kThreads) {
    int64_t begin[kNumTensors];
    const int64_t row = i / p.items, item = i - row * p.items;
    row_offsets(p.rows, row, begin);
    const T* x = p.x + begin[kX];
    T* out = p.out + begin[kOut];
    if (item >= p.pairs) {
      const int64_t c = item + p.pairs;
      out[c * p.out_step] = x[c * p.x_step];
      continue;
    }
    const int64_t first = item * p.spread, second = first + p.partner;
    const float cos = p.cos[begin[kCos] + item * p.cos_step], sin = p.sign * p.sin[begin[kSin] + item * p.sin_step];
    const float a = to_float(x[first * p.x_step]), b = to_float(x[second * p.x_step]);
    out[first * p.out_step] = from_float<T>(a * cos - b * sin);
    out[second * p.out_step] = from_float<T>(b * cos + a * sin);
  }
}

template <class T>
constexpr KernelName kName{"rope", kTypeName<T>};

}  // namespace

fa_status rope(const fa_rope_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const int last = p.x.ndim - 1;
    const int64_t D = p.x.shape[last], pairs = p.cos.shape[last];
    const Problem<T> problem{static_cast<const T*>(p.x.data),
                             static_cast<const float*>(p.cos.data),
                             static_cast<const float*>(p.sin.data),
                             static_cast<T*>(p.out.data),
                             pairs,
                             D - pairs,
                             p.interleaved ? 1 : pairs,
                             p.interleaved ? 2 : 1,
                             p.x.strides[last],
                             p.cos.strides[last],
                             p.sin.strides[last],
                             p.out.strides[last],
                             p.inverse ? -1.0f : 1.0f,
                             Rows<kNumTensors>({&p.x, &p.cos, &p.sin, &p.out}, last)};
    const double n = static_cast<double>(problem.rows.size) * static_cast<double>(D);
    launch.kernel = kName<T>.text;
    launch.workspace_bytes = 0;
    launch.flops = 3 * n;
    launch.bytes = 2 * n * sizeof(T);
    const int64_t all = problem.rows.size * problem.items;
    if (launch.query || all == 0) return FA_OK;
    const int64_t blocks = (all + kThreads - 1) / kThreads;
    const LaunchConfig config{dim3(static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX)), dim3(kThreads), 0,
                              launch.stream};
    const char* error = cuda::launch(rope_kernel<T>, config, problem);
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
