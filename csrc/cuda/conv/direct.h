// Convolutions in many groups of few channels, depthwise ones above all: a tile of a product would be empty but for
// some columns. Everything is read where it lies, in any layout.
#pragma once

#include "cuda/conv/problem.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {

// Of a group, on both sides: up to here a group has no tile.
inline constexpr int64_t kDirectChannels = 4;

inline bool is_direct(int64_t groups, int64_t channels, int64_t columns) {
  return groups > 1 && channels / groups <= kDirectChannels && columns / groups <= kDirectChannels;
}

inline constexpr int kDirectThreads = 256;

// dst = the gather of src by the weight: K and N are channels of a group of src and dst.
template <class T>
struct DirectGather {
  ConvAxis h, w;
  const T* src;
  ImageStrides src_at;
  int K, N;
  const T* weight;
  int64_t weight_group, weight_k, weight_n, weight_h, weight_w;
  const T* bias;
  int64_t bias_at;
  T* dst;
  ImageStrides dst_at;
  int64_t size, channels, height, width;  // of dst
  bool channels_fast;
};

// Where tap k of position t reads, or -1.
__device__ inline int direct_source(const ConvAxis& a, int t, int k) {
  if (!a.backward) {
    const int at = t * a.stride - a.padding + k * a.dilation;
    return at < a.in ? at : -1;
  }
  const int at = t + a.padding - k * a.dilation, position = at / a.stride;
  return at >= 0 && position * a.stride == at && position < a.out ? position : -1;
}

// A thread has an element of dst: one chain over (tap, channel). Neighbours are of one pixel where channels lie next to
// each other, else of one row of pixels.
template <class T>
__global__ void __launch_bounds__(kDirectThreads) conv_direct_kernel(DirectGather<T> p) {
  const int64_t element = int64_t{blockIdx.x} * kDirectThreads + threadIdx.x;
  if (element >= p.size) return;
  const int64_t plane = p.height * p.width, of_image = p.channels * plane, n = element / of_image;
  const auto within = static_cast<uint32_t>(element % of_image), channels = static_cast<uint32_t>(p.channels);
  const uint32_t channel = p.channels_fast ? within % channels : within / static_cast<uint32_t>(plane);
  const uint32_t pixel = p.channels_fast ? within / channels : within % static_cast<uint32_t>(plane);
  const int y = static_cast<int>(pixel / static_cast<uint32_t>(p.width));
  const int x = static_cast<int>(pixel % static_cast<uint32_t>(p.width));
  const int group = static_cast<int>(channel) / p.N, column = static_cast<int>(channel) % p.N;
  const T* src = p.src + (n * p.src_at.n + int64_t{group} * p.K * p.src_at.c);
  const T* weight = p.weight + (group * p.weight_group + column * p.weight_n);
  float sum = 0.0f;
  for (int i = 0; i < p.h.taps; ++i) {
    const int h = direct_source(p.h, y, i);
    if (h < 0) continue;
    for (int j = 0; j < p.w.taps; ++j) {
      const int w = direct_source(p.w, x, j);
      if (w < 0) continue;
      const T* from = src + (h * p.src_at.h + w * p.src_at.w);
      const T* by = weight + (i * p.weight_h + j * p.weight_w);
      for (int k = 0; k < p.K; ++k) sum = fmaf(to_float(from[k * p.src_at.c]), to_float(by[k * p.weight_k]), sum);
    }
  }
  if (p.bias != nullptr) sum += to_float(p.bias[channel * p.bias_at]);
  p.dst[n * p.dst_at.n + channel * p.dst_at.c + y * p.dst_at.h + x * p.dst_at.w] = from_float<T>(sum);
}

inline constexpr int kDirectColumns = 32, kDirectLanes = kDirectThreads / kDirectColumns;
inline constexpr int64_t kDirectPixels = 512;  // of a part, at least
inline constexpr int64_t kMostDirectParts = 128;

