// pool: maximum or average of windows over the last two axes, and its gradient.
//
//   x, dx (N, C, H, W)   out, dout, index (N, C, OH, OW)   any strides
//
// A thread owns an element of out, or backward of dx, and walks the taps of its window, backward the windows that the
// element is in, in row-major order: a gather, so that nothing is added to twice and the bits do not depend on who
// comes first. Neighbouring threads have neighbouring channels where those are contiguous (channels-last), else
// columns. Forward with windows of 32 taps and more that lie along the columns a warp owns a window, and its lanes
// every 32nd tap: the planes of a global average are read by whole sectors.
//
// x (dx) and out (dout) move once, the taps that windows share come from L1 and L2: the roofline is DRAM's bandwidth. A
// maximum keeps the number of its tap in a byte where it can (ops/pool.h).
//
// Source: derived; the order is that of the CPU's kernel.
// Not yet: elements move one at a time, coalesced, not by packs of 16 bytes.
#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"

#include "common/pool_axis.h"

namespace fastattn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kWarpTaps = 32;  // of a window, from which on a warp has it

struct Strides {
  int64_t n, c, h, w;
  explicit Strides(const fa_tensor& t) : n(t.strides[0]), c(t.strides[1]), h(t.strides[2]), w(t.strides[3]) {}
  __device__ int64_t at(int64_t n_, int64_t c_, int64_t h_, int64_t w_) const {
    return n_ * n + c_ * c + h_ * h + w_ * w;
  }
};

// `plane` is x or dx, `pooled` is out or dout.
template <class T>
struct Problem {
  T *plane, *pooled;
  void* index;
  bool byte_index, channels_last;
  Strides plane_strides, pooled_strides, index_strides;
  PoolAxis h, w;
  PoolDivisor divisor;
  uint32_t N, C;

  Problem(const fa_tensor& plane_, const fa_tensor& pooled_, const fa_tensor& index_, const fa_pool_window& window)
      : plane(static_cast<T*>(plane_.data)),
        pooled(static_cast<T*>(pooled_.data)),
        index(index_.data),
        byte_index(index_.dtype == FA_U8),
        channels_last(plane_.strides[1] == 1 && plane_.shape[1] > 1),
        plane_strides(plane_),
        pooled_strides(pooled_),
        index_strides(index_.data == nullptr ? pooled_ : index_),
        h(plane_, pooled_, window, 0),
        w(plane_, pooled_, window, 1),
        divisor(h, w, window),
        N(static_cast<uint32_t>(plane_.shape[0])),
        C(static_cast<uint32_t>(plane_.shape[1])) {}

  __device__ float read(int64_t n, int64_t c, int64_t oh, int64_t ow, int64_t kh, int64_t kw) const {
    return to_float(plane[plane_strides.at(n, c, h.start(oh) + kh * h.dilation, w.start(ow) + kw * w.dilation)]);
  }
  __device__ void write(int64_t n, int64_t c, int64_t oh, int64_t ow, float value, int64_t tap) const {
    pooled[pooled_strides.at(n, c, oh, ow)] = from_float<T>(value);
    if (index == nullptr) return;
    const int64_t at = index_strides.at(n, c, oh, ow);
    if (byte_index) {
      static_cast<uint8_t*>(index)[at] = static_cast<uint8_t>(tap);
      return;
    }
    const int64_t row = h.start(oh) + tap / w.kernel * h.dilation, column = w.start(ow) + tap % w.kernel * w.dilation;
    const bool inside = row >= 0 && row < h.in && column >= 0 && column < w.in;
    static_cast<int64_t*>(index)[at] = inside ? row * w.in + column : -1;
  }
  __device__ int64_t read_index(int64_t n, int64_t c, int64_t oh, int64_t ow) const {
    const int64_t at = index_strides.at(n, c, oh, ow);
    return byte_index ? int64_t{static_cast<const uint8_t*>(index)[at]} : static_cast<const int64_t*>(index)[at];
  }
  // The tap that stands for a window until a larger one comes: the first that is inside.
  __device__ int64_t first_inside(int64_t oh, int64_t ow) const { return h.first_tap(oh) * w.kernel + w.first_tap(ow); }
};

