// The norms of rows: layer_norm (kCentred), and rms_norm, which is the same without a mean and a bias. Both come in
// layer_norm's params.
//
// A row belongs to a warp (four to a block) or to a block, whose threads keep it in registers, 16 elements each (in the
// backward of x and of dout): forward reads x once and writes out once, 2 C elements a row; the gradient of x reads two
// and writes one, 3 C: DRAM's bandwidth is the roofline. Rows beyond 16384 elements are read again for every sum. The
// variance is taken about the mean, not from the sum of squares, which cancels. A thread owns packs of 16 bytes, read
// element by element where rows or parameters are not aligned, to the same bits: what is rounded is written as fma or
// __fmul_rn.
//
// Gradients of weight and bias are sums over rows, in an order that is a function of the shape: a block of 256 threads
// sums 32 columns of a fixed number of rows into its part of the workspace, then a second kernel adds the parts in
// order. It reads x and dout a second time (2 C a row more), which threads that own columns across rows would save.
#pragma once

#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"
#include "ops/layer_norm.h"

namespace fastattn::cuda {

// The first that a row fits into; none of it measured on a GPU.
// clang-format off
inline constexpr RowConfig kNormConfigs[] = {
    {"warp8", 128, 32, 8},
    {"warp16", 128, 32, 16},
    {"block128", 128, 128, 16},
    {"block512", 512, 512, 16},
    {"block1024", 1024, 1024, 16},
    {"reread", 512, 512, 0},
};
// clang-format on
inline constexpr int kNumNormConfigs = sizeof kNormConfigs / sizeof kNormConfigs[0];

template <class T>
struct NormForward {
  const T* x;       // (R, C)
  const T* weight;  // (C) or nullptr
  const T* bias;    // (C) or nullptr
  T* out;           // (R, C)
  float* mean;      // (R) or nullptr
  float* rstd;      // (R) or nullptr
  int64_t mean_stride, rstd_stride, C;
  float eps;
  Rows<1> x_rows, out_rows;  // axes may be split differently
};

template <class T>
struct NormBackward {
  const T* x;       // (R, C)
  const T* weight;  // (C) or nullptr
  const T* dout;    // (R, C)
  const float* mean;
  const float* rstd;
  T* dx;        // (R, C)
  float* part;  // (parts, 2 if centred, C)
  int64_t mean_stride, rstd_stride, C;
  int64_t part_rows;
  Rows<1> x_rows, dout_rows, dx_rows;
};

__device__ inline int64_t row_begin(const Rows<1>& rows, int64_t row) {
  int64_t at[1];
  row_offsets(rows, row, at);
  return at[0];
}

// Calls f(element, kVec floats of the row) for every pack that this thread has of it.
template <bool kPacks, int kVec, int kStep, class T, class F>
__device__ inline void for_packs(const T* x, int thread, int64_t C, F&& f) {
  for (int64_t i = int64_t{thread} * kVec; i < C; i += kStep * kVec) {
    float pack[kVec];
    load_pack<kPacks>(pack, x, i, C);
    f(i, pack);
  }
}

template <class T, bool kCentred, bool kPacks, int kConfig>
__global__ void __launch_bounds__(kNormConfigs[kConfig].threads) norm_forward_kernel(NormForward<T> p) {
  constexpr RowConfig kThis = kNormConfigs[kConfig];
  constexpr int kRowThreads = kThis.row_threads, kVec = 16 / sizeof(T), kKept = kThis.kept(kPacks) / kVec;
  SHARED_ARRAY(float, sMean, 16, 32);
  SHARED_ARRAY(float, sSquare, 16, 32);
  const int thread = static_cast<int>(threadIdx.x) % kRowThreads;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThis.rows() + threadIdx.x / kRowThreads;
  if (row >= p.x_rows.size) return;  // a whole warp: rows that share a block have one each
  const T* x = p.x + row_begin(p.x_rows, row);
  T* out = p.out + row_begin(p.out_rows, row);
  const float count = static_cast<float>(p.C);

  // What is kept, or what is read again.
  float kept[kKept > 0 ? kKept : 1][kVec];
  auto for_row = [&](auto&& f) {
    if constexpr (kKept > 0) {
#pragma unroll
      for (int pack = 0; pack < kKept; ++pack) f(int64_t{pack * kRowThreads + thread} * kVec, kept[pack]);
    } else {
      for_packs<kPacks, kVec, kRowThreads>(x, thread, p.C, f);
    }
  };
  if constexpr (kKept > 0) {
    const int C = static_cast<int>(p.C);
#pragma unroll
    for (int pack = 0; pack < kKept; ++pack) load_pack<kPacks>(kept[pack], x, (pack * kRowThreads + thread) * kVec, C);
  }

  float mean = 0.0f;
  if constexpr (kCentred) {
    for_row([&](int64_t, const float(&pack)[kVec]) {
#pragma unroll
      for (int v = 0; v < kVec; ++v) mean += pack[v];
    });
    mean = reduce_threads<kRowThreads>(mean, SumOp(), sMean) / count;
  }
  float square = 0.0f;
  for_row([&](int64_t i, const float(&pack)[kVec]) {
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      const float d = i + v < p.C ? pack[v] - mean : 0.0f;
      square = fmaf(d, d, square);
    }
  });
  square = reduce_threads<kRowThreads>(square, SumOp(), sSquare);
  const float rstd = 1.0f / sqrtf(square / count + p.eps);

