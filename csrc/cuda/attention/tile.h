// Tiles of attention in shared memory, and the two products that its passes are made of.
//
//   products    acc = A B^T       A: 16 rows of a warp, B: kN rows, both kDim wide
//   accumulate  out += P B        P: 16 x kN in a warp's registers, B: kN rows, kOut of its columns
//
// A tile's row is kDim elements in chunks of 16 bytes; chunk c of row r lies at place c ^ (r % 8), so that neither the
// copies nor ldmatrix meet a bank twice. Accumulators lie as mma's C (ptx/mma.h) for every dtype: 16-bit products are
// mma.m16n8k16, those of float are sums of FFMA in the order of the inner axis, never tf32.
//
// What is hidden has P = 0 and may hold NaN or inf, which no product with 0 takes away. A tile that has such values
// goes through take_nonfinite first: they reach the rows that weigh them, and then are 0 for the product, so that its
// bits are those of a tile without them.
#pragma once

#include "cuda/ptx/cp_async.h"
#include "cuda/ptx/ldmatrix.h"
#include "cuda/ptx/mma.h"
#include "cuda/shared.h"
#include "cuda/tile/reduce.h"
#include "cuda/types.h"

namespace fastattn::cuda::attention {

// Rows of one batch and head in global memory.
template <class T>
struct Matrix {
  const T* data;
  int64_t row, column;  // strides
  int rows, columns;
  bool in_chunks;  // every row begins at a multiple of 16 bytes, its columns side by side
};

template <class T>
inline constexpr int kChunk = 16 / sizeof(T);

template <int kDim, class T>
__device__ inline int place(int row, int chunk) {
  return row * kDim + (chunk ^ (row % 8)) * kChunk<T>;
}
// The shared address of chunk `first`, 0 or 1, of a row. Tiles begin at multiples of a row's bytes, so that chunk
// first + c, c even, is at c * 16 exclusive or this: no register is spent on the many addresses.
template <int kDim, class T>
__device__ inline uint32_t chunk_address(const T* sTile, int row, int first) {
  return shared_address(sTile + place<kDim, T>(row, first));
}
template <int kDim, class T>
__device__ inline const T* element(const T* sTile, int row, int column) {
  return sTile + place<kDim, T>(row, column / kChunk<T>) + column % kChunk<T>;
}

// kRows rows of x's columns; address(r): where row r begins, or nullptr for zeros, which fill the columns past the last
// too. By cp.async where rows allow, else element by element.
template <int kRows, int kDim, int kThreads, class T, class F>
__device__ inline void load_rows(T* sTile, const Matrix<T>& x, F&& address) {
  constexpr int kChunks = kDim / kChunk<T>;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kChunks; i += kThreads) {
    const int r = i / kChunks, first = i % kChunks * kChunk<T>;
    const T* const row = address(r);
    int n = row != nullptr ? x.columns - first : 0;
    n = n < 0 ? 0 : n > kChunk<T> ? kChunk<T> : n;
    const T* from = n > 0 ? row + first * x.column : x.data;
    T* to = sTile + place<kDim, T>(r, i % kChunks);
    if (x.in_chunks) {
      ptx::cp_async<16>(shared_address(to), from, n * static_cast<int>(sizeof(T)));
    } else {
      Packed<T, kChunk<T>> chunk;
#pragma unroll
      for (int v = 0; v < kChunk<T>; ++v) chunk.at[v] = v < n ? from[v * x.column] : from_float<T>(0.0f);
      *reinterpret_cast<Packed<T, kChunk<T>>*>(to) = chunk;
    }
  }
}

// Rows row0... of x; what lies outside of it becomes 0.
template <int kRows, int kDim, int kThreads, class T>
__device__ inline void load_tile(T* sTile, const Matrix<T>& x, int row0) {
  load_rows<kRows, kDim, kThreads>(
      sTile, x, [&](int r) -> const T* { return row0 + r < x.rows ? x.data + (row0 + r) * x.row : nullptr; });
}