// Elements of dweight, (tap, channel of a group, output) of which outputs are the fastest, are columns of a sum.
template <class T>
struct DirectWeight {
  ConvAxis h, w;
  int K, N;
  Divisor by_outputs, by_channels, by_columns, by_image, by_row;
  const T *x, *dout;
  ImageStrides x_at, dout_at;
  T* dweight;
  ImageStrides dweight_at;
  int64_t size, pixels, parts, part_pixels;
  float* partial;  // (parts, size)
};

struct WeightElement {
  int o, c, i, j;
  template <class T>
  __device__ WeightElement(const DirectWeight<T>& p, int64_t element) {
    uint32_t output, channel, column;
    const uint32_t row = p.by_outputs.divide(static_cast<uint32_t>(element), output);
    const uint32_t tap = p.by_channels.divide(row, channel);
    i = static_cast<int>(p.by_columns.divide(tap, column));
    o = static_cast<int>(output);
    c = static_cast<int>(channel);
    j = static_cast<int>(column);
  }
  template <class T>
  __device__ void store(const DirectWeight<T>& p, float sum) const {
    p.dweight[o * p.dweight_at.n + c * p.dweight_at.c + i * p.dweight_at.h + j * p.dweight_at.w] = from_float<T>(sum);
  }
};

// A block has 32 elements over a part of the pixels, dealt to its 8 warps.
template <class T>
__global__ void __launch_bounds__(kDirectThreads) conv_direct_weight_kernel(DirectWeight<T> p) {
  SHARED_ARRAY(float, sSum, 16, kDirectThreads);
  const int column = static_cast<int>(threadIdx.x) % kDirectColumns,
            lane = static_cast<int>(threadIdx.x) / kDirectColumns;
  const int64_t element = int64_t{blockIdx.x} * kDirectColumns + column;
  const bool inside = element < p.size;
  const WeightElement e(p, inside ? element : 0);
  const int64_t begin = blockIdx.y * p.part_pixels;
  const int64_t end = begin + p.part_pixels < p.pixels ? begin + p.part_pixels : p.pixels;
  const T* x = p.x + (int64_t{e.o / p.N} * p.K + e.c) * p.x_at.c;
  const T* dout = p.dout + e.o * p.dout_at.c;
  float sum = 0.0f;
  for (int64_t s = begin + lane; s < end && inside; s += kDirectLanes) {
    uint32_t within, place;
    const uint32_t n = p.by_image.divide(static_cast<uint32_t>(s), within), line = p.by_row.divide(within, place);
    const int h = direct_source(p.h, static_cast<int>(line), e.i), w = direct_source(p.w, static_cast<int>(place), e.j);
    if (h < 0 || w < 0) continue;
    const float a = to_float(x[n * p.x_at.n + h * p.x_at.h + w * p.x_at.w]);
    sum = fmaf(a, to_float(dout[n * p.dout_at.n + line * p.dout_at.h + place * p.dout_at.w]), sum);
  }
  sSum[threadIdx.x] = sum;
  __syncthreads();
  if (lane != 0 || !inside) return;
  for (int other = 1; other < kDirectLanes; ++other) sum += sSum[other * kDirectColumns + column];
  if (p.parts == 1) {
    e.store(p, sum);
  } else {
    p.partial[blockIdx.y * p.size + element] = sum;
  }
}

template <class T>
__global__ void __launch_bounds__(kDirectThreads) conv_direct_add_kernel(DirectWeight<T> p) {
  const int64_t element = int64_t{blockIdx.x} * kDirectThreads + threadIdx.x;
  if (element >= p.size) return;
  float sum = 0.0f;
  for (int64_t part = 0; part < p.parts; ++part) sum += p.partial[part * p.size + element];
  WeightElement(p, element).store(p, sum);
}

template <class T>
constexpr KernelName kDirectNames[] = {{"conv_fwd", kTypeName<T>, "direct"},
                                       {"conv_bwd_input", kTypeName<T>, "direct"},
                                       {"conv_bwd_weight", kTypeName<T>, "direct"}};

