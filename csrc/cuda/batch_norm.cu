// batch_norm: out = (x - mean) rstd weight + bias, with the mean and the variance of a channel over batch and
// positions.
//
//   x, out, dout, dx (N, C, S1, S2), any strides   weight, bias, running_mean, running_var, mean, rstd (C)
//
// The M = N S1 S2 elements of a channel are cut into parts that a block keeps in registers, kKept a thread: first their
// mean, then the squares about it (from the sum of squares alone the variance of a channel far from 0 cancels). Where
// the channels are contiguous (channels-last), a block has kColumns of them and 32 lanes each (tile/columns.h), else
// 256 lanes of one. Then a warp joins the parts of a channel, each lane every 32nd, then the lanes in a tree; it also
// makes rstd, the gradients of weight and bias, and the running statistics. A third kernel maps the elements. All
// orders are functions of M and the dtype.
//
// Memory-bound: forward reads x twice and writes out once, backward reads x and dout twice and writes dx once, which is
// the floor where x is larger than the caches: no element of out is known before the last of x.
//
// Source: Ioffe and Szegedy (2015), algorithm 1; Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
// for computing sample variances" (1979), for joining.
// Not yet: elements move one at a time, coalesced, not by packs of 16 bytes.
#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/columns.h"
#include "cuda/tile/number.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {
namespace {

constexpr int kKept = 16;
constexpr int kPlaneThreads = 256, kMapThreads = 256, kJoinThreads = 128;

// Of a part, or of several: forward its mean and the squares about that, backward the sums of dout and dout (x - mean).
struct Pair {
  float first, second;
};

template <class T>
struct Tensor {
  T* data;
  int64_t n, c, s1, s2;
  explicit Tensor(const fa_tensor& t)
      : data(static_cast<T*>(t.data)), n(t.strides[0]), c(t.strides[1]), s1(t.strides[2]), s2(t.strides[3]) {}
};

template <class T>
struct Problem {
  Tensor<T> x, other, to;  // forward x and out; backward x, dout and dx
  uint32_t C, S1, S2, M;
  bool channels_last;
  uint32_t part, parts;                 // elements of a part of a channel, parts of a channel
  float *mean, *scale, *shift, *slope;  // (C), of the workspace
  Pair* sums;                           // (C, parts)
  size_t workspace;

  Problem(const fa_tensor& x_, const fa_tensor& other_, const fa_tensor& to_, void* base)
      : x(x_),
        other(other_),
        to(to_),
        C(static_cast<uint32_t>(x_.shape[1])),
        S1(static_cast<uint32_t>(x_.shape[2])),
        S2(static_cast<uint32_t>(x_.shape[3])),
        M(static_cast<uint32_t>(x_.shape[0] * x_.shape[2] * x_.shape[3])),
        channels_last(C > 1 && x_.strides[1] == 1),
        part(static_cast<uint32_t>(kKept * (channels_last ? 32 : kPlaneThreads))),
        parts((M + part - 1) / part),
        mean(static_cast<float*>(base)),
        scale(mean + C),
        shift(scale + C),
        slope(shift + C),
        sums(reinterpret_cast<Pair*>(slope + C)),
        workspace(size_t{C} * (4 * sizeof(float) + parts * sizeof(Pair))) {}

  // Where element i of channel c of a tensor lies.
  __device__ int64_t at(const Tensor<T>& t, uint32_t c, uint32_t i) const {
    const uint32_t row = i / S2, s2 = i - row * S2, n = S1 == 1 ? row : row / S1;
    return n * t.n + c * t.c + (row - n * S1) * t.s1 + s2 * t.s2;
  }
};

// What the threads of a block have: a channel, and which of its lanes they are.
template <class T, bool kColumnsLayout>
struct Lanes {
  static constexpr int kThreads = kColumnsLayout ? kColumnThreads<T> : kPlaneThreads;
  static constexpr int kCount = kColumnsLayout ? kColumns<T> : 1;  // channels of a block
  static constexpr int kLanes = kThreads / kCount;

