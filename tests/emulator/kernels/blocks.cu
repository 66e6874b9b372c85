// Kernels about threads, warps, blocks and what orders them. A comment with a name in brackets marks a line that a test
// expects in a report.
#include "cuda/launch.h"
#include "cuda/ptx/atomic.h"
#include "cuda/ptx/barrier.h"
#include "cuda/shared.h"
#include "emulator/kernels.h"

namespace emulator_test {
namespace {

using namespace fastattn::cuda;

constexpr unsigned kFullMask = 0xffffffff;
constexpr int kThreads = 128, kWarps = kThreads / 32;

template <Bug kBug>
__device__ float warp_sum(float x) {
  for (int step = 16; step > 0; step /= 2) {
    if constexpr (kBug == Bug::kDivergentShuffle) {
      if (threadIdx.x % 32 < 16) {
        x += __shfl_xor_sync(kFullMask, x, step);  // [divergent shuffle, low lanes]
      } else {
        x += __shfl_xor_sync(kFullMask, x, step);  // [divergent shuffle, high lanes]
      }
    } else {
      x += __shfl_xor_sync(kFullMask, x, step);  // [shuffle of warp_sum]
    }
  }
  return x;
}

template <Bug kBug>
__global__ void row_sums_kernel(const float* x, float* out, int n) {
  SHARED_ARRAY(float, sSums, 16, kWarps);
  const int warp_idx = static_cast<int>(threadIdx.x) / 32, lane_idx = static_cast<int>(threadIdx.x) % 32;
  const float* row = x + static_cast<size_t>(blockIdx.x) * n;
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) sum += row[i];
  if (kBug == Bug::kExitedLane && threadIdx.x == 5) return;
  sum = warp_sum<kBug>(sum);
  const int slot = kBug == Bug::kSharedOutOfBounds ? warp_idx + 1 : warp_idx;
  if (lane_idx == 0) sSums[slot] = sum;  // [write of the warp's sum]
  if constexpr (kBug == Bug::kDivergentBarrier) {
    if (warp_idx == 0) {
      __syncthreads();  // [divergent barrier, warp 0]
    } else {
      __syncthreads();  // [divergent barrier, others]
    }
  } else if constexpr (kBug != Bug::kMissingBarrier) {
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    float total = 0;
    for (int w = 0; w < kWarps; ++w) total += sSums[w];  // [read of the warps' sums]
    out[blockIdx.x] = total;
  }
}

__global__ void scan_kernel(const int* x, int* out, int n) {
  SHARED_ARRAY(int, sTotals, 4, 32);
  const int i = static_cast<int>(threadIdx.x), warp_idx = i / 32, lane_idx = i % 32;
  const int mine = i < n ? x[i] : 0;
  int sum = mine;
  for (int step = 1; step < 32; step *= 2) {
    const int below = __shfl_up_sync(kFullMask, sum, step);
    if (lane_idx >= step) sum += below;
  }
  if (lane_idx == 31) sTotals[warp_idx] = sum;
  __syncthreads();
  for (int w = 0; w < warp_idx; ++w) sum += sTotals[w];
  if (i < n) out[i] = sum;
  const int odd = __syncthreads_count(mine % 2 != 0);
  const int all_small = __syncthreads_and(mine < 1000), any_big = __syncthreads_or(mine > 98);
  if (i == 0) {
    out[n] = odd;
    out[n + 1] = all_small;
    out[n + 2] = any_big;
  }
}

// Warp 0 leaves before the others' barrier only if it may: __syncthreads waits for the threads that are left.
__global__ void early_exit_kernel(const int* x, int* out, int n) {
  SHARED_ARRAY(int, sCopy, 4, 1024);
  if (threadIdx.x < 32) return;
  const int i = static_cast<int>(threadIdx.x) - 32;
  if (i < n) sCopy[i] = x[i];
  __syncthreads();
  if (i < n) out[i] = sCopy[n - 1 - i];
}

template <Bug kBug>
__global__ void grid_sum_kernel(const float* x, float* parts, unsigned* counter, float* out, int n) {
  SHARED_ARRAY(float, sSums, 16, kWarps);
  SHARED_ARRAY(unsigned, sTicket, 4, 1);
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const float sum = warp_sum<Bug::kNone>(i < n ? x[i] : 0.0f);
  if (threadIdx.x % 32 == 0) sSums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (int w = 0; w < kWarps; ++w) total += sSums[w];
    parts[blockIdx.x] = total;  // [write of a block's part]
    if constexpr (kBug != Bug::kMissingFence) __threadfence();
    sTicket[0] = atomicAdd(counter, 1u);
    __threadfence();
  }
  __syncthreads();
  if (sTicket[0] == gridDim.x - 1 && threadIdx.x == 0) {
    float total = 0;
    for (unsigned b = 0; b < gridDim.x; ++b) total += parts[b];  // [read of all parts]
    *out = total;
  }
}

