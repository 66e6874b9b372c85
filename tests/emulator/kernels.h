// The kernels of these tests, by the host functions that launch them. Kernels live in kernels/, in sources that g++ and
// nvcc both compile; a Bug is planted by a template argument.
#pragma once

#include <cstdint>

#include "common/half.h"

namespace emulator_test {

enum class Bug {
  kNone,
  kMissingBarrier,
  kDivergentShuffle,
  kBarrierCount,
  kDeadlock,
  kUnguardedRow,
  kSharedOutOfBounds,
  kStageOverwritten,
  kWaitCount,
  kWrongSwizzle,
  kSwappedRegisters,
  kUnsetAccumulator,
  kExitedLane,
  kDivergentBarrier,
  kMissingSyncwarp,
  kMissingFence,
  kMissingAcquire,
  kSpin,
  kCopyWithoutBarrier,
};

// blocks.cu
// out[row] = sum of row, one block of 128 threads a row; x: (rows, n)
void run_row_sums(const float* x, float* out, int rows, int n, Bug bug);
// Inclusive sums along n <= 1024 elements, warp scans joined through shared memory; of the block's votes three more.
void run_scan(const int* x, int* out, int n, Bug bug);
// One sum over all blocks, the last block to finish adds up the parts; out: 1.
void run_grid_sum(const float* x, float* parts, unsigned* counter, float* out, int n, Bug bug);
// Block 1 waits for block 0's flag, then reads what it wrote; out = 3 * in.
void run_hand_over(const float* in, float* between, uint32_t* flag, float* out, int n, Bug bug);
// A producer warp fills a buffer for three consumer warps, twice over, through named barriers; out = in + 1.
void run_named_barriers(const float* in, float* out, int n, Bug bug);
// Counts of the values 0 to 31, by atomics in shared and in global memory.
void run_histogram(const int* x, int* counts, int n);
// Each of 100 threads takes part in five kinds of atomics and adds 1 to a counter under a lock; out: 6.
void run_atomics(unsigned* lock, int* out);
// A warp reverses 32 values through shared memory.
void run_warp_reverse(const float* in, float* out, Bug bug);

// matmul_tile.cu: C = A B in float; A: (M, K), B: (K, N), row-major. 16x16 tiles in shared memory.
void run_matmul_tile(const float* a, const float* b, float* c, int M, int N, int K, Bug bug);

// matmul_mma.cu: C = A B^T; A: (M, K) with lda, B: (N, K) with ldb, rows a multiple of 8 elements apart; C: (M, N)
// float.
template <class T>
void run_matmul_mma(const T* a, const T* b, float* c, int M, int N, int K, int lda, int ldb, Bug bug);

// instructions.cu: one warp, operands of each lane in and out of global memory.
void run_shuffle(int kind, unsigned mask, int width, const int* argument, const uint64_t* in, uint64_t* out);
// out: 9 words a lane: ballot, any, all, add, min, max, and, or, xor
void run_votes(unsigned mask, const int* in, int* out);
// memory: 2 KB that are copied to shared memory; address: a byte offset per lane; registers: matrices per lane
void run_ldmatrix(int matrices, bool transposed, const uint16_t* memory, const uint32_t* address, uint32_t* registers);
void run_stmatrix(int matrices, bool transposed, uint16_t* memory, const uint32_t* address, const uint32_t* registers);
enum class MmaType { kBf16, kF16, kTf32 };
void run_mma(MmaType type, const uint32_t* a, const uint32_t* b, const float* c, float* d);
// 32 copies of `bytes` each; source_bytes per lane
void run_cp_async(int bytes, const uint8_t* in, const int* source_bytes, uint8_t* out);
// Each of n: bf16 and f16 of x (as bits and back), both packed, tf32, exp2.
struct Converted {
  float bf16_value, f16_value, exp2;
  uint32_t bf16_pair, f16_pair, tf32;
  uint16_t bf16_bits, f16_bits;
};
void run_convert(const float* x, Converted* out, int n);
void run_half_values(float* bf16_values, float* f16_values);  // of all 65536 patterns

}  // namespace emulator_test