  // The sum over the lanes of a channel, in every thread.
  static __device__ float sum(float x, float* sPart) {
    if constexpr (kColumnsLayout) {
      return reduce_column<kCount>(x, SumOp(), sPart);
    } else {
      return reduce_threads<kThreads>(x, SumOp(), sPart);
    }
  }
};

template <class T, bool kColumnsLayout>
__global__ void __launch_bounds__(Lanes<T, kColumnsLayout>::kThreads) moments_kernel(Problem<T> p) {
  using L = Lanes<T, kColumnsLayout>;
  SHARED_ARRAY(float, sSum, 16, L::kThreads);
  SHARED_ARRAY(float, sSquare, 16, L::kThreads);
  const int lane = static_cast<int>(threadIdx.x) / L::kCount;
  const uint32_t tile = blockIdx.x / p.parts, b = blockIdx.x - tile * p.parts;
  const uint32_t c = tile * L::kCount + threadIdx.x % L::kCount;
  const uint32_t begin = b * p.part, count = p.M - begin < p.part ? p.M - begin : p.part;
  const bool inside = c < p.C;
  float kept[kKept], sum = 0.0f;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const uint32_t i = static_cast<uint32_t>(k * L::kLanes + lane);
    kept[k] = inside && i < count ? to_float(p.x.data[p.at(p.x, c, begin + i)]) : 0.0f;
    sum += kept[k];
  }
  const float mean = L::sum(sum, sSum) / static_cast<float>(count);
  float square = 0.0f;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const float d = static_cast<uint32_t>(k * L::kLanes + lane) < count ? kept[k] - mean : 0.0f;
    square += d * d;
  }
  square = L::sum(square, sSquare);
  if (lane == 0 && inside) p.sums[c * int64_t{p.parts} + b] = {mean, square};
}

template <class T, bool kColumnsLayout>
__global__ void __launch_bounds__(Lanes<T, kColumnsLayout>::kThreads) products_kernel(Problem<T> p, fa_tensor mean) {
  using L = Lanes<T, kColumnsLayout>;
  SHARED_ARRAY(float, sSum, 16, L::kThreads);
  SHARED_ARRAY(float, sProduct, 16, L::kThreads);
  const int lane = static_cast<int>(threadIdx.x) / L::kCount;
  const uint32_t tile = blockIdx.x / p.parts, b = blockIdx.x - tile * p.parts;
  const uint32_t c = tile * L::kCount + threadIdx.x % L::kCount;
  const uint32_t begin = b * p.part, count = p.M - begin < p.part ? p.M - begin : p.part;
  const bool inside = c < p.C;
  const float centre = inside ? load_number<float>(mean, c * mean.strides[0]) : 0.0f;
  float sum = 0.0f, product = 0.0f;
#pragma unroll 4
  for (int k = 0; k < kKept; ++k) {
    const uint32_t i = static_cast<uint32_t>(k * L::kLanes + lane);
    if (!inside || i >= count) continue;
    const float g = to_float(p.other.data[p.at(p.other, c, begin + i)]);
    sum += g;
    product += g * (to_float(p.x.data[p.at(p.x, c, begin + i)]) - centre);
  }
  sum = L::sum(sum, sSum);
  product = L::sum(product, sProduct);
  if (lane == 0 && inside) p.sums[c * int64_t{p.parts} + b] = {sum, product};
}

// A range of elements and its moments; two that are neighbours.
struct Moments {
  float mean, square, count;
};
__device__ inline Moments join(Moments a, Moments b) {
  if (b.count == 0.0f) return a;
  if (a.count == 0.0f) return b;
  const float count = a.count + b.count, delta = b.mean - a.mean, share = b.count / count;
  return {a.mean + delta * share, a.square + b.square + delta * delta * a.count * share, count};
}
__device__ inline Moments exchange(Moments a, int step) {
  return {__shfl_xor_sync(0xffffffff, a.mean, step), __shfl_xor_sync(0xffffffff, a.square, step),
          __shfl_xor_sync(0xffffffff, a.count, step)};
}

__device__ inline float number_or(const fa_tensor& t, uint32_t c, float value) {
  return t.data == nullptr ? value : load_number<float>(t, c * t.strides[0]);
}
__device__ inline void store_channel(const fa_tensor& t, uint32_t c, float value) {
  if (t.data != nullptr) store_number(t, c * t.strides[0], value);
}

