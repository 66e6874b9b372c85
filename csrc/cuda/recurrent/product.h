// The product of a step: the state of 32 rows of the batch, (32, K), by the weights of a tile of units, (K, kColumns).
//
// Stages of K come to shared memory by cp.async, some of them ahead (matmul/load.h). The tile is small, for the device
// to be full of them, so the warps share out K and not the tile: each has all sums of its quarter of every stage, of 16
// bits by mma.sync.m16n8k16 out of ldmatrix, of float by FMAs. The quarters meet in shared memory, in order.
//
// The state is float. Of 16-bit weights its product is that of two terms, h = high + low, which hold 16 bits of it in
// bf16 and 21 in f16; both meet the same weights in shared memory.
#pragma once

#include "cuda/host.h"
#include "cuda/matmul/sums.h"
#include "cuda/workspace.h"

namespace fastattn::cuda {

// kStepUnits: of a block, where it has all gates of them.
inline constexpr int kStepRows = 32, kStepUnits = 16, kStepWarps = 4, kStepThreads = kStepWarps * 32;

template <class T>
inline constexpr int kStateTerms = sizeof(T) == 4 ? 1 : 2;

// Stages for what a launch has of shared memory without asking, 48 KB: there is one a step.
template <class T, int kColumns>
constexpr MatmulConfig step_config() {
  return {kStepRows, kColumns, sizeof(T) == 4 ? 32 : 64, 1, kStepWarps, 32, kColumns < 48 ? 4 : 3};
}

// What a step's product reads of the step before, (B, K): of 16 bits its terms, along K; of float along the rows, which
// is how tiles of either are loaded by packs.
template <class T>
struct StepOperand {
  T* data;
  int64_t row, k, term;  // from one to the next

  StepOperand(T* base, int64_t B, int64_t K)
      : data(base),
        row(sizeof(T) == 4 ? 1 : round_up(K, 8)),
        k(sizeof(T) == 4 ? round_up(B, 4) : 1),
        term(round_up(B, 4) * round_up(K, 8)) {}
  int64_t elements() const { return term * kStateTerms<T>; }

  __device__ void store(int64_t b, int64_t at, float x) const {
    T* to = data + b * row + at * k;
    const T high = from_float<T>(x);
    to[0] = high;
    if constexpr (kStateTerms<T> == 2) {
      const float low = x - to_float(high);
      to[term] = from_float<T>(fabsf(low) < __builtin_inff() ? low : 0.0f);  // of what overflows
    }
  }
};

// Weights in the order of tiles, [tile][column][K] of 16 bits and [tile][K][column] of float, 0 where there are none.
template <class T>
struct StepWeights {
  T* data;
  int64_t K;
  int columns;

  int64_t tile_elements() const { return round_up(K, 8) * columns; }
  __device__ T* at(int64_t tile, int64_t column, int64_t k) const {
    const int64_t line = (K + 7) / 8 * 8;
    if constexpr (sizeof(T) == 4) return data + (tile * line + k) * columns + column;
    return data + (tile * columns + column) * line + k;
  }
};

// The sums of a warp.
template <class T, int kColumns>
struct StepSums : SumRegisters<kStepRows / 16 * (kColumns / 8), 4> {
  static constexpr MatmulConfig kConfig = step_config<T, kColumns>();
  static constexpr int kLine = kColumns + 8;  // floats from row to row of sums in shared memory
  static constexpr int kTermElements = tile_elements<T, kConfig>(kStepRows);
  static constexpr int kStageElements = kStateTerms<T> * kTermElements + tile_elements<T, kConfig>(kColumns);
  static_assert(kConfig.block_k == kStepWarps * 16);

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }

  __device__ void add_product(const T* sState, const T* sWeights) {
    uint32_t b[kColumns / 8][2];
#pragma unroll
    for (int n = 0; n < kColumns / 8; n += 2) {
      uint32_t both[4];
      const int line = n * 8 + lane() / 16 * 8 + lane() % 8, chunk = warp() * 2 + lane() / 8 % 2;
      ptx::ldmatrix(both, shared_address(sWeights + swizzled<kConfig.block_k>(line, chunk)));
#pragma unroll
      for (int i = 0; i < 4; ++i) b[n + i / 2][i % 2] = both[i];
    }
#pragma unroll
    for (int term = 0; term < kStateTerms<T>; ++term) {
#pragma unroll
      for (int m = 0; m < kStepRows / 16; ++m) {
        uint32_t a[4];
        const int line = m * 16 + lane() % 16, chunk = warp() * 2 + lane() / 16;
        ptx::ldmatrix(a, shared_address(sState + term * kTermElements + swizzled<kConfig.block_k>(line, chunk)));
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) {
          float(&sum)[4] = this->r[m * (kColumns / 8) + n];
          ptx::mma_m16n8k16<T>(sum, a, b[n], sum);
        }
      }
    }
  }

  __device__ void store(float* sSums) const {
    float* const to = sSums + (warp() * kStepRows + lane() / 4) * kLine + lane() % 4 * 2;
#pragma unroll
    for (int m = 0; m < kStepRows / 16; ++m) {
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n) {
        const float(&x)[4] = this->r[m * (kColumns / 8) + n];
        *reinterpret_cast<Packed<float, 2>*>(to + m * 16 * kLine + n * 8) = {{x[0], x[1]}};
        *reinterpret_cast<Packed<float, 2>*>(to + (m * 16 + 8) * kLine + n * 8) = {{x[2], x[3]}};
      }
    }
  }
};