// f(n, i, row, column) for what a lane has of a warp's 16 x kN accumulators acc[n][i]: their place in that tile.
template <int kN, class F>
__device__ inline void visit_tile(F&& f) {
  const int lane_idx = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int n = 0; n < kN / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) f(n, i, lane_idx / 4 + i / 2 * 8, n * 8 + lane_idx % 4 * 2 + i % 2);
  }
}

template <int kTiles>
__device__ inline void set_zero(float (&acc)[kTiles][4]) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) acc[n][i] = 0.0f;
  }
}

__device__ inline bool is_finite(float x) { return fabsf(x) < __builtin_inff(); }

// Of the chunks that this thread has loaded, which need no barrier.
template <int kRows, int kDim, int kThreads, class T>
__device__ inline bool has_nonfinite(const T* sTile) {
  constexpr int kChunks = kDim / kChunk<T>;
  bool found = false;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kChunks; i += kThreads) {
    const T* from = sTile + place<kDim, T>(i / kChunks, i % kChunks);
    const auto chunk = *reinterpret_cast<const Packed<T, kChunk<T>>*>(from);
#pragma unroll
    for (int v = 0; v < kChunk<T>; ++v) found |= !is_finite(to_float(chunk.at[v]));
  }
  return found;
}

// acc = A B^T; sA: the warp's 16 rows.
template <int kN, int kDim, class T>
__device__ inline void products(float (&acc)[kN / 8][4], const T* sA, const T* sB) {
  const int lane_idx = static_cast<int>(threadIdx.x) % 32;
  set_zero(acc);
  if constexpr (sizeof(T) == 2) {
    const uint32_t a = chunk_address<kDim>(sA, lane_idx % 16, lane_idx / 16);
    const uint32_t b = chunk_address<kDim>(sB, lane_idx % 8 + lane_idx / 16 * 8, lane_idx / 8 % 2);
#pragma unroll 2
    for (int k = 0; k < kDim; k += 16) {
      uint32_t rA[4];
      ptx::ldmatrix(rA, a ^ (2 * k));
#pragma unroll
      for (int n = 0; n < kN / 8; n += 2) {
        uint32_t r[4];
        ptx::ldmatrix(r, (b ^ (2 * k)) + n * 8 * kDim * 2);
        const uint32_t first[2] = {r[0], r[1]}, second[2] = {r[2], r[3]};
        ptx::mma_m16n8k16<T>(acc[n], rA, first, acc[n]);
        ptx::mma_m16n8k16<T>(acc[n + 1], rA, second, acc[n + 1]);
      }
    }
  } else {
    const int group = lane_idx / 4, t = lane_idx % 4;
#pragma unroll 1
    for (int k = 0; k < kDim; k += 4) {
      using Four = Packed<float, 4>;
      const Four upper = *reinterpret_cast<const Four*>(sA + place<kDim, T>(group, k / 4));
      const Four lower = *reinterpret_cast<const Four*>(sA + place<kDim, T>(group + 8, k / 4));
#pragma unroll
      for (int n = 0; n < kN / 8; ++n) {
        const Four left = *reinterpret_cast<const Four*>(sB + place<kDim, T>(n * 8 + 2 * t, k / 4));
        const Four right = *reinterpret_cast<const Four*>(sB + place<kDim, T>(n * 8 + 2 * t + 1, k / 4));
#pragma unroll
        for (int v = 0; v < 4; ++v) {
          acc[n][0] = fmaf(upper.at[v], left.at[v], acc[n][0]);
          acc[n][1] = fmaf(upper.at[v], right.at[v], acc[n][1]);
          acc[n][2] = fmaf(lower.at[v], left.at[v], acc[n][2]);
          acc[n][3] = fmaf(lower.at[v], right.at[v], acc[n][3]);
        }
      }
    }
  }
}