template <class T>
__global__ void __launch_bounds__(kJoinThreads) statistics_kernel(Problem<T> p, fa_batch_norm_fwd_params q) {
  const uint32_t c = blockIdx.x * (kJoinThreads / 32) + threadIdx.x / 32;
  if (c >= p.C) return;  // a whole warp
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float mean = 0.0f, var = 0.0f;
  if (q.training) {
    Moments all = {0.0f, 0.0f, 0.0f};
    for (uint32_t b = static_cast<uint32_t>(lane); b < p.parts; b += 32) {
      const Pair one = p.sums[c * int64_t{p.parts} + b];
      const uint32_t left = p.M - b * p.part;
      all = join(all, {one.first, one.second, static_cast<float>(left < p.part ? left : p.part)});
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const Moments other = exchange(all, step);
      all = lane & step ? join(other, all) : join(all, other);  // the same two in the same order, on both sides
    }
    mean = all.mean;
    var = all.square / static_cast<float>(p.M);
    if (lane == 0 && q.running_mean.data != nullptr) {
      const float momentum = static_cast<float>(q.momentum), keep = 1.0f - momentum;
      const float unbiased = all.square / static_cast<float>(p.M > 1 ? p.M - 1 : 1);
      store_channel(q.running_mean, c, keep * number_or(q.running_mean, c, 0.0f) + momentum * mean);
      store_channel(q.running_var, c, keep * number_or(q.running_var, c, 0.0f) + momentum * unbiased);
    }
  } else {
    mean = number_or(q.running_mean, c, 0.0f);
    var = number_or(q.running_var, c, 1.0f);
  }
  if (lane != 0) return;
  const float rstd = 1.0f / sqrtf(var + static_cast<float>(q.eps));
  store_channel(q.mean, c, mean);
  store_channel(q.rstd, c, rstd);
  p.mean[c] = mean;
  p.scale[c] = rstd * number_or(q.weight, c, 1.0f);
  p.shift[c] = number_or(q.bias, c, 0.0f);
}

template <class T>
__global__ void __launch_bounds__(kJoinThreads) gradients_kernel(Problem<T> p, fa_batch_norm_bwd_params q, bool sums) {
  const uint32_t c = blockIdx.x * (kJoinThreads / 32) + threadIdx.x / 32;
  if (c >= p.C) return;  // a whole warp
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float sum = 0.0f, product = 0.0f;
  if (sums) {
    for (uint32_t b = static_cast<uint32_t>(lane); b < p.parts; b += 32) {
      const Pair one = p.sums[c * int64_t{p.parts} + b];
      sum += one.first;
      product += one.second;
    }
    sum = reduce_lanes<32>(sum, SumOp());
    product = reduce_lanes<32>(product, SumOp());
  }
  if (lane != 0) return;
  const float rstd = number_or(q.rstd, c, 1.0f), dweight = product * rstd,
              count = static_cast<float>(p.M > 0 ? p.M : 1);
  store_channel(q.dweight, c, dweight);
  store_channel(q.dbias, c, sum);
  p.mean[c] = number_or(q.mean, c, 0.0f);
  p.scale[c] = rstd * number_or(q.weight, c, 1.0f);
  p.shift[c] = sum / count;
  p.slope[c] = dweight * rstd / count;
}

enum class Map { kForward, kBackward, kBackwardOfConstants };

template <class T, Map kMap>
__global__ void __launch_bounds__(kMapThreads) map_kernel(Problem<T> p, uint32_t size) {
  const uint32_t e = blockIdx.x * kMapThreads + threadIdx.x;
  if (e >= size) return;
  uint32_t c, i;  // the channel and its element
  if (p.channels_last) {
    i = e / p.C;
    c = e - i * p.C;
  } else {
    const uint32_t S = p.S1 * p.S2, plane = e / S, n = plane / p.C;
    c = plane - n * p.C;
    i = n * S + (e - plane * S);
  }
  float y;
  if constexpr (kMap == Map::kForward) {
    const float x = to_float(p.x.data[p.at(p.x, c, i)]);
    y = (x - p.mean[c]) * p.scale[c] + p.shift[c];
  } else {
    const float g = to_float(p.other.data[p.at(p.other, c, i)]);
    if constexpr (kMap == Map::kBackward) {
      const float x = to_float(p.x.data[p.at(p.x, c, i)]);
      y = (g - p.shift[c] - (x - p.mean[c]) * p.slope[c]) * p.scale[c];
    } else {
      y = g * p.scale[c];
    }
  }
  p.to.data[p.at(p.to, c, i)] = from_float<T>(y);
}