  for_row([&](int64_t i, const float(&pack)[kVec]) {
    if (i >= p.C) return;
    float y[kVec], w[kVec], b[kVec];
    if (p.weight != nullptr) load_pack<kPacks>(w, p.weight, i, p.C);
    if (p.bias != nullptr) load_pack<kPacks>(b, p.bias, i, p.C);
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      const float unit = __fmul_rn(pack[v] - mean, rstd), offset = p.bias != nullptr ? b[v] : 0.0f;
      y[v] = p.weight != nullptr ? fmaf(unit, w[v], offset) : unit + offset;
    }
    store_pack<kPacks>(out, y, i, p.C);
  });
  if (thread == 0) {
    if (p.mean != nullptr) p.mean[row * p.mean_stride] = mean;
    if (p.rstd != nullptr) p.rstd[row * p.rstd_stride] = rstd;
  }
}

// dx = rstd (g - sum(g) / C - n sum(g n) / C),  n = (x - mean) rstd,  g = dout weight
template <class T, bool kCentred, bool kPacks, int kConfig>
__global__ void __launch_bounds__(kNormConfigs[kConfig].threads) norm_backward_kernel(NormBackward<T> p) {
  constexpr RowConfig kThis = kNormConfigs[kConfig];
  constexpr int kRowThreads = kThis.row_threads, kVec = 16 / sizeof(T), kKept = kThis.kept(kPacks) / kVec;
  SHARED_ARRAY(float, sG, 16, 32);
  SHARED_ARRAY(float, sGn, 16, 32);
  const int thread = static_cast<int>(threadIdx.x) % kRowThreads;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThis.rows() + threadIdx.x / kRowThreads;
  if (row >= p.x_rows.size) return;  // a whole warp, as above
  const T* x = p.x + row_begin(p.x_rows, row);
  const T* dout = p.dout + row_begin(p.dout_rows, row);
  T* dx = p.dx + row_begin(p.dx_rows, row);
  const float mean = kCentred ? p.mean[row * p.mean_stride] : 0.0f, rstd = p.rstd[row * p.rstd_stride];
  const float count = static_cast<float>(p.C);

  // n and g of a pack, in place of x and dout.
  auto prepare = [&](int64_t i, float(&n)[kVec], float(&g)[kVec]) {
    float w[kVec];
    load_pack<kPacks>(n, x, i, p.C);
    load_pack<kPacks>(g, dout, i, p.C);
    if (p.weight != nullptr) load_pack<kPacks>(w, p.weight, i, p.C);
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      n[v] = __fmul_rn(n[v] - mean, rstd);
      if (p.weight != nullptr) g[v] = __fmul_rn(g[v], w[v]);
    }
  };
  float n[kKept > 0 ? kKept : 1][kVec], g[kKept > 0 ? kKept : 1][kVec];
  auto for_row = [&](bool first, auto&& f) {
    if constexpr (kKept > 0) {
#pragma unroll
      for (int pack = 0; pack < kKept; ++pack) {
        const int64_t i = int64_t{pack * kRowThreads + thread} * kVec;
        if (first) prepare(i, n[pack], g[pack]);
        f(i, n[pack], g[pack]);
      }
    } else {
      for (int64_t i = int64_t{thread} * kVec; i < p.C; i += kRowThreads * kVec) {
        prepare(i, n[0], g[0]);
        f(i, n[0], g[0]);
      }
    }
  };
  float sum_g = 0.0f, sum_gn = 0.0f;
  for_row(true, [&](int64_t, const float(&unit)[kVec], const float(&grad)[kVec]) {
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      if constexpr (kCentred) sum_g += grad[v];
      sum_gn = fmaf(grad[v], unit[v], sum_gn);
    }
  });
  if constexpr (kCentred) sum_g = reduce_threads<kRowThreads>(sum_g, SumOp(), sG) / count;
  sum_gn = reduce_threads<kRowThreads>(sum_gn, SumOp(), sGn) / count;
  for_row(false, [&](int64_t i, const float(&unit)[kVec], const float(&grad)[kVec]) {
    if (i >= p.C) return;
    float y[kVec];
#pragma unroll
    for (int v = 0; v < kVec; ++v) y[v] = rstd * fmaf(-unit[v], sum_gn, grad[v] - sum_g);
    store_pack<kPacks>(dx, y, i, p.C);
  });
}

