// A stage's tile of an operand, from global to shared memory; what lies outside of the operand becomes 0.
//
//   16 bits   kAlongK, kElements: [row][k]   kAlongRows: [k][row]     in chunks of 8 elements, swizzled
//   float     [k][row], rows further apart than the tile is wide: by 4 floats, with which packs of neighbouring rows
//             are stored without a conflict; by 8 for tf32, whose fragments are 4 rows of k by 8 of the tile
#pragma once

#include "cuda/matmul/config.h"
#include "cuda/ptx/cp_async.h"
#include "cuda/shared.h"

namespace fastattn::cuda {

// An operand's rows and K from the tile's corner on.
template <class T>
struct OperandTile {
  const T* from;
  int64_t row_stride, k_stride;
  int rows, k;  // how many there are; may be more than the tile has
};

template <class T>
__device__ inline int clamp_count(T n, int most) {
  return n < 0 ? 0 : n > most ? most : static_cast<int>(n);
}

// Where chunk c of line l lies, in elements, for lines of kLine elements (64 bytes or a multiple of 128): ldmatrix
// reads the same chunk of eight lines, and copies write one line after the other, both without a bank conflict.
template <int kLine>
__device__ inline int swizzled(int line, int chunk) {
  static_assert(kLine == 32 || kLine % 64 == 0);
  return line * kLine + (chunk ^ (kLine == 32 ? line / 2 % 4 : line % 8)) * 8;
}

template <MatmulConfig kConfig, int kRows, Load kLoad, class T>
__device__ inline void load_half_tile(T* sTile, const OperandTile<T>& x) {
  constexpr int kThreads = kConfig.threads(), kK = kConfig.block_k;
  static_assert(kRows * kK / 8 % kThreads == 0);
  const int thread = static_cast<int>(threadIdx.x);
  if constexpr (kLoad == Load::kElements) {
    const bool k_first = x.k_stride == 1 || x.row_stride != 1;
#pragma unroll 4
    for (int j = 0; j < kRows * kK / kThreads; ++j) {
      const int i = j * kThreads + thread;
      const int r = k_first ? i / kK : i % kRows, k = k_first ? i % kK : i / kRows;
      sTile[swizzled<kK>(r, k / 8) + k % 8] = r < x.rows && k < x.k ? x.from[r * x.row_stride + k * x.k_stride] : T{};
    }
  } else {
    constexpr bool kAlongK = kLoad == Load::kAlongK;
    constexpr int kLine = kAlongK ? kK : kRows, kLines = kAlongK ? kRows : kK, kChunks = kLine / 8;
    const int64_t stride = kAlongK ? x.row_stride : x.k_stride;
    const int lines = kAlongK ? x.rows : x.k, length = kAlongK ? x.k : x.rows;
#pragma unroll
    for (int j = 0; j < kLines * kChunks / kThreads; ++j) {
      const int i = j * kThreads + thread, line = i / kChunks, chunk = i % kChunks;
      const int elements = line < lines ? clamp_count(length - chunk * 8, 8) : 0;
      const T* from = elements > 0 ? x.from + line * stride + chunk * 8 : x.from;
      ptx::cp_async<16>(shared_address(sTile + swizzled<kLine>(line, chunk)), from, elements * 2);
    }
  }
}

// Elements from one k to the next in a float tile of kRows rows.
template <class T>
constexpr int float_line(int rows) {
  return rows + (std::is_same_v<T, tf32> ? 8 : 4);
}

template <MatmulConfig kConfig, int kRows, Load kLoad, class T>
__device__ inline void load_float_tile(T* sTile, const OperandTile<T>& x) {
  constexpr int kThreads = kConfig.threads(), kK = kConfig.block_k, kLine = float_line<T>(kRows);
  static_assert(kRows * kK / 4 % kThreads == 0);
  const int thread = static_cast<int>(threadIdx.x);
  if constexpr (kLoad == Load::kAlongRows) {
    constexpr int kPacks = kRows / 4;
#pragma unroll
    for (int j = 0; j < kK * kPacks / kThreads; ++j) {
      const int i = j * kThreads + thread, k = i / kPacks, r = i % kPacks * 4;
      const int elements = k < x.k ? clamp_count(x.rows - r, 4) : 0;
      const T* from = elements > 0 ? x.from + k * x.k_stride + r : x.from;
      ptx::cp_async<16>(shared_address(sTile + k * kLine + r), from, elements * 4);
    }
  } else {
    const bool k_first = x.k_stride == 1 || x.row_stride != 1;
#pragma unroll 4
    for (int j = 0; j < kRows * kK / kThreads; ++j) {
      const int i = j * kThreads + thread;
      const int r = k_first ? i / kK : i % kRows, k = k_first ? i % kK : i / kRows;
      const bool inside = r < x.rows && k < x.k;
      const T* from = inside ? x.from + r * x.row_stride + k * x.k_stride : x.from;
      ptx::cp_async<4>(shared_address(sTile + k * kLine + r), from, inside ? 4 : 0);
    }
  }
}

// Elements of a stage's tile of kRows rows.
template <class T, MatmulConfig kConfig>
constexpr int tile_elements(int rows) {
  return kConfig.block_k * (sizeof(T) == 4 ? float_line<T>(rows) : rows);
}

template <MatmulConfig kConfig, int kRows, Load kLoad, class T>
__device__ inline void load_tile(T* sTile, const OperandTile<T>& x) {
  if constexpr (sizeof(T) == 4) {
    load_float_tile<kConfig, kRows, kLoad>(sTile, x);
  } else {
    load_half_tile<kConfig, kRows, kLoad>(sTile, x);
  }
}

}  // namespace fastattn::cuda
