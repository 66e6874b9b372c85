// C = A B in float, a 16x16 tile of C to a block of 256 threads, tiles of A and B in shared memory: the textbook's.
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "emulator/kernels.h"

namespace emulator_test {
namespace {

using namespace fastattn::cuda;

constexpr int kTile = 16;

template <Bug kBug>
__global__ void matmul_tile_kernel(const float* a, const float* b, float* c, int M, int N, int K) {
  SHARED_ARRAY(float, sA, 16, kTile* kTile);
  SHARED_ARRAY(float, sB, 16, kTile* kTile);
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int row = static_cast<int>(blockIdx.y) * kTile + y, column = static_cast<int>(blockIdx.x) * kTile + x;
  float sum = 0;
  for (int k0 = 0; k0 < K; k0 += kTile) {
    const bool in_a = (kBug == Bug::kUnguardedRow || row < M) && k0 + x < K;
    sA[y * kTile + x] = in_a ? a[row * K + k0 + x] : 0.0f;  // [read of A]
    sB[y * kTile + x] = k0 + y < K && column < N ? b[(k0 + y) * N + column] : 0.0f;
    __syncthreads();
    for (int k = 0; k < kTile; ++k) sum += sA[y * kTile + k] * sB[k * kTile + x];
    __syncthreads();
  }
  if (row < M && column < N) c[row * N + column] = sum;
}

}  // namespace

void run_matmul_tile(const float* a, const float* b, float* c, int M, int N, int K, Bug bug) {
  const LaunchConfig config{
      dim3(static_cast<unsigned>((N + kTile - 1) / kTile), static_cast<unsigned>((M + kTile - 1) / kTile)),
      dim3(kTile, kTile)};
  auto kernel = bug == Bug::kUnguardedRow ? matmul_tile_kernel<Bug::kUnguardedRow> : matmul_tile_kernel<Bug::kNone>;
  launch(kernel, config, a, b, c, M, N, K);
}

}  // namespace emulator_test
