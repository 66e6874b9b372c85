// The sums of a block's tile in the registers of its threads: clear, add a stage's product, add up, and the way to
// shared memory as (block_m, block_n + 8) floats, where rows 8 banks apart keep a fragment's stores from meeting.
#pragma once

#include "cuda/matmul/load.h"
#include "cuda/ptx/ldmatrix.h"
#include "cuda/ptx/mma.h"
#include "cuda/types.h"

namespace fastattn::cuda {

template <MatmulConfig kConfig>
inline constexpr int kSumsLine = kConfig.block_n + 8;

// The registers of a thread, and what is done to all of them.
template <int kRows, int kColumns>
struct SumRegisters {
  float r[kRows][kColumns];

  __device__ void clear() {
#pragma unroll
    for (auto& row : r) {
#pragma unroll
      for (float& x : row) x = 0.0f;
    }
  }

  __device__ void add(const SumRegisters& other) {
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
#pragma unroll
      for (int n = 0; n < kColumns; ++n) r[m][n] += other.r[m][n];
    }
  }
};

// A warp has a part of the tile, of m16n8 products on tensor cores: registers [m / 16 * kN / 8 + n / 8] are a
// product's.
template <MatmulConfig kConfig>
struct WarpSums : SumRegisters<kConfig.block_m / kConfig.units_m / 16 * (kConfig.block_n / kConfig.units_n / 8), 4> {
  static constexpr int kM = kConfig.block_m / kConfig.units_m, kN = kConfig.block_n / kConfig.units_n;
  static_assert(kM % 16 == 0 && kN % 16 == 0 && kConfig.block_k % 16 == 0);

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int first_row() { return static_cast<int>(threadIdx.x) / 32 / kConfig.units_n * kM; }
  __device__ static int first_column() { return static_cast<int>(threadIdx.x) / 32 % kConfig.units_n * kN; }
  __device__ float (&at(int m, int n))[4] { return this->r[m * (kN / 8) + n]; }

  __device__ void store(float* sSums) const {
#pragma unroll
    for (int m = 0; m < kM / 16; ++m) {
#pragma unroll
      for (int n = 0; n < kN / 8; ++n) {
        const float(&x)[4] = this->r[m * (kN / 8) + n];
        const int row = first_row() + m * 16 + lane() / 4, column = first_column() + n * 8 + lane() % 4 * 2;
        float* to = sSums + row * kSumsLine<kConfig> + column;
        *reinterpret_cast<Packed<float, 2>*>(to) = {{x[0], x[1]}};
        *reinterpret_cast<Packed<float, 2>*>(to + 8 * kSumsLine<kConfig>) = {{x[2], x[3]}};
      }
    }
  }
};

template <class T, MatmulConfig kConfig, Load kA, Load kB>
struct Sums : WarpSums<kConfig> {
  using Base = WarpSums<kConfig>;
  using Base::kM, Base::kN, Base::lane, Base::first_row, Base::first_column;

  __device__ static void load_a(uint32_t (&a)[4], const T* sA, int row, int k) {
    if constexpr (kA == Load::kAlongRows) {
      const int line = k + lane() / 16 * 8 + lane() % 8, chunk = row / 8 + lane() / 8 % 2;
      ptx::ldmatrix_trans(a, shared_address(sA + swizzled<kConfig.block_m>(line, chunk)));
    } else {
      const int line = row + lane() % 16, chunk = k / 8 + lane() / 16;
      ptx::ldmatrix(a, shared_address(sA + swizzled<kConfig.block_k>(line, chunk)));
    }
  }

  // Of 16 columns.
  __device__ static void load_b(uint32_t (&b)[4], const T* sB, int column, int k) {
    if constexpr (kB == Load::kAlongRows) {
      const int line = k + lane() % 16, chunk = column / 8 + lane() / 16;
      ptx::ldmatrix_trans(b, shared_address(sB + swizzled<kConfig.block_n>(line, chunk)));
    } else {
      const int line = column + lane() / 16 * 8 + lane() % 8, chunk = k / 8 + lane() / 8 % 2;
      ptx::ldmatrix(b, shared_address(sB + swizzled<kConfig.block_k>(line, chunk)));
    }
  }