template <class T>
fa_status run_direct(const fa_tensor& src, const fa_tensor& weight, const fa_tensor& dst, const fa_tensor& bias,
                     int64_t groups, const ConvAxis& h, const ConvAxis& w, fa_launch& launch) {
  const int k = h.backward ? 0 : 1, n = 1 - k;
  const int64_t image = dst.shape[1] * dst.shape[2] * dst.shape[3];
  const DirectGather<T> p{h,
                          w,
                          static_cast<const T*>(src.data),
                          ImageStrides(src),
                          static_cast<int>(src.shape[1] / groups),
                          static_cast<int>(dst.shape[1] / groups),
                          static_cast<const T*>(weight.data),
                          weight.shape[0] / groups * weight.strides[0],
                          weight.strides[k],
                          weight.strides[n],
                          weight.strides[2],
                          weight.strides[3],
                          static_cast<const T*>(bias.data),
                          bias.data == nullptr ? 0 : bias.strides[0],
                          static_cast<T*>(dst.data),
                          ImageStrides(dst),
                          dst.shape[0] * image,
                          dst.shape[1],
                          dst.shape[2],
                          dst.shape[3],
                          dst.strides[1] == 1};
  const int64_t blocks = (p.size + kDirectThreads - 1) / kDirectThreads;
  if (image > INT32_MAX || blocks > INT32_MAX) return fail(launch, FA_UNSUPPORTED, kConvTooLong);
  if (blocks == 0) return FA_OK;
  const char* error = cuda::launch(conv_direct_kernel<T>,
                                   {dim3(static_cast<unsigned>(blocks)), dim3(kDirectThreads), 0, launch.stream}, p);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

// Of a call whose product would be q.
template <class T>
DirectWeight<T> make_direct_weight(const fa_conv_bwd_weight_params& p, const ConvWeight<T>& q) {
  const int64_t K = p.dweight.shape[1], outputs = p.dweight.shape[0];
  auto of = [](int64_t n) { return Divisor(static_cast<uint32_t>(n > 0 ? n : 1)); };
  const int64_t even = ((q.K + kMostDirectParts - 1) / kMostDirectParts + kDirectPixels - 1) / kDirectPixels;
  const int64_t part = (even > 0 ? even : 1) * kDirectPixels;
  return {q.h,
          q.w,
          static_cast<int>(K),
          static_cast<int>(q.N),
          of(outputs),
          of(K),
          q.by_columns,
          q.by_image,
          q.by_row,
          static_cast<const T*>(p.x.data),
          static_cast<const T*>(p.dout.data),
          ImageStrides(p.x),
          ImageStrides(p.dout),
          q.dweight,
          q.dweight_at,
          outputs * K * q.h.taps * q.w.taps,
          q.K,
          q.K > part ? (q.K + part - 1) / part : 1,
          part,
          nullptr};
}

template <class T>
size_t direct_workspace(const DirectWeight<T>& p) {
  return p.parts > 1 ? static_cast<size_t>(p.parts * p.size) * sizeof(float) : 0;
}

template <class T>
fa_status run_direct_weight(DirectWeight<T> p, void* workspace, fa_launch& launch) {
  if (p.size > INT32_MAX) return fail(launch, FA_UNSUPPORTED, kConvTooLong);
  p.partial = static_cast<float*>(workspace);
  auto over = [&](int64_t columns, int64_t parts) {
    return LaunchConfig{dim3(static_cast<unsigned>((p.size + columns - 1) / columns), static_cast<unsigned>(parts)),
                        dim3(kDirectThreads), 0, launch.stream};
  };
  const char* error = cuda::launch(conv_direct_weight_kernel<T>, over(kDirectColumns, p.parts), p);
  if (error == nullptr && p.parts > 1) error = cuda::launch(conv_direct_add_kernel<T>, over(kDirectThreads, 1), p);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace fastattn::cuda
