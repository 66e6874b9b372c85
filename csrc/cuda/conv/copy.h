// What a product needs in the workspace: images by channels, and the weights by lines of columns.
#pragma once

#include "cuda/conv/problem.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {

inline constexpr int kCopyThreads = 256;

// (N, C, H, W) of any strides to (N, H, W, groups, channels), of each group the first `from_channels` and then zeros.
template <class T>
struct ImageCopy {
  const T* from;
  ImageStrides at;
  T* to;
  int64_t packs;  // of 16 bytes, of all
  int64_t groups, channels, from_channels, height, width;
  bool channels_fast;
};

// A thread has a pack. Neighbours are of one pixel where channels lie next to each other, else of one row of pixels.
template <class T>
__global__ void __launch_bounds__(kCopyThreads) conv_images_kernel(ImageCopy<T> p) {
  constexpr int kVec = 16 / sizeof(T);
  int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i >= p.packs) return;
  const int64_t of_pixel = p.groups * p.channels / kVec;
  const int64_t pixels = p.packs / of_pixel;
  const int64_t pixel = p.channels_fast ? i / of_pixel : i % pixels, pack = p.channels_fast ? i % of_pixel : i / pixels;
  const int64_t group = pack * kVec / p.channels, c = pack * kVec % p.channels;
  const int64_t w = pixel % p.width, h = pixel / p.width % p.height, n = pixel / p.width / p.height;
  const T* from = p.from + (n * p.at.n + h * p.at.h + w * p.at.w + (group * p.from_channels + c) * p.at.c);
  Packed<T, kVec> x;
#pragma unroll
  for (int v = 0; v < kVec; ++v) x.at[v] = c + v < p.from_channels ? from[v * p.at.c] : T{};
  *reinterpret_cast<Packed<T, kVec>*>(p.to + (pixel * of_pixel + pack) * kVec) = x;
}

// (O, C / groups, KH, KW) to (groups, KH KW, channels, line): for the forward channels are the C / groups and a line is
// of the O / groups, for the gradient of x the other way round. Zeros beyond both.
template <class T>
struct WeightCopy {
  const T* from;
  int64_t group_at, k_at, n_at, h_at, w_at;
  T* to;
  int64_t size, taps_w, taps, channels, line, K, N;
};

template <class T>
__global__ void __launch_bounds__(kCopyThreads) conv_weights_kernel(WeightCopy<T> p) {
  const int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x;
  if (i >= p.size) return;
  const int64_t n = i % p.line, row = i / p.line, k = row % p.channels, tap = row / p.channels % p.taps;
  const int64_t group = row / p.channels / p.taps;
  const int64_t from = group * p.group_at + k * p.k_at + n * p.n_at + tap / p.taps_w * p.h_at + tap % p.taps_w * p.w_at;
  p.to[i] = k < p.K && n < p.N ? p.from[from] : T{};
}

}  // namespace fastattn::cuda
