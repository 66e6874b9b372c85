// rope: pairs of elements are turned by an angle of their position.
//
//   (out_a, out_b) = (x_a cos - x_b sin, x_b cos + x_a sin),   with -sin where `inverse`
//
//   x, out (rows..., D), cos, sin (rows..., R / 2), broadcast where they repeat, any strides
//
// A thread owns the pairs of two packs of 16 bytes, or one of the packs of the D - R elements that are copied; where
// strides, addresses, R / 2 or D do not allow that, a pair or an element. Neighbours take neighbouring pairs, so that a
// warp reads whole lines. x is read once and out written once, 2 D elements a row; the tables stay in L2: DRAM's
// bandwidth is the roofline. out may be x: a thread reads its pairs before it writes them.
//
// Source: Su et al., "RoFormer" (2021), section 3.2.
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
  int64_t pairs, copied;                         // of a row
  bool interleaved;                              // a pair lies together, else `pairs` elements apart
  int64_t x_step, cos_step, sin_step, out_step;  // strides of the last axis
  float sign;
  Rows<kNumTensors> rows;
};

// In this one order of rounding, for packs and for pairs.
__device__ inline void turn(float& a, float& b, float cos, float sin) {
  const float x = a, y = b;
  a = fmaf(-y, sin, x * cos);
  b = fmaf(x, sin, y * cos);
}

// The pairs from number `pair` on of a row: kVec of them, in two packs of x and out.
template <class T, int kVec>
__device__ inline void turn_packs(const Problem<T>& p, const T* x, T* out, const float* cos, const float* sin,
                                  int64_t pair) {
  const int64_t first = p.interleaved ? 2 * pair : pair, second = first + (p.interleaved ? kVec : p.pairs);
  float e[2][kVec], c[kVec], s[kVec];
  load_pack(e[0], x + first, 0, kVec);
  load_pack(e[1], x + second, 0, kVec);
#pragma unroll
  for (int v = 0; v < kVec; v += 4) {
    const auto four_cos = *reinterpret_cast<const Packed<float, 4>*>(cos + pair + v);
    const auto four_sin = *reinterpret_cast<const Packed<float, 4>*>(sin + pair + v);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      c[v + k] = four_cos.at[k];
      s[v + k] = p.sign * four_sin.at[k];
    }
  }
#pragma unroll
  for (int v = 0; v < kVec; ++v) {
    if (p.interleaved) {
      turn(e[2 * v / kVec][2 * v % kVec], e[2 * v / kVec][2 * v % kVec + 1], c[v], s[v]);
    } else {
      turn(e[0][v], e[1][v], c[v], s[v]);
    }
  }
  store_pack(out + first, e[0], 0, kVec);
  store_pack(out + second, e[1], 0, kVec);
}

template <class T>
__device__ inline void turn_pair(const Problem<T>& p, const T* x, T* out, const float* cos, const float* sin,
                                 int64_t pair) {
  const int64_t first = p.interleaved ? 2 * pair : pair, second = first + (p.interleaved ? 1 : p.pairs);
  float a = to_float(x[first * p.x_step]), b = to_float(x[second * p.x_step]);
  turn(a, b, cos[pair * p.cos_step], p.sign * sin[pair * p.sin_step]);
  out[first * p.out_step] = from_float<T>(a);
  out[second * p.out_step] = from_float<T>(b);
}

// kVec: elements of a pack, or 1.
template <class T, int kVec>
__global__ void __launch_bounds__(kThreads) rope_kernel(Problem<T> p) {
  const int64_t items = (p.pairs + p.copied) / kVec, all = p.rows.size * items;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < all; i += int64_t{gridDim.x} * kThreads) {
    int64_t begin[kNumTensors];
    const int64_t row = i / items, at = (i - row * items) * kVec;
    row_offsets(p.rows, row, begin);
    const T* x = p.x + begin[kX];
    T* out = p.out + begin[kOut];
    if (at >= p.pairs) {
      const int64_t c = at + p.pairs;
      using Pack = Packed<T, kVec>;
      *reinterpret_cast<Pack*>(out + c * p.out_step) = *reinterpret_cast<const Pack*>(x + c * p.x_step);
    } else if constexpr (kVec > 1) {
      turn_packs<T, kVec>(p, x, out, p.cos + begin[kCos], p.sin + begin[kSin], at);
    } else {
      turn_pair(p, x, out, p.cos + begin[kCos], p.sin + begin[kSin], at);
    }
  }
}

// Whether a tensor's rows lie in packs.
template <class T>
bool in_packs(const fa_tensor& t) {
  const int last = t.ndim - 1;
  return t.strides[last] == 1 && rows_aligned<T>(t.data, t.strides, last);
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
                             D - 2 * pairs,
                             p.interleaved != 0,
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
    constexpr int kVec = 16 / sizeof(T);
    const bool packs = pairs % kVec == 0 && D % kVec == 0 && in_packs<T>(p.x) && in_packs<T>(p.out) &&
                       in_packs<float>(p.cos) && in_packs<float>(p.sin);
    const int64_t all = problem.rows.size * ((D - pairs) / (packs ? kVec : 1));
    if (launch.query || all == 0) return FA_OK;
    const int64_t blocks = (all + kThreads - 1) / kThreads;
    const LaunchConfig config{dim3(static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX)), dim3(kThreads), 0,
                              launch.stream};
    const char* error = cuda::launch(packs ? rope_kernel<T, kVec> : rope_kernel<T, 1>, config, problem);
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
