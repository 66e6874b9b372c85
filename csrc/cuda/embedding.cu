// embedding: out[i, :] = weight[index[i], :], and dweight[v, :] = sum over i with index[i] == v of dout[i, :].
//
//   weight, dweight (V, D)   index (N), any stride   out, dout (N, D)
//
// Forward: a thread owns a pack of 16 bytes of a row of out (an element, where rows do not lie so); N D elements read
// and written. An id out of range gives a row of NaN and reads nothing.
//
// Backward: a list of positions for each v, in the order of i. Positions are counted with integer atomics, whose order
// decides only where a position waits; a scan gives the lists' places, and a position's rank in its list, the number of
// smaller ones there, its place in order. Then a thread owns a pack of dweight and walks the list with its sum in
// registers, so that dweight is written once and no float is added in an order that threads decide. Ranks take the
// square of a list's length, spread over its threads; the roofline is DRAM's bandwidth, (N + V) D elements.
//
// Source: derived; counting sort by v, made stable by ranks.
#include "ops/embedding.h"

#include "cuda/entries.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/shared.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {
namespace {

constexpr int kThreads = 256, kScanThreads = 1024;

struct Index {
  const void* data;
  int64_t step, rows, skipped;  // ids outside 0..rows-1, and `skipped`, are -1
  int32_t dtype;
  Index(const fa_tensor& t, int64_t V, int64_t padding)
      : data(t.data), step(t.strides[0]), rows(V), skipped(padding), dtype(t.dtype) {}
  __device__ int64_t operator()(int64_t i) const {
    const int64_t v =
        dtype == FA_I32 ? static_cast<const int32_t*>(data)[i * step] : static_cast<const int64_t*>(data)[i * step];
    return v < 0 || v >= rows || v == skipped ? -1 : v;
  }
};

template <class T, int kVec>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const T* weight, int64_t weight_step, Index index, T* out, int64_t out_step, int64_t N, int64_t D) {
  const int64_t packs = D / kVec, step = int64_t{gridDim.x} * kThreads;
  for (int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x; at < N * packs; at += step) {
    const int64_t i = at / packs, c = (at - i * packs) * kVec, v = index(i);
    float pack[kVec];  // through float and back, which changes no number
    if (v >= 0) {
      load_pack(pack, weight + v * weight_step + c, 0, kVec);
    } else {
#pragma unroll
      for (int k = 0; k < kVec; ++k) pack[k] = __builtin_nanf("");
    }
    store_pack(out + i * out_step + c, pack, 0, kVec);
  }
}

// The workspace of the backward.
struct Lists {
  int32_t* count;    // (V)
  int32_t* begin;    // (V)
  int32_t* slot;     // (N), a position's place in its list as it arrived
  int32_t* arrived;  // (N), the lists, in the order of arrival
  int32_t* ordered;  // (N), the lists, in the order of i
  int64_t V, N;
  Lists(void* workspace, int64_t V_, int64_t N_)
      : count(static_cast<int32_t*>(workspace)),
        begin(count + V_),
        slot(begin + V_),
        arrived(slot + N_),
        ordered(arrived + N_),
        V(V_),
        N(N_) {}
  size_t bytes() const { return static_cast<size_t>(2 * V + 3 * N) * sizeof(int32_t); }
};

__global__ void __launch_bounds__(kThreads) clear_kernel(Lists lists) {
  const int64_t v = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (v < lists.V) lists.count[v] = 0;
}

__global__ void __launch_bounds__(kThreads) count_kernel(Lists lists, Index index) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t v = i < lists.N ? index(i) : -1;
  if (v >= 0) lists.slot[i] = atomicAdd(lists.count + v, 1);
}

// begin[v] = the sum of the counts before v. One block: a thread sums its run of counts, the block scans the sums.
__global__ void __launch_bounds__(kScanThreads) scan_kernel(Lists lists) {
  SHARED_ARRAY(int32_t, sSum, 16, kScanThreads);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t run = (lists.V + kScanThreads - 1) / kScanThreads, first = thread * run;
  const int64_t last = first + run < lists.V ? first + run : lists.V;
  int32_t own = 0;
  for (int64_t v = first; v < last; ++v) own += lists.count[v];
  sSum[thread] = own;
  __syncthreads();
  for (int step = 1; step < kScanThreads; step *= 2) {
    const int32_t before = thread >= step ? sSum[thread - step] : 0;
    __syncthreads();
    sSum[thread] += before;
    __syncthreads();
  }
  int32_t at = sSum[thread] - own;
  for (int64_t v = first; v < last; ++v) {
    lists.begin[v] = at;
    at += lists.count[v];
  }
}

__global__ void __launch_bounds__(kThreads) arrive_kernel(Lists lists, Index index) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t v = i < lists.N ? index(i) : -1;
  if (v >= 0) lists.arrived[lists.begin[v] + lists.slot[i]] = static_cast<int32_t>(i);
}