template <class T>
constexpr KernelName kForwardName{"batch_norm_fwd", kTypeName<T>};
template <class T>
constexpr KernelName kBackwardName{"batch_norm_bwd", kTypeName<T>};

template <class T>
LaunchConfig parts_grid(const Problem<T>& p, const fa_launch& launch) {
  const uint32_t columns = static_cast<uint32_t>(kColumns<T>);
  const uint32_t tiles = p.channels_last ? (p.C + columns - 1) / columns : p.C;
  return {dim3(tiles * p.parts), dim3(p.channels_last ? kColumnThreads<T> : kPlaneThreads), 0, launch.stream};
}
template <class T>
LaunchConfig channels_grid(const Problem<T>& p, const fa_launch& launch) {
  return {dim3((p.C + kJoinThreads / 32 - 1) / (kJoinThreads / 32)), dim3(kJoinThreads), 0, launch.stream};
}
LaunchConfig elements_grid(int64_t size, const fa_launch& launch) {
  return {dim3(static_cast<unsigned>((size + kMapThreads - 1) / kMapThreads)), dim3(kMapThreads), 0, launch.stream};
}

int64_t num_elements(const fa_tensor& t) { return t.shape[0] * t.shape[1] * t.shape[2] * t.shape[3]; }

constexpr const char* kTooMany = "more elements than 31 bits count";

}  // namespace

fa_status batch_norm_fwd(const fa_batch_norm_fwd_params& q, fa_launch& launch) {
  return visit_float(q.x.dtype, launch, [&]<class T>() {
    const int64_t size = num_elements(q.x);
    launch.kernel = kForwardName<T>.text;
    launch.flops = (q.training ? 5.0 : 3.0) * static_cast<double>(size);
    launch.bytes = (q.training ? 3.0 : 2.0) * static_cast<double>(size) * sizeof(T);
    if (size > INT32_MAX) return fail(launch, FA_UNSUPPORTED, kTooMany);
    const Problem<T> p(q.x, q.out, q.out, launch.workspace);
    if (launch.query) launch.workspace_bytes = p.workspace;
    if (launch.query || p.C == 0 || (q.training && size == 0)) return FA_OK;
    const char* error = nullptr;
    if (q.training) {
      auto kernel = p.channels_last ? moments_kernel<T, true> : moments_kernel<T, false>;
      error = cuda::launch(kernel, parts_grid(p, launch), p);
    }
    if (!error) error = cuda::launch(statistics_kernel<T>, channels_grid(p, launch), p, q);
    if (!error && size > 0) {
      error = cuda::launch(map_kernel<T, Map::kForward>, elements_grid(size, launch), p, static_cast<uint32_t>(size));
    }
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

fa_status batch_norm_bwd(const fa_batch_norm_bwd_params& q, fa_launch& launch) {
  return visit_float(q.x.dtype, launch, [&]<class T>() {
    const int64_t size = num_elements(q.x);
    const bool training = q.training != 0;
    const bool sums = training || q.dweight.data != nullptr || q.dbias.data != nullptr;
    launch.kernel = kBackwardName<T>.text;
    launch.flops = (sums ? 9.0 : 1.0) * static_cast<double>(size);
    launch.bytes = ((sums ? 2 : 0) + (q.dx.data == nullptr ? 0
                                      : training           ? 3
                                                           : 2)) *
                   static_cast<double>(size) * sizeof(T);
    if (size > INT32_MAX) return fail(launch, FA_UNSUPPORTED, kTooMany);
    const Problem<T> p(q.x, q.dout, q.dx.data == nullptr ? q.x : q.dx, launch.workspace);
    if (launch.query) launch.workspace_bytes = p.workspace;
    if (launch.query || p.C == 0) return FA_OK;
    const char* error = nullptr;
    if (sums && size > 0) {
      auto kernel = p.channels_last ? products_kernel<T, true> : products_kernel<T, false>;
      error = cuda::launch(kernel, parts_grid(p, launch), p, q.mean);
    }
    if (!error) error = cuda::launch(gradients_kernel<T>, channels_grid(p, launch), p, q, sums);
    if (!error && size > 0 && q.dx.data != nullptr) {
      auto kernel = training ? map_kernel<T, Map::kBackward> : map_kernel<T, Map::kBackwardOfConstants>;
      error = cuda::launch(kernel, elements_grid(size, launch), p, static_cast<uint32_t>(size));
    }
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