// Of float a lane has 8 rows, 4 of each half, and two columns of every 16.
template <int kColumns>
struct StepSums<float, kColumns> : SumRegisters<8, kColumns / 8> {
  static constexpr MatmulConfig kConfig = step_config<float, kColumns>();
  static constexpr int kLine = kColumns + 8;
  static constexpr int kTermElements = tile_elements<float, kConfig>(kStepRows);
  static constexpr int kStageElements = kTermElements + tile_elements<float, kConfig>(kColumns);
  static constexpr int kWarpK = kConfig.block_k / kStepWarps;

  __device__ static int row() { return static_cast<int>(threadIdx.x) % 32 / 8 * 4; }
  __device__ static int column() { return static_cast<int>(threadIdx.x) % 8 * 2; }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }

  __device__ void add_product(const float* sState, const float* sWeights) {
#pragma unroll
    for (int i = 0; i < kWarpK; ++i) {
      const int k = warp() * kWarpK + i;
      float a[8], b[kColumns / 8];
#pragma unroll
      for (int m = 0; m < 8; m += 4) {
        const auto pack =
            *reinterpret_cast<const Packed<float, 4>*>(sState + k * float_line<float>(kStepRows) + row() + m * 4);
#pragma unroll
        for (int v = 0; v < 4; ++v) a[m + v] = pack.at[v];
      }
#pragma unroll
      for (int n = 0; n < kColumns / 8; n += 2) {
        const auto pack =
            *reinterpret_cast<const Packed<float, 2>*>(sWeights + k * float_line<float>(kColumns) + column() + n * 8);
        b[n] = pack.at[0];
        b[n + 1] = pack.at[1];
      }
#pragma unroll
      for (int m = 0; m < 8; ++m) {
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) this->r[m][n] = fmaf(a[m], b[n], this->r[m][n]);
      }
    }
  }

  __device__ void store(float* sSums) const {
#pragma unroll
    for (int m = 0; m < 8; ++m) {
      float* const to = sSums + (warp() * kStepRows + row() + m % 4 + m / 4 * 16) * kLine + column();
#pragma unroll
      for (int n = 0; n < kColumns / 8; n += 2) {
        *reinterpret_cast<Packed<float, 2>*>(to + n * 8) = {{this->r[m][n], this->r[m][n + 1]}};
      }
    }
  }
};

template <class T, int kColumns>
constexpr size_t step_shared_bytes() {
  using Sums = StepSums<T, kColumns>;
  constexpr size_t kStages = sizeof(T) * Sums::kStageElements * Sums::kConfig.stages;
  constexpr size_t kSums = sizeof(float) * kStepWarps * kStepRows * Sums::kLine;
  static_assert(kStages <= 48 << 10 && kSums <= 48 << 10);
  return kStages > kSums ? kStages : kSums;
}

// Leaves the warps' sums in sMemory; step_sum adds them up. All threads of the block take part.
template <class T, int kColumns>
__device__ inline void step_product(unsigned char* sMemory, const StepOperand<T>& state, int64_t first_row, int rows,
                                    const StepWeights<T>& weights, int64_t tile) {
  using Sums = StepSums<T, kColumns>;
  constexpr MatmulConfig kConfig = Sums::kConfig;
  constexpr Load kLoad = sizeof(T) == 4 ? Load::kAlongRows : Load::kAlongK;
  T* const sStages = reinterpret_cast<T*>(sMemory);
  const int64_t K = weights.K;
  const T* const a0 = state.data + first_row * state.row;
  const int64_t column_stride = sizeof(T) == 4 ? 1 : (K + 7) / 8 * 8, k_stride = sizeof(T) == 4 ? kColumns : 1;
  const T* const b0 = weights.at(tile, 0, 0);
  int64_t ahead = 0;
  int load_slot = 0, slot = 0;
  auto load_stage = [&] {
    if (ahead < K) {
      T* sTile = sStages + load_slot * Sums::kStageElements;
      const int k = clamp_count(K - ahead, kConfig.block_k);
#pragma unroll
      for (int term = 0; term < kStateTerms<T>; ++term) {
        const OperandTile<T> a{a0 + term * state.term + ahead * state.k, state.row, state.k, rows, k};
        load_tile<kConfig, kStepRows, kLoad>(sTile + term * Sums::kTermElements, a);
      }
      const OperandTile<T> b{b0 + ahead * k_stride, column_stride, k_stride, kColumns, k};
      load_tile<kConfig, kColumns, kLoad>(sTile + kStateTerms<T> * Sums::kTermElements, b);
      load_slot = load_slot + 1 == kConfig.stages ? 0 : load_slot + 1;
      ahead += kConfig.block_k;
    }
    ptx::cp_async_commit();  // an empty group too, so that the count of groups is that of stages
  };

  Sums sums;
  sums.clear();
  for (int i = 0; i < kConfig.stages - 1; ++i) load_stage();
  for (int64_t k = 0; k < K; k += kConfig.block_k) {
    ptx::cp_async_wait<kConfig.stages - 2>();
    __syncthreads();  // the stage is there for all, and all have done with the one before
    load_stage();
    const T* sTile = sStages + slot * Sums::kStageElements;
    sums.add_product(sTile, sTile + kStateTerms<T> * Sums::kTermElements);
    slot = slot + 1 == kConfig.stages ? 0 : slot + 1;
  }
  ptx::cp_async_wait<0>();
  __syncthreads();
  sums.store(reinterpret_cast<float*>(sMemory));
  __syncthreads();
}

template <class T, int kColumns>
__device__ inline float step_sum(const unsigned char* sMemory, int row, int column) {
  constexpr int kLine = StepSums<T, kColumns>::kLine;
  const float* x = reinterpret_cast<const float*>(sMemory) + row * kLine + column;
  float sum = x[0];
#pragma unroll
  for (int w = 1; w < kStepWarps; ++w) sum += x[w * kStepRows * kLine];
  return sum;
}

}  // namespace fastattn::cuda