template <Bug kBug>
__global__ void hand_over_kernel(const float* in, float* between, uint32_t* flag, float* out, int n) {
  const int i = static_cast<int>(threadIdx.x);
  if (blockIdx.x == 0) {
    if (i < n) between[i] = 2 * in[i];  // [write of what is handed over]
    if constexpr (kBug != Bug::kMissingBarrier) __syncthreads();
    if (i == 0 && kBug != Bug::kSpin) ptx::store_release(flag, 1);
  } else {
    if (i == 0) {
      if constexpr (kBug == Bug::kMissingAcquire) {
        while (atomicAdd(flag, 0u) == 0) {
        }
      } else {
        while (ptx::load_acquire(flag) == 0) {  // [poll of the flag]
        }
      }
    }
    __syncthreads();
    if (i < n) out[i] = between[i] + in[i];  // [read of what is handed over]
  }
}

enum Barriers { kFull = 1, kEmpty = 2 };

template <Bug kBug>
__global__ void named_barriers_kernel(const float* in, float* out, int n) {
  constexpr int kConsumers = kThreads - 32;
  SHARED_ARRAY(float, sBuffer, 16, kConsumers);
  const int warp_idx = static_cast<int>(threadIdx.x) / 32;
  const int blocks = (n + kConsumers - 1) / kConsumers;
  if (warp_idx == 0) {  // the producer
    for (int block = 0; block < blocks; ++block) {
      if (block > 0) ptx::barrier_sync(kEmpty, kThreads);  // [producer waits]
      for (int i = static_cast<int>(threadIdx.x); i < kConsumers; i += 32) {
        const int at = block * kConsumers + i;
        sBuffer[i] = at < n ? in[at] : 0.0f;
      }
      if (kBug != Bug::kDeadlock) ptx::barrier_arrive(kFull, kThreads);  // [producer arrives]
    }
  } else {
    for (int block = 0; block < blocks; ++block) {
      constexpr int kCount = kBug == Bug::kBarrierCount ? kConsumers : kThreads;
      ptx::barrier_sync(kFull, kCount);  // [consumer waits]
      const int i = static_cast<int>(threadIdx.x) - 32, at = block * kConsumers + i;
      if (at < n) out[at] = sBuffer[i] + 1;
      if (block + 1 < blocks) ptx::barrier_arrive(kEmpty, kThreads);
    }
  }
}

__global__ void histogram_kernel(const int* x, int* counts, int n) {
  SHARED_ARRAY(int, sCounts, 4, 32);
  if (threadIdx.x < 32) sCounts[threadIdx.x] = 0;
  __syncthreads();
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) atomicAdd(&sCounts[x[i]], 1);
  __syncthreads();
  if (threadIdx.x < 32) atomicAdd(&counts[threadIdx.x], sCounts[threadIdx.x]);
}

__global__ void atomics_kernel(unsigned* lock, int* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(out, i);
  atomicMin(out + 1, i);
  atomicMax(out + 2, i);
  atomicOr(out + 3, 1 << i % 30);
  atomicExch(out + 4, i);
  while (atomicCAS(lock, 0u, 1u) != 0) {
  }
  __threadfence();
  out[5] += 1;
  __threadfence();
  atomicExch(lock, 0u);
}

