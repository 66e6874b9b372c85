// From the tensors of a convolution to the matrix products that the kernels see.
#pragma once

#include "cuda/host.h"
#include "cuda/matmul/config.h"
#include "cuda/tile/divisor.h"
#include "ops/conv.h"

namespace fastattn::cuda {

// Strides of (N, C, H, W), in elements.
struct ImageStrides {
  int64_t n, c, h, w;
  ImageStrides() = default;
  explicit ImageStrides(const fa_tensor& t) : n(t.strides[0]), c(t.strides[1]), h(t.strides[2]), w(t.strides[3]) {}
};

// One axis of a gather: position t of the destination, which is element first + t * step, reads the source at
// t * stride + offset + i * move by the kernel's tap index + i * index_step, for i < count.
struct GatherAxis {
  int count, index, index_step;
  int stride, offset, move;
  int positions, first, step;
};

// One axis of a convolution. The gradient of x gathers too: the elements of dx with one remainder modulo the stride, a
// phase, are met by some of the taps alone, evenly spaced ones, and read dout densely.
struct ConvAxis {
  int in, out, taps, stride, padding, dilation;
  bool backward;

  __host__ __device__ int phases() const { return backward ? (stride < in ? stride : in) : 1; }
  __host__ __device__ GatherAxis gather(int phase) const {
    if (!backward) return {taps, 0, 1, stride, -padding, dilation, out, 0, 1};
    GatherAxis r{0, 0, 0, 1, 0, 0, (in - phase + stride - 1) / stride, phase, stride};
    const int at = phase + padding;
    int first = -1, second = -1;
    for (int k = 0; k < taps; ++k) {
      if ((at - k * dilation) % stride != 0) continue;
      if (first < 0) {
        first = k;
      } else if (second < 0) {
        second = k;
      }
      r.index = k;
      ++r.count;
    }
    if (r.count > 0) r.offset = (at - r.index * dilation) / stride;  // the last tap meets the first output
    if (r.count > 1) {
      r.index_step = first - second;
      r.move = (second - first) * dilation / stride;
    }
    return r;
  }
};

inline constexpr const char* kConvTooLong = "more pixels, taps with channels, or positions than 31 bits count";

// Whether ints count all of it.
inline bool conv_axis(const fa_conv_geometry& g, int axis, int64_t in, int64_t out, int64_t taps, bool backward,
                      ConvAxis& to) {
  const int64_t stride = g.stride[axis], padding = g.padding[axis], dilation = g.dilation[axis];
  // A factor first, so that the products cannot overflow.
  constexpr int64_t kMost = INT32_MAX / 4;
  if (in > kMost || out > kMost || taps > kMost || padding > kMost || dilation > kMost) return false;
  const int64_t step = stride < kMost ? stride : kMost;  // of one position it does not matter
  if (taps * dilation > kMost || (out > 1 && out * step > kMost)) return false;
  to = {static_cast<int>(in),
        static_cast<int>(out),
        static_cast<int>(taps),
        static_cast<int>(step),
        static_cast<int>(padding),
        static_cast<int>(dilation),
        backward};
  return true;
}

// What matmul_kernel reads of every convolution. K is cut as a matmul's (matmul/config.h), but for the gradient of the
// weight where there are few pixels: longer chunks would leave most of the device without a block.
inline constexpr int64_t kFewPixels = 8192;
inline constexpr int kFewPixelsChunk = 256;

struct ConvProduct {
  int64_t M, N;
  int64_t count;   // of products: groups, and of each its phases
  int64_t chunks;  // of K
  float* partial = nullptr;
  int64_t first_chunk = 0, pieces = 1;

  __host__ __device__ int64_t entries() const { return count; }
};

// Forward and the gradient of x. Rows: the positions of dst, of one phase. k: (tap, channel of src).
template <class T>
struct ConvGather : ConvProduct {
  using Element = T;
  ConvAxis h, w;
  int batch, src_h, src_w;
  int channels;  // of src, of a group, as they are counted in k
  Divisor by_channels;
  const T* src;
  ImageStrides src_at;
  const T* weight;  // (groups, taps, channels, weight_line) in the workspace
  int64_t weight_line;
  T* dst;
  ImageStrides dst_at;
  const T* bias;
  int64_t bias_at;
  bool channels_first;  // neighbouring columns of dst do not lie next to each other
  bool packs;           // four of them can move at once
};

// The gradient of the weight. Rows: (tap, channel of x). k: pixels of dout.
template <class T>
struct ConvWeight : ConvProduct {
  using Element = T;
  int64_t K;
  int chunk;
  ConvAxis h, w;
  int channels, weight_channels;  // of a group: counted in rows, and those that there are
  Divisor by_channels, by_columns, by_image, by_row;
  const T *x, *dout;
  ImageStrides x_at, dout_at;
  int64_t dout_group;
  T* dweight;
  ImageStrides dweight_at;  // (O, C / groups, KH, KW)
};

}  // namespace fastattn::cuda