inline constexpr int kPartColumns = 32, kPartLanes = 8;

// A block's part of dweight and, with a mean, of dbias: 32 columns, rows dealt to 8 warps.
template <class T, bool kCentred>
__global__ void __launch_bounds__(kPartColumns* kPartLanes) norm_parts_kernel(NormBackward<T> p) {
  SHARED_ARRAY(float, sWeight, 16, kPartColumns* kPartLanes);
  SHARED_ARRAY(float, sBias, 16, kPartColumns* kPartLanes);
  const int column = static_cast<int>(threadIdx.x) % kPartColumns, lane = static_cast<int>(threadIdx.x) / kPartColumns;
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kPartColumns + column;
  const int64_t begin = blockIdx.y * p.part_rows;
  const int64_t end = begin + p.part_rows < p.x_rows.size ? begin + p.part_rows : p.x_rows.size;
  float dweight = 0.0f, dbias = 0.0f;
  for (int64_t row = begin + lane; row < end && c < p.C; row += kPartLanes) {
    const float x = to_float(p.x[row_begin(p.x_rows, row) + c]);
    const float dout = to_float(p.dout[row_begin(p.dout_rows, row) + c]);
    const float mean = kCentred ? p.mean[row * p.mean_stride] : 0.0f;
    dweight += dout * ((x - mean) * p.rstd[row * p.rstd_stride]);
    if constexpr (kCentred) dbias += dout;
  }
  sWeight[threadIdx.x] = dweight;
  sBias[threadIdx.x] = dbias;
  __syncthreads();
  if (lane != 0 || c >= p.C) return;
  for (int k = 1; k < kPartLanes; ++k) {
    dweight += sWeight[k * kPartColumns + column];
    dbias += sBias[k * kPartColumns + column];
  }
  float* part = p.part + blockIdx.y * p.C * (kCentred ? 2 : 1) + c;
  part[0] = dweight;
  if constexpr (kCentred) part[p.C] = dbias;
}

// out[c] = the sum of part[k * stride + c], in order.
template <class T>
__global__ void __launch_bounds__(128)
    add_parts_kernel(const float* part, int64_t parts, int64_t stride, T* out, int64_t C) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x;
  if (c >= C) return;
  float sum = 0.0f;
  for (int64_t k = 0; k < parts; ++k) sum += part[k * stride + c];
  out[c] = from_float<T>(sum);
}

}  // namespace fastattn::cuda
