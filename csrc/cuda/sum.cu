// sum: out = scale * the sum of x over some of its axes.
//
//   x any shape, any strides: K kept elements, each the sum of S      out (K)
//
// Where the last axis is summed, an output belongs to a warp (S <= 1024, eight to a block) or, for a part of at most
// 16384 summands, to a block. Where it is kept, a block of 256 threads sums 32 columns (or packs of columns, 16 bytes a
// thread) over a part of the summed elements, dealt to its 8 warps. With more parts than one they go through the
// workspace and a second kernel adds them in order; so the order of a sum is a function of the shape and dtype alone.
//
// x is read once, by 16 bytes where it lies so: the roofline is DRAM's bandwidth, S K elements; parts cost 8 bytes for
// each 16384 elements, or for 32 rows of columns.
//
// Source: derived; as the gradient of a norm's weight (tile/norm.h).
// Not yet: a last axis that is not the fastest is read with its stride, not by lines.
#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {
namespace {

constexpr int kThreads = 256, kColumns = 32, kLanes = kThreads / kColumns;
constexpr int64_t kWarpSummands = 1024;           // up to here a warp sums a row
constexpr int64_t kPartSummands = 64 * kThreads;  // of a row, at least
constexpr int64_t kPartRows = 32;                 // of columns, at least
constexpr int64_t kMostRowParts = 1024, kMostColumnParts = 128;

template <class T>
struct Problem {
  const T* x;   // (K, S)
  T* out;       // (K)
  float* part;  // (parts, K)
  float scale;
  int64_t parts, part_size;  // of S
  Rows<2> kept;              // of x and out
  Rows<1> summed;
};

template <class T>
__device__ inline int64_t summand(const Problem<T>& p, int64_t s) {
  if (p.summed.ndim == 1) return s * p.summed.strides[0][0];
  int64_t at[1];
  row_offsets(p.summed, s, at);
  return at[0];
}

// What a part came to: the result itself where there is one part.
template <class T>
__device__ inline void leave(const Problem<T>& p, float sum, int64_t k, int64_t out_at, int64_t part) {
  if (p.parts == 1) {
    p.out[out_at] = from_float<T>(sum * p.scale);
  } else {
    p.part[part * p.kept.size + k] = sum;
  }
}

// A thread has the same summands with packs and without.
template <class T, bool kPacks, int kRowThreads>
__global__ void __launch_bounds__(kThreads) sum_rows_kernel(Problem<T> p) {
  constexpr int kVec = 16 / sizeof(T);
  SHARED_ARRAY(float, sSum, 16, 32);
  const int thread = static_cast<int>(threadIdx.x) % kRowThreads;
  const int64_t k = int64_t{blockIdx.x} * (kThreads / kRowThreads) + threadIdx.x / kRowThreads;
  if (k >= p.kept.size) return;  // a whole warp: rows that share a block have one each
  int64_t at[2];
  row_offsets(p.kept, k, at);
  const T* x = p.x + at[0];
  const int64_t begin = blockIdx.y * p.part_size;
  const int64_t end = begin + p.part_size < p.summed.size ? begin + p.part_size : p.summed.size;
  float sum = 0.0f;
  for (int64_t s = begin + thread * kVec; s < end; s += kRowThreads * kVec) {
    float pack[kVec];
    if constexpr (kPacks) {
      load_pack(pack, x, s, end);
    } else {
#pragma unroll
      for (int v = 0; v < kVec; ++v) pack[v] = s + v < end ? to_float(x[summand(p, s + v)]) : 0.0f;
    }
#pragma unroll
    for (int v = 0; v < kVec; ++v) sum += pack[v];
  }
  sum = reduce_threads<kRowThreads>(sum, SumOp(), sSum);
  if (thread == 0) leave(p, sum, k, at[1], blockIdx.y);
}

template <class T, int kVec>
__global__ void __launch_bounds__(kThreads) sum_columns_kernel(Problem<T> p) {
  SHARED_ARRAY(float, sSum, 16, kThreads* kVec);
  const int column = static_cast<int>(threadIdx.x) % kColumns, lane = static_cast<int>(threadIdx.x) / kColumns;
  const int64_t k = (int64_t{blockIdx.x} * kColumns + column) * kVec;  // packs do not straddle rows of the kept
  const int64_t begin = blockIdx.y * p.part_size;
  const int64_t end = begin + p.part_size < p.summed.size ? begin + p.part_size : p.summed.size;
  const bool inside = k < p.kept.size;
  int64_t at[2] = {};
  if (inside) row_offsets(p.kept, k, at);
  float sum[kVec] = {};
  for (int64_t s = begin + lane; s < end && inside; s += kLanes) {
    float pack[kVec];
    load_pack(pack, p.x + at[0] + summand(p, s), 0, kVec);
#pragma unroll
    for (int v = 0; v < kVec; ++v) sum[v] += pack[v];
  }
#pragma unroll
  for (int v = 0; v < kVec; ++v) sSum[v * kThreads + threadIdx.x] = sum[v];
  __syncthreads();
  if (lane != 0 || !inside) return;
  const int64_t out_step = p.kept.ndim > 0 ? p.kept.strides[1][0] : 0;
#pragma unroll
  for (int v = 0; v < kVec; ++v) {
    for (int other = 1; other < kLanes; ++other) sum[v] += sSum[v * kThreads + other * kColumns + column];
    leave(p, sum[v], k + v, at[1] + v * out_step, blockIdx.y);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) add_sums_kernel(Problem<T> p) {
  const int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (k >= p.kept.size) return;
  int64_t at[2];
  row_offsets(p.kept, k, at);
  float sum = 0.0f;
  for (int64_t part = 0; part < p.parts; ++part) sum += p.part[part * p.kept.size + k];
  p.out[at[1]] = from_float<T>(sum * p.scale);
}

// x and out with the axes that are kept, or with those that are summed; of one element either is right.
struct Axes {
  fa_tensor x, out;
  bool last = false;  // the last axis of x, of more than one element, is here

  Axes(const fa_sum_params& p, bool kept) : x(p.x), out(p.out) {
    x.ndim = out.ndim = 0;
    for (int d = 0; d < p.x.ndim; ++d) {
      if (p.x.shape[d] == 1) continue;
      last = (p.out.shape[d] == p.x.shape[d]) == kept;
      if (!last) continue;
      x.shape[x.ndim] = out.shape[out.ndim] = p.x.shape[d];
      x.strides[x.ndim++] = p.x.strides[d];
      out.strides[out.ndim++] = p.out.strides[d];
    }
  }
};

template <class T>
constexpr KernelName kRowsName{"sum", kTypeName<T>, "rows"};
template <class T>
constexpr KernelName kColumnsName{"sum", kTypeName<T>, "columns"};

template <class T>
const char* run_rows(const Problem<T>& p, bool packs, fa_launch& launch) {
  const bool warp = p.summed.size <= kWarpSummands;
  const int64_t rows = warp ? kThreads / 32 : 1;
  const LaunchConfig grid{dim3(static_cast<unsigned>((p.kept.size + rows - 1) / rows), static_cast<unsigned>(p.parts)),
                          dim3(kThreads), 0, launch.stream};
  auto warps = packs ? sum_rows_kernel<T, true, 32> : sum_rows_kernel<T, false, 32>;
  auto blocks = packs ? sum_rows_kernel<T, true, kThreads> : sum_rows_kernel<T, false, kThreads>;
  return cuda::launch(warp ? warps : blocks, grid, p);
}

template <class T>
const char* run_columns(const Problem<T>& p, bool packs, fa_launch& launch) {
  constexpr int kVec = 16 / sizeof(T);
  const int64_t columns = kColumns * (packs ? kVec : 1);
  const LaunchConfig grid{
      dim3(static_cast<unsigned>((p.kept.size + columns - 1) / columns), static_cast<unsigned>(p.parts)),
      dim3(kThreads), 0, launch.stream};
  return cuda::launch(packs ? sum_columns_kernel<T, kVec> : sum_columns_kernel<T, 1>, grid, p);
}

}  // namespace

fa_status sum(const fa_sum_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const Axes kept(p, true), summed(p, false);
    Problem<T> problem{static_cast<const T*>(p.x.data),
                       static_cast<T*>(p.out.data),
                       static_cast<float*>(launch.workspace),
                       static_cast<float>(p.scale),
                       1,
                       1,
                       Rows<2>({&kept.x, &kept.out}, -1),
                       Rows<1>({&summed.x}, -1)};
    const int64_t K = problem.kept.size, S = problem.summed.size;
    const bool columns = kept.last && S > 1;
    const int64_t least = columns ? kPartRows : kPartSummands, most = columns ? kMostColumnParts : kMostRowParts;
    const int64_t even = ((S + most - 1) / most + least - 1) / least * least;
    problem.part_size = even > least ? even : least;
    problem.parts = S > problem.part_size ? (S + problem.part_size - 1) / problem.part_size : 1;
    const double n = static_cast<double>(K) * static_cast<double>(S);
    launch.kernel = columns ? kColumnsName<T>.text : kRowsName<T>.text;
    if (launch.query) {
      launch.workspace_bytes = problem.parts > 1 ? static_cast<size_t>(problem.parts * K) * sizeof(float) : 0;
    }
    launch.flops = n;
    launch.bytes = n * sizeof(T);
    if (K > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more sums than a grid has blocks");
    if (launch.query || K == 0) return FA_OK;

    constexpr int kVec = 16 / sizeof(T);
    const auto& along = problem.kept;
    const bool packs = columns ? along.strides[0][0] == 1 && along.shape[0] % kVec == 0 &&
                                     rows_aligned<T>(p.x.data, along.strides[0] + 1, along.ndim - 1) &&
                                     rows_aligned<T>(p.x.data, problem.summed.strides[0], problem.summed.ndim)
                               : problem.summed.ndim == 1 && problem.summed.strides[0][0] == 1 &&
                                     rows_aligned<T>(p.x.data, along.strides[0], along.ndim);
    const char* error = columns ? run_columns(problem, packs, launch) : run_rows(problem, packs, launch);
    if (error == nullptr && problem.parts > 1) {
      const LaunchConfig grid{dim3(static_cast<unsigned>((K + kThreads - 1) / kThreads)), dim3(kThreads), 0,
                              launch.stream};
      error = cuda::launch(add_sums_kernel<T>, grid, problem);
    }
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
