// C = A B^T on tensor cores: a 64x64 tile of C to a block of four warps (2x2, 32x32 each), K in blocks of 64, three
// stages of cp.async in flight, and an XOR swizzle, so that neither the copies nor ldmatrix meet a bank twice: a row of
// a stage is 8 chunks of 16 bytes, and chunk c of row r lies at place c ^ (r % 8).
#include "cuda/launch.h"
#include "cuda/ptx/cp_async.h"
#include "cuda/ptx/ldmatrix.h"
#include "cuda/ptx/mma.h"
#include "cuda/shared.h"
#include "emulator/kernels.h"

namespace emulator_test {
namespace {

using namespace fastattn::cuda;

constexpr int kBlockM = 64, kBlockN = 64, kBlockK = 64, kStages = 3, kThreads = 128;
constexpr int kChunk = 8;                                      // elements of 16 bytes
constexpr int kStageElements = (kBlockM + kBlockN) * kBlockK;  // A's rows, then B's
constexpr int kWarpM = 32, kWarpN = 32;

template <class T>
struct Operand {
  const T* data;
  int rows, K, ld;
};

__device__ inline int swizzled(int row, int chunk, int mask = 7) {
  return row * kBlockK + (chunk ^ (row & mask)) * kChunk;
}

// Rows row0... and columns k0... of an operand into a stage; what lies outside of it becomes 0.
template <class T>
__device__ inline void load_tile(T* sTile, const Operand<T>& x, int row0, int k0) {
  constexpr int kChunks = kBlockM * kBlockK / kChunk;
  for (int i = static_cast<int>(threadIdx.x); i < kChunks; i += kThreads) {
    const int r = i / (kBlockK / kChunk), chunk = i % (kBlockK / kChunk);
    const int row = row0 + r, k = k0 + chunk * kChunk;
    int elements = row < x.rows ? x.K - k : 0;
    elements = elements < 0 ? 0 : elements > kChunk ? kChunk : elements;
    const T* from = elements > 0 ? x.data + static_cast<size_t>(row) * x.ld + k : x.data;
    ptx::cp_async<16>(shared_address(sTile + swizzled(r, chunk)), from, elements * 2);  // [copy into a stage]
  }
}

template <class T, Bug kBug>
__global__ void matmul_mma_kernel(Operand<T> a, Operand<T> b, float* c) {
  SHARED_DYN(T, sStages);
  const int warp_idx = static_cast<int>(threadIdx.x) / 32, lane_idx = static_cast<int>(threadIdx.x) % 32;
  const int m0 = static_cast<int>(blockIdx.y) * kBlockM, n0 = static_cast<int>(blockIdx.x) * kBlockN;
  const int warp_m = warp_idx / 2 * kWarpM, warp_n = warp_idx % 2 * kWarpN;
  const int k_blocks = (a.K + kBlockK - 1) / kBlockK;

  auto load_stage = [&](int k_block) {
    if (k_block < k_blocks) {
      T* stage = sStages + k_block % kStages * kStageElements;
      load_tile(stage, a, m0, k_block * kBlockK);
      load_tile(stage + kBlockM * kBlockK, b, n0, k_block * kBlockK);
    }
    ptx::cp_async_commit();  // an empty group too, so that the count of groups is that of K blocks
  };

  float rC[kWarpM / 16][kWarpN / 8][4];
  if constexpr (kBug != Bug::kUnsetAccumulator) {
    for (auto& row : rC) {
      for (auto& tile : row) {
        for (float& x : tile) x = 0;
      }
    }
  }

  for (int k_block = 0; k_block < kStages - 1; ++k_block) load_stage(k_block);
  for (int k_block = 0; k_block < k_blocks; ++k_block) {
    ptx::cp_async_wait<kBug == Bug::kWaitCount ? kStages - 1 : kStages - 2>();
    if constexpr (kBug == Bug::kStageOverwritten) load_stage(k_block + kStages - 1);  // others may still read it
    __syncthreads();  // the block k_block is there for all, and all have done with the one before
    if constexpr (kBug != Bug::kStageOverwritten) load_stage(k_block + kStages - 1);

    const T* sA = sStages + k_block % kStages * kStageElements;
    const T* sB = sA + kBlockM * kBlockK;
    for (int k = 0; k < kBlockK; k += 16) {
      constexpr int kMask = kBug == Bug::kWrongSwizzle ? 3 : 7;
      uint32_t rA[kWarpM / 16][4], rB[kWarpN / 8][2];
      for (int m = 0; m < kWarpM / 16; ++m) {
        const int row = warp_m + m * 16 + lane_idx % 16, chunk = k / kChunk + lane_idx / 16;
        ptx::ldmatrix(rA[m], shared_address(sA + swizzled(row, chunk, kMask)));  // [read of A]
      }
      for (int n = 0; n < kWarpN / 8; n += 2) {
        const int row = warp_n + n * 8 + lane_idx % 8 + lane_idx / 16 * 8, chunk = k / kChunk + lane_idx / 8 % 2;
        uint32_t r[4];
        ptx::ldmatrix(r, shared_address(sB + swizzled(row, chunk, kMask)));  // [read of B]
        for (int i = 0; i < 4; ++i) rB[n + i / 2][i % 2] = r[i];
      }
      for (int m = 0; m < kWarpM / 16; ++m) {
        if constexpr (kBug == Bug::kSwappedRegisters) {
          const uint32_t kept = rA[m][1];
          rA[m][1] = rA[m][2];
          rA[m][2] = kept;
        }
        for (int n = 0; n < kWarpN / 8; ++n) ptx::mma_m16n8k16<T>(rC[m][n], rA[m], rB[n], rC[m][n]);  // [mma]
      }
    }
  }
  ptx::cp_async_wait<0>();

  for (int m = 0; m < kWarpM / 16; ++m) {
    for (int n = 0; n < kWarpN / 8; ++n) {
      for (int r = 0; r < 4; ++r) {
        const int row = m0 + warp_m + m * 16 + lane_idx / 4 + r / 2 * 8;
        const int column = n0 + warp_n + n * 8 + lane_idx % 4 * 2 + r % 2;
        if (row < a.rows && column < b.rows) c[static_cast<size_t>(row) * b.rows + column] = rC[m][n][r];
      }
    }
  }
}

}  // namespace

template <class T>
void run_matmul_mma(const T* a, const T* b, float* c, int M, int N, int K, int lda, int ldb, Bug bug) {
  const LaunchConfig config{
      dim3(static_cast<unsigned>((N + kBlockN - 1) / kBlockN), static_cast<unsigned>((M + kBlockM - 1) / kBlockM)),
      dim3(kThreads), kStages * kStageElements * sizeof(T)};
  auto kernel = matmul_mma_kernel<T, Bug::kNone>;
  if (bug == Bug::kStageOverwritten) kernel = matmul_mma_kernel<T, Bug::kStageOverwritten>;
  if (bug == Bug::kWaitCount) kernel = matmul_mma_kernel<T, Bug::kWaitCount>;
  if (bug == Bug::kWrongSwizzle) kernel = matmul_mma_kernel<T, Bug::kWrongSwizzle>;
  if (bug == Bug::kSwappedRegisters) kernel = matmul_mma_kernel<T, Bug::kSwappedRegisters>;
  if (bug == Bug::kUnsetAccumulator) kernel = matmul_mma_kernel<T, Bug::kUnsetAccumulator>;
  launch(kernel, config, Operand<T>{a, M, K, lda}, Operand<T>{b, N, K, ldb}, c);
}

template void run_matmul_mma(const fastattn::bf16*, const fastattn::bf16*, float*, int, int, int, int, int, Bug);
template void run_matmul_mma(const fastattn::f16*, const fastattn::f16*, float*, int, int, int, int, int, Bug);

}  // namespace emulator_test