// f(row of B, p of row group, p of row group + 8), rows in order: the quad's lanes hold two columns of P each.
template <int kN, class F>
__device__ inline void visit_weights(const float (&p)[kN / 8][4], F&& f) {
  const int quad = static_cast<int>(threadIdx.x) % 32 / 4 * 4;
#pragma unroll
  for (int n = 0; n < kN / 8; ++n) {
#pragma unroll 1
    for (int owner = 0; owner < 4; ++owner) {
      float from[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) from[i] = __shfl_sync(0xffffffff, p[n][i], quad + owner);
      f(n * 8 + 2 * owner, from[0], from[2]);
      f(n * 8 + 2 * owner + 1, from[1], from[3]);
    }
  }
}

// out += P B, columns column0... of B. P is rounded to T for mma.
template <int kN, int kDim, int kOut, class T>
__device__ inline void accumulate(float (&out)[kOut / 8][4], const float (&p)[kN / 8][4], const T* sB, int column0) {
  const int lane_idx = static_cast<int>(threadIdx.x) % 32;
  if constexpr (sizeof(T) == 2) {
    const uint32_t b = chunk_address<kDim>(sB, lane_idx % 16, lane_idx / 16) ^ (2 * column0);
#pragma unroll
    for (int n = 0; n < kN / 8; n += 2) {
      const uint32_t rP[4] = {pack<T>(p[n][0], p[n][1]), pack<T>(p[n][2], p[n][3]), pack<T>(p[n + 1][0], p[n + 1][1]),
                              pack<T>(p[n + 1][2], p[n + 1][3])};
#pragma unroll
      for (int d = 0; d < kOut / 8; d += 2) {
        uint32_t r[4];
        ptx::ldmatrix_trans(r, (b ^ (16 * d)) + n * 8 * kDim * 2);
        const uint32_t first[2] = {r[0], r[1]}, second[2] = {r[2], r[3]};
        ptx::mma_m16n8k16<T>(out[d], rP, first, out[d]);
        ptx::mma_m16n8k16<T>(out[d + 1], rP, second, out[d + 1]);
      }
    }
  } else {
    const int t = lane_idx % 4;
    visit_weights<kN>(p, [&](int row, float upper, float lower) {
#pragma unroll
      for (int d = 0; d < kOut / 8; ++d) {
        const auto b = *reinterpret_cast<const Packed<T, 2>*>(element<kDim>(sB, row, column0 + d * 8 + 2 * t));
        out[d][0] = fmaf(upper, b.at[0], out[d][0]);
        out[d][1] = fmaf(upper, b.at[1], out[d][1]);
        out[d][2] = fmaf(lower, b.at[0], out[d][2]);
        out[d][3] = fmaf(lower, b.at[1], out[d][3]);
      }
    });
  }
}

// What of the kN rows of a warp's B is not finite, to the rows that have a weight for it; then 0 in its place, in all
// kRows rows of the block's. All threads of the block.
template <int kN, int kDim, int kOut, int kThreads, int kRows = kN, class T>
__device__ inline void take_nonfinite(float (&out)[kOut / 8][4], const float (&p)[kN / 8][4], T* sB, int column0,
                                      int row0 = 0) {
  const int t = static_cast<int>(threadIdx.x) % 4;
  visit_weights<kN>(p, [&](int row, float upper, float lower) {
#pragma unroll
    for (int d = 0; d < kOut / 8; ++d) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float b = to_float(*element<kDim>(sB, row0 + row, column0 + d * 8 + 2 * t + i));
        if (is_finite(b)) continue;
        if (upper != 0) out[d][i] += upper * b;
        if (lower != 0) out[d][2 + i] += lower * b;
      }
    }
  });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kDim; i += kThreads) {
    if (!is_finite(to_float(sB[i]))) sB[i] = from_float<T>(0.0f);
  }
  __syncthreads();
}

}  // namespace fastattn::cuda::attention
