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

// An operand's rows and K from the tile's corner on. What a tile is loaded from has these: `rows` and `k`, how many
// there are (maybe more than the tile has); `from`, any address in it; k_first, whether neighbouring threads should
// have neighbouring k; and find<kLoad>, which says where element (r, k), or the pack that begins there, lies, or that
// there is none (conv/source.h has such ones).
template <class T>
struct OperandTile {
  const T* from;
  int64_t row_stride, k_stride;
  int rows, k;

  __device__ bool k_first() const { return k_stride == 1 || row_stride != 1; }
  template <Load kLoad>
  __device__ bool find(int r, int k_, const T*& at) const {
    if constexpr (kLoad == Load::kAlongK) {
      at = from + r * row_stride + k_;
    } else if constexpr (kLoad == Load::kAlongRows) {
      at = from + k_ * k_stride + r;
    } else {
      at = from + r * row_stride + k_ * k_stride;
    }
    return true;
  }
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

template <MatmulConfig kConfig, int kRows, Load kLoad, class T, class Operand>
__device__ inline void load_half_tile(T* sTile, const Operand& x) {
  constexpr int kThreads = kConfig.threads(), kK = kConfig.block_k;
  static_assert(kRows * kK / 8 % kThreads == 0);
  if constexpr (kLoad == Load::kElements) {
    const bool k_first = x.k_first();
#pragma unroll 4
    for (int j = 0; j < kRows * kK / kThreads; ++j) {
      const unsigned i = j * kThreads + threadIdx.x;  // unsigned: divided by shifts
      const int r = static_cast<int>(k_first ? i / kK : i % kRows), k = static_cast<int>(k_first ? i % kK : i / kRows);
      const T* from;
      sTile[swizzled<kK>(r, k / 8) + k % 8] = r < x.rows && k < x.k && x.template find<kLoad>(r, k, from) ? *from : T{};
    }
  } else {
    constexpr bool kAlongK = kLoad == Load::kAlongK;
    constexpr int kLine = kAlongK ? kK : kRows, kLines = kAlongK ? kRows : kK, kChunks = kLine / 8;
    const int lines = kAlongK ? x.rows : x.k, length = kAlongK ? x.k : x.rows;
#pragma unroll
    for (int j = 0; j < kLines * kChunks / kThreads; ++j) {
      const int i = j * kThreads + static_cast<int>(threadIdx.x), line = i / kChunks, chunk = i % kChunks;
      const int elements = line < lines ? clamp_count(length - chunk * 8, 8) : 0;
      const T* from;
      const bool inside =
          elements > 0 && x.template find<kLoad>(kAlongK ? line : chunk * 8, kAlongK ? chunk * 8 : line, from);
      ptx::cp_async<16>(shared_address(sTile + swizzled<kLine>(line, chunk)), inside ? from : x.from,
                        inside ? elements * 2 : 0);
    }
  }
}

// Elements from one k to the next in a float tile of kRows rows.
template <class T>
constexpr int float_line(int rows) {
  return rows + (std::is_same_v<T, tf32> ? 8 : 4);
}

template <MatmulConfig kConfig, int kRows, Load kLoad, class T, class Operand>
__device__ inline void load_float_tile(T* sTile, const Operand& x) {
  constexpr int kThreads = kConfig.threads(), kK = kConfig.block_k, kLine = float_line<T>(kRows);
  static_assert(kRows * kK / 4 % kThreads == 0);
  if constexpr (kLoad == Load::kAlongRows) {
    constexpr int kPacks = kRows / 4;
#pragma unroll
    for (int j = 0; j < kK * kPacks / kThreads; ++j) {
      const int i = j * kThreads + static_cast<int>(threadIdx.x), k = i / kPacks, r = i % kPacks * 4;
      const int elements = k < x.k ? clamp_count(x.rows - r, 4) : 0;
      const T* from;
      const bool inside = elements > 0 && x.template find<kLoad>(r, k, from);
      ptx::cp_async<16>(shared_address(sTile + k * kLine + r), inside ? from : x.from, inside ? elements * 4 : 0);
    }
  } else {
    const bool k_first = x.k_first();
#pragma unroll 4
    for (int j = 0; j < kRows * kK / kThreads; ++j) {
      const unsigned i = j * kThreads + threadIdx.x;  // unsigned: divided by shifts
      const int r = static_cast<int>(k_first ? i / kK : i % kRows), k = static_cast<int>(k_first ? i % kK : i / kRows);
      const T* from;
      const bool inside = r < x.rows && k < x.k && x.template find<Load::kElements>(r, k, from);
      ptx::cp_async<4>(shared_address(sTile + k * kLine + r), inside ? from : x.from, inside ? 4 : 0);
    }
  }
}

// Elements of a stage's tile of kRows rows.
template <class T, MatmulConfig kConfig>
constexpr int tile_elements(int rows) {
  return kConfig.block_k * (sizeof(T) == 4 ? float_line<T>(rows) : rows);
}

template <MatmulConfig kConfig, int kRows, Load kLoad, class T, class Operand>
__device__ inline void load_tile(T* sTile, const Operand& x) {
  if constexpr (sizeof(T) == 4) {
    load_float_tile<kConfig, kRows, kLoad>(sTile, x);
  } else {
    load_half_tile<kConfig, kRows, kLoad>(sTile, x);
  }
}

}  // namespace fastattn::cuda