template <Bug kBug>
__global__ void warp_reverse_kernel(const float* in, float* out, size_t bytes) {
  SHARED_DYN(float, sRow);
  if constexpr (kBug == Bug::kCopyWithoutBarrier) {
    if (threadIdx.x == 0) memcpy(sRow, in, bytes);  // [lane's copy]
  } else {
    sRow[threadIdx.x] = in[threadIdx.x];  // [lane's write]
  }
  if constexpr (kBug != Bug::kNone) {
    __shfl_sync(kFullMask, 0, 0);  // brings the lanes together, and orders nothing
  } else {
    __syncwarp();
  }
  out[threadIdx.x] = sRow[31 - threadIdx.x];  // [other lane's read]
}

}  // namespace

void run_row_sums(const float* x, float* out, int rows, int n, Bug bug) {
  const LaunchConfig config{dim3(static_cast<unsigned>(rows)), dim3(kThreads)};
  switch (bug) {
    case Bug::kMissingBarrier: launch(row_sums_kernel<Bug::kMissingBarrier>, config, x, out, n); break;
    case Bug::kDivergentShuffle: launch(row_sums_kernel<Bug::kDivergentShuffle>, config, x, out, n); break;
    case Bug::kExitedLane: launch(row_sums_kernel<Bug::kExitedLane>, config, x, out, n); break;
    case Bug::kDivergentBarrier: launch(row_sums_kernel<Bug::kDivergentBarrier>, config, x, out, n); break;
    case Bug::kSharedOutOfBounds: launch(row_sums_kernel<Bug::kSharedOutOfBounds>, config, x, out, n); break;
    default: launch(row_sums_kernel<Bug::kNone>, config, x, out, n);
  }
}

void run_scan(const int* x, int* out, int n, Bug bug) {
  const LaunchConfig config{dim3(1),
                            dim3(static_cast<unsigned>((n + 31) / 32 * 32 + (bug == Bug::kExitedLane ? 32 : 0)))};
  launch(bug == Bug::kExitedLane ? early_exit_kernel : scan_kernel, config, x, out, n);
}

void run_grid_sum(const float* x, float* parts, unsigned* counter, float* out, int n, Bug bug) {
  const LaunchConfig config{dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads)), dim3(kThreads)};
  auto kernel = bug == Bug::kMissingFence ? grid_sum_kernel<Bug::kMissingFence> : grid_sum_kernel<Bug::kNone>;
  launch(kernel, config, x, parts, counter, out, n);
}

void run_hand_over(const float* in, float* between, uint32_t* flag, float* out, int n, Bug bug) {
  auto kernel = hand_over_kernel<Bug::kNone>;
  if (bug == Bug::kMissingBarrier) kernel = hand_over_kernel<Bug::kMissingBarrier>;
  if (bug == Bug::kMissingAcquire) kernel = hand_over_kernel<Bug::kMissingAcquire>;
  if (bug == Bug::kSpin) kernel = hand_over_kernel<Bug::kSpin>;
  launch(kernel, {dim3(2), dim3(kThreads)}, in, between, flag, out, n);
}

void run_named_barriers(const float* in, float* out, int n, Bug bug) {
  auto kernel = named_barriers_kernel<Bug::kNone>;
  if (bug == Bug::kBarrierCount) kernel = named_barriers_kernel<Bug::kBarrierCount>;
  if (bug == Bug::kDeadlock) kernel = named_barriers_kernel<Bug::kDeadlock>;
  launch(kernel, {dim3(1), dim3(kThreads)}, in, out, n);
}

void run_histogram(const int* x, int* counts, int n) {
  launch(histogram_kernel, {dim3(static_cast<unsigned>((n + 95) / 96)), dim3(96)}, x, counts, n);
}

void run_atomics(unsigned* lock, int* out) { launch(atomics_kernel, {dim3(4), dim3(25)}, lock, out); }

void run_warp_reverse(const float* in, float* out, Bug bug) {
  auto kernel = warp_reverse_kernel<Bug::kNone>;
  if (bug == Bug::kMissingSyncwarp) kernel = warp_reverse_kernel<Bug::kMissingSyncwarp>;
  if (bug == Bug::kCopyWithoutBarrier) kernel = warp_reverse_kernel<Bug::kCopyWithoutBarrier>;
  launch(kernel, {dim3(1), dim3(32), 32 * sizeof(float)}, in, out, 32 * sizeof(float));
}

}  // namespace emulator_test
