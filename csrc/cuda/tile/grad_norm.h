// The norm of a list of gradients, for grad_norm.cu and for the clipping in adam.cu.
#pragma once

#include "cuda/shared.h"
#include "cuda/tile/number.h"
#include "cuda/tile/tensor_list.h"

namespace fastattn::cuda {

// The sum of x over the block's threads, by a fixed tree; the first thread has it.
__device__ inline double sum_block(double x, double* sParts) {
  const int thread = static_cast<int>(threadIdx.x);
  sParts[thread] = x;
  for (int half = kListThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) sParts[thread] += sParts[thread + half];
  }
  return sParts[0];
}

// parts: one for each block.
template <class T, int kVec>
__global__ void __launch_bounds__(kListThreads)
    squares_kernel(const __grid_constant__ TensorList<1> list, double* parts) {
  SHARED_ARRAY(double, sParts, 16, kListThreads);
  const Chunk chunk = list.chunk(static_cast<int>(blockIdx.x));
  double sum[kVec] = {};
  for_each_pack<kVec>(chunk, [&](int64_t i) {
    float g[kVec];
    load_pack(g, list.at<const T>(0, chunk.tensor), i, chunk.end);
#pragma unroll
    for (int v = 0; v < kVec; ++v) sum[v] += double{g[v]} * double{g[v]};
  });
#pragma unroll
  for (int v = 1; v < kVec; ++v) sum[0] += sum[v];
  const double total = sum_block(sum[0], sParts);
  if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

// total = |scale| * sqrt(the sum of the parts), by one block.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    norm_kernel(const double* parts, int64_t count, const __grid_constant__ Number scale, double* total) {
  SHARED_ARRAY(double, sParts, 16, kThreads);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += parts[i];
  sum = sum_block(sum, sParts);
  if (threadIdx.x == 0) *total = fabs(scale.load()) * sqrt(sum);
}

inline size_t norm_workspace(const fa_tensor* tensors, int64_t count) {
  return static_cast<size_t>(total_chunks(tensors, count)) * sizeof(double);
}

template <class T>
fa_status run_grad_norm(const fa_tensor* tensors, int64_t count, const Number& scale, double* total,
                        fa_launch& launch) {
  auto* parts = static_cast<double*>(launch.workspace);
  int64_t blocks = 0;
  const char* error = for_each_list<1>({tensors}, count, [&](const TensorList<1>& list, bool aligned) {
    const int32_t here = list.first_block[list.count];
    const LaunchConfig config{dim3(static_cast<unsigned>(here)), dim3(kListThreads), 0, launch.stream};
    const char* wrong =
        cuda::launch(aligned ? squares_kernel<T, 4> : squares_kernel<T, 1>, config, list, parts + blocks);
    blocks += here;
    return wrong;
  });
  if (error == nullptr) {
    const LaunchConfig config{dim3(1), dim3(kListThreads), 0, launch.stream};
    error = cuda::launch(norm_kernel<kListThreads>, config, parts, blocks, scale, total);
  }
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace fastattn::cuda