__global__ void __launch_bounds__(kThreads) order_kernel(Lists lists, Index index) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t v = i < lists.N ? index(i) : -1;
  if (v < 0) return;
  const int32_t begin = lists.begin[v], count = lists.count[v];
  int32_t rank = 0;
  for (int32_t k = 0; k < count; ++k) rank += lists.arrived[begin + k] < i ? 1 : 0;
  lists.ordered[begin + rank] = static_cast<int32_t>(i);
}

template <class T, int kVec>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(Lists lists, const T* dout, int64_t dout_step, T* dweight, int64_t dweight_step, int64_t D) {
  const int64_t packs = D / kVec, step = int64_t{gridDim.x} * kThreads;
  for (int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x; at < lists.V * packs; at += step) {
    const int64_t v = at / packs, c = (at - v * packs) * kVec;
    const int32_t begin = lists.begin[v], count = lists.count[v];
    float sum[kVec] = {};
    for (int32_t k = 0; k < count; ++k) {
      float pack[kVec];
      load_pack(pack, dout + lists.ordered[begin + k] * dout_step + c, 0, kVec);
#pragma unroll
      for (int e = 0; e < kVec; ++e) sum[e] += pack[e];
    }
    store_pack(dweight + v * dweight_step + c, sum, 0, kVec);
  }
}

LaunchConfig threads_grid(int64_t n, const fa_launch& launch) {
  const int64_t blocks = (n + kThreads - 1) / kThreads;
  return {dim3(static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX)), dim3(kThreads), 0, launch.stream};
}

template <class T>
constexpr KernelName kForwardName{"embedding_fwd", kTypeName<T>};
template <class T>
constexpr KernelName kBackwardName{"embedding_bwd", kTypeName<T>};

}  // namespace

fa_status embedding_fwd(const fa_embedding_fwd_params& p, fa_launch& launch) {
  return visit_float(p.weight.dtype, launch, [&]<class T>() {
    constexpr int kVec = 16 / sizeof(T);
    const int64_t N = p.index.shape[0], V = p.weight.shape[0], D = p.weight.shape[1];
    launch.kernel = kForwardName<T>.text;
    launch.workspace_bytes = 0;
    launch.flops = 0;
    launch.bytes = 2.0 * static_cast<double>(N) * static_cast<double>(D) * sizeof(T);
    if (launch.query || N == 0 || D == 0) return FA_OK;
    const bool packs = D % kVec == 0 && rows_aligned<T>(p.weight.data, p.weight.strides, 1) &&
                       rows_aligned<T>(p.out.data, p.out.strides, 1);
    const char* error =
        cuda::launch(packs ? gather_kernel<T, kVec> : gather_kernel<T, 1>,
                     threads_grid(N * (packs ? D / kVec : D), launch), static_cast<const T*>(p.weight.data),
                     p.weight.strides[0], Index(p.index, V, -1), static_cast<T*>(p.out.data), p.out.strides[0], N, D);
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

fa_status embedding_bwd(const fa_embedding_bwd_params& p, fa_launch& launch) {
  return visit_float(p.dweight.dtype, launch, [&]<class T>() {
    constexpr int kVec = 16 / sizeof(T);
    const int64_t N = p.index.shape[0], V = p.dweight.shape[0], D = p.dweight.shape[1];
    const Lists lists(launch.workspace, V, N);
    launch.kernel = kBackwardName<T>.text;
    if (launch.query) launch.workspace_bytes = lists.bytes();
    launch.flops = static_cast<double>(N) * static_cast<double>(D);
    launch.bytes = static_cast<double>(N + V) * static_cast<double>(D) * sizeof(T);
    if (N > INT32_MAX || V > INT32_MAX)
      return fail(launch, FA_UNSUPPORTED, "more positions or rows than 32 bits count");
    if (launch.query || V == 0 || D == 0) return FA_OK;
    const Index index(p.index, V, p.padding_idx);
    const bool packs = D % kVec == 0 && rows_aligned<T>(p.dout.data, p.dout.strides, 1) &&
                       rows_aligned<T>(p.dweight.data, p.dweight.strides, 1);
    const LaunchConfig positions = threads_grid(N, launch);
    const char* error = cuda::launch(clear_kernel, threads_grid(V, launch), lists);
    if (!error && N > 0) error = cuda::launch(count_kernel, positions, lists, index);
    if (!error) error = cuda::launch(scan_kernel, {dim3(1), dim3(kScanThreads), 0, launch.stream}, lists);
    if (!error && N > 0) error = cuda::launch(arrive_kernel, positions, lists, index);
    if (!error && N > 0) error = cuda::launch(order_kernel, positions, lists, index);
    if (!error) {
      error = cuda::launch(packs ? sum_kernel<T, kVec> : sum_kernel<T, 1>,
                           threads_grid(V * (packs ? D / kVec : D), launch), lists, static_cast<const T*>(p.dout.data),
                           p.dout.strides[0], static_cast<T*>(p.dweight.data), p.dweight.strides[0], D);
    }
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