struct Element {
  uint32_t n, c, h, w;
};
// Element i of (N, C, H, W), or of (N, H, W, C).
__device__ inline Element element(uint32_t i, uint32_t C, uint32_t H, uint32_t W, bool channels_last) {
  if (channels_last) {
    const uint32_t position = i / C, row = position / W;
    return {row / H, i - position * C, row % H, position - row * W};
  }
  const uint32_t row = i / W, plane = row / H;
  return {plane / C, plane % C, row - plane * H, i - row * W};
}

template <class T, bool kMax>
__global__ void __launch_bounds__(kThreads) pool_kernel(Problem<T> p, uint32_t size) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= size) return;
  const auto OH = static_cast<uint32_t>(p.h.out), OW = static_cast<uint32_t>(p.w.out);
  const Element e = element(i, p.C, OH, OW, p.channels_last);
  float value = kMax ? -__builtin_inff() : 0.0f;
  int64_t tap = kMax ? p.first_inside(e.h, e.w) : 0;
  const int64_t end_h = p.h.end_tap(e.h), first_w = p.w.first_tap(e.w), end_w = p.w.end_tap(e.w);
  for (int64_t kh = p.h.first_tap(e.h); kh < end_h; ++kh) {
    for (int64_t kw = first_w; kw < end_w; ++kw) {
      const float v = p.read(e.n, e.c, e.h, e.w, kh, kw);
      if constexpr (!kMax) {
        value += v;
      } else if (v > value || v != v) {
        value = v;
        tap = kh * p.w.kernel + kw;
      }
    }
  }
  if constexpr (!kMax) value /= static_cast<float>(p.divisor(e.h, e.w));
  p.write(e.n, e.c, e.h, e.w, value, tap);
}

// Whether tap b stands for a window rather than a: a NaN before a number, the last of them; the first of equal ones.
__device__ inline bool stands_before(float b, int64_t b_tap, float a, int64_t a_tap) {
  const bool a_nan = a != a, b_nan = b != b;
  if (a_nan || b_nan) return b_nan && (!a_nan || b_tap > a_tap);
  return b > a || (b == a && b_tap < a_tap);
}

template <class T, bool kMax>
__global__ void __launch_bounds__(kThreads) pool_window_kernel(Problem<T> p, uint32_t size) {
  const uint32_t i = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  if (i >= size) return;  // a whole warp
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Element e = element(i, p.C, static_cast<uint32_t>(p.h.out), static_cast<uint32_t>(p.w.out), false);
  const int64_t first_h = p.h.first_tap(e.h), first_w = p.w.first_tap(e.w), width = p.w.end_tap(e.w) - first_w;
  const int64_t taps = (p.h.end_tap(e.h) - first_h) * width;
  float value = kMax ? -__builtin_inff() : 0.0f;
  int64_t tap = kMax ? p.first_inside(e.h, e.w) : 0;
  for (int64_t k = lane; k < taps; k += 32) {
    const int64_t kh = first_h + k / width, kw = first_w + k % width;
    const float v = p.read(e.n, e.c, e.h, e.w, kh, kw);
    if constexpr (!kMax) {
      value += v;
    } else if (v > value || v != v) {
      value = v;
      tap = kh * p.w.kernel + kw;
    }
  }
  if constexpr (kMax) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(0xffffffff, value, step);
      const int64_t other_tap = __shfl_xor_sync(0xffffffff, tap, step);
      if (stands_before(other, other_tap, value, tap)) {
        value = other;
        tap = other_tap;
      }
    }
  } else {
    value = reduce_lanes<32>(value, SumOp()) / static_cast<float>(p.divisor(e.h, e.w));
  }
  if (lane == 0) p.write(e.n, e.c, e.h, e.w, value, tap);
}