  __device__ void add_product(const T* sA, const T* sB) {
#pragma unroll
    for (int k = 0; k < kConfig.block_k; k += 16) {
      uint32_t a[kM / 16][4], b[kN / 8][2];
#pragma unroll
      for (int m = 0; m < kM / 16; ++m) load_a(a[m], sA, first_row() + m * 16, k);
#pragma unroll
      for (int n = 0; n < kN / 8; n += 2) {
        uint32_t both[4];
        load_b(both, sB, first_column() + n * 8, k);
#pragma unroll
        for (int i = 0; i < 4; ++i) b[n + i / 2][i % 2] = both[i];
      }
#pragma unroll
      for (int m = 0; m < kM / 16; ++m) {
#pragma unroll
        for (int n = 0; n < kN / 8; ++n) ptx::mma_m16n8k16<T>(this->at(m, n), a[m], b[n], this->at(m, n));
      }
    }
  }
};

// Fragments of tf32 lie in shared memory as float does, and are rounded on their way to registers.
template <MatmulConfig kConfig, Load kA, Load kB>
struct Sums<tf32, kConfig, kA, kB> : WarpSums<kConfig> {
  using Base = WarpSums<kConfig>;
  using Base::kM, Base::kN, Base::lane, Base::first_row, Base::first_column;

  // Element (row, k) of an operand of kRows rows, from the lane's place in the fragment on.
  template <int kRows>
  __device__ static uint32_t load(const tf32* sTile, int row, int k) {
    return to_tf32(sTile[(k + lane() % 4) * float_line<tf32>(kRows) + row + lane() / 4].value);
  }

  __device__ void add_product(const tf32* sA, const tf32* sB) {
#pragma unroll
    for (int k = 0; k < kConfig.block_k; k += 8) {
      uint32_t a[kM / 16][4], b[kN / 8][2];
#pragma unroll
      for (int m = 0; m < kM / 16; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          a[m][i] = load<kConfig.block_m>(sA, first_row() + m * 16 + i % 2 * 8, k + i / 2 * 4);
        }
      }
#pragma unroll
      for (int n = 0; n < kN / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) b[n][i] = load<kConfig.block_n>(sB, first_column() + n * 8, k + i * 4);
      }
#pragma unroll
      for (int m = 0; m < kM / 16; ++m) {
#pragma unroll
        for (int n = 0; n < kN / 8; ++n) ptx::mma_m16n8k8_tf32(this->at(m, n), a[m], b[n], this->at(m, n));
      }
    }
  }
};

// A thread has 4x4 elements in each quarter (or all) of the tile: four at a time a pack from shared memory.
template <MatmulConfig kConfig, Load kA, Load kB>
struct Sums<float, kConfig, kA, kB>
    : SumRegisters<kConfig.block_m / kConfig.units_m, kConfig.block_n / kConfig.units_n> {
  static constexpr int kStepM = kConfig.units_m * 4, kStepN = kConfig.units_n * 4;
  static constexpr int kM = kConfig.block_m / kConfig.units_m, kN = kConfig.block_n / kConfig.units_n;
  static_assert(kM % 4 == 0 && kN % 4 == 0);
  using SumRegisters<kM, kN>::r;

  __device__ static int first_row() { return static_cast<int>(threadIdx.x) / kConfig.units_n * 4; }
  __device__ static int first_column() { return static_cast<int>(threadIdx.x) % kConfig.units_n * 4; }

  template <int n>
  __device__ static void load(float (&x)[n], const float* from, int step) {
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      const auto pack = *reinterpret_cast<const Packed<float, 4>*>(from + i / 4 * step);
#pragma unroll
      for (int v = 0; v < 4; ++v) x[i + v] = pack.at[v];
    }
  }

  __device__ void add_product(const float* sA, const float* sB) {
#pragma unroll
    for (int k = 0; k < kConfig.block_k; ++k) {
      float a[kM], b[kN];
      load(a, sA + k * float_line<float>(kConfig.block_m) + first_row(), kStepM);
      load(b, sB + k * float_line<float>(kConfig.block_n) + first_column(), kStepN);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int n = 0; n < kN; ++n) r[m][n] = fmaf(a[m], b[n], r[m][n]);
      }
    }
  }

  __device__ void store(float* sSums) const {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      const int row = first_row() + m / 4 * kStepM + m % 4;
#pragma unroll
      for (int n = 0; n < kN; n += 4) {
        float* to = sSums + row * kSumsLine<kConfig> + first_column() + n / 4 * kStepN;
        *reinterpret_cast<Packed<float, 4>*>(to) = {{r[m][n], r[m][n + 1], r[m][n + 2], r[m][n + 3]}};
      }
    }
  }
};

}  // namespace fastattn::cuda