template <class T, bool kMax>
__global__ void __launch_bounds__(kThreads) pool_backward_kernel(Problem<T> p, uint32_t size) {
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= size) return;
  const auto H = static_cast<uint32_t>(p.h.in), W = static_cast<uint32_t>(p.w.in);
  const Element e = element(i, p.C, H, W, p.channels_last);
  const int64_t first_w = p.w.first_window(e.w), end_w = p.w.end_window(e.w);
  float sum = 0.0f;
  for (int64_t oh = p.h.first_window(e.h), end_h = p.h.end_window(e.h); oh < end_h; ++oh) {
    const int64_t kh = p.h.tap(oh, e.h);
    if (kh < 0) continue;
    for (int64_t ow = first_w; ow < end_w; ++ow) {
      const int64_t kw = p.w.tap(ow, e.w);
      if (kw < 0) continue;
      const float g = to_float(p.pooled[p.pooled_strides.at(e.n, e.c, oh, ow)]);
      if constexpr (kMax) {
        const int64_t here = p.byte_index ? kh * p.w.kernel + kw : int64_t{e.h} * p.w.in + e.w;
        if (p.read_index(e.n, e.c, oh, ow) == here) sum += g;
      } else {
        sum += g / static_cast<float>(p.divisor(oh, ow));
      }
    }
  }
  p.plane[p.plane_strides.at(e.n, e.c, e.h, e.w)] = from_float<T>(sum);
}

template <class T>
constexpr KernelName kNames[2][2] = {{{"max_pool_fwd", kTypeName<T>}, {"max_pool_bwd", kTypeName<T>}},
                                     {{"avg_pool_fwd", kTypeName<T>}, {"avg_pool_bwd", kTypeName<T>}}};

int64_t num_elements(const fa_tensor& t) { return t.shape[0] * t.shape[1] * t.shape[2] * t.shape[3]; }

// Fills in `launch`, all but the workspace, of which there is none; false where there is nothing to run.
template <class T>
bool begin(const fa_tensor& plane, const fa_tensor& pooled, const fa_tensor& index, const fa_pool_window& w,
           bool backward, fa_launch& launch, fa_status& status) {
  const double ins = static_cast<double>(num_elements(plane)), outs = static_cast<double>(num_elements(pooled));
  launch.kernel = kNames<T>[w.mode != FA_POOL_MAX][backward].text;
  launch.workspace_bytes = 0;
  launch.flops = outs * static_cast<double>(w.kernel[0] * w.kernel[1]);
  launch.bytes = sizeof(T) * (ins + outs) + (index.data == nullptr ? 0 : index.dtype == FA_U8 ? 1 : 8) * outs;
  status = FA_OK;
  if (ins > INT32_MAX || outs > INT32_MAX) {
    status = fail(launch, FA_UNSUPPORTED, "more elements than 31 bits count");
    return false;
  }
  return !launch.query && ins > 0 && outs > 0;
}

LaunchConfig grid(int64_t size, int64_t per_block, const fa_launch& launch) {
  return {dim3(static_cast<unsigned>((size + per_block - 1) / per_block)), dim3(kThreads), 0, launch.stream};
}

}  // namespace

fa_status pool_fwd(const fa_pool_fwd_params& params, fa_launch& launch) {
  return visit_float(params.x.dtype, launch, [&]<class T>() {
    fa_status status;
    if (!begin<T>(params.x, params.out, params.index, params.window, false, launch, status)) return status;
    const Problem<T> p(params.x, params.out, params.index, params.window);
    const int64_t size = num_elements(params.out);
    const bool warps = !p.channels_last && p.h.kernel * p.w.kernel >= kWarpTaps;
    const LaunchConfig config = grid(size, warps ? kThreads / 32 : kThreads, launch);
    const bool max = params.window.mode == FA_POOL_MAX;
    auto kernel = warps ? (max ? pool_window_kernel<T, true> : pool_window_kernel<T, false>)
                        : (max ? pool_kernel<T, true> : pool_kernel<T, false>);
    const char* error = cuda::launch(kernel, config, p, static_cast<uint32_t>(size));
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

fa_status pool_bwd(const fa_pool_bwd_params& params, fa_launch& launch) {
  return visit_float(params.dx.dtype, launch, [&]<class T>() {
    fa_status status;
    if (!begin<T>(params.dx, params.dout, params.index, params.window, true, launch, status)) return status;
    const Problem<T> p(params.dx, params.dout, params.index, params.window);
    const int64_t size = num_elements(params.dx);
    auto kernel = params.window.mode == FA_POOL_MAX ? pool_backward_kernel<T, true> : pool_backward_kernel<T, false>;
    const char* error = cuda::launch(kernel, grid(size, kThreads, launch), p, static_cast<uint32_t>(size));
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
