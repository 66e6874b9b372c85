// dropout: out_i = keep_i * x_i / (1 - p), keep_i = uniform(seed, offset, i) >= p, i the row-major index.
//
//   x, out: one shape, any strides, out may be x
//
// A thread owns the four elements of a Philox block where packs of four lie side by side in x and out, else one; the
// masks are the CPU's, to the bit (common/philox.h). Traffic: one read, one write; ten rounds of Philox for four
// elements hide below it. A dropped element is 0 whatever x is, NaN included.
// Source: Srivastava et al., "Dropout" (2014); Salmon et al. (2011).
#include "common/philox.h"
#include "cuda/entries.h"
#include "cuda/tile/elementwise.h"

namespace fastattn::cuda {
namespace {

template <class T>
struct Dropout {
  const T* x;
  T* out;
  Rows<2> elements;
  uint64_t seed, offset;
  uint32_t threshold;
  float scale;
};

constexpr int kBlock = 4;  // elements to a block of random words

template <class T, int kVec>
__global__ void __launch_bounds__(kElementwiseThreads) dropout_kernel(Dropout<T> p) {
  const int64_t step = int64_t{gridDim.x} * kElementwiseThreads * kVec;
  for (int64_t i = (int64_t{blockIdx.x} * kElementwiseThreads + threadIdx.x) * kVec; i < p.elements.size; i += step) {
    int64_t at[2];
    row_offsets(p.elements, i, at);
    float x[kVec];
    load_pack(x, p.x + at[0], 0, kVec, 0.0f, p.scale);
    const PhiloxBlock random = philox(p.seed, p.offset, static_cast<uint64_t>(i / kBlock));
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      uint32_t word = random.word[v];
      if constexpr (kVec == 1) {  // chosen, not indexed: the words stay in registers
#pragma unroll
        for (int w = 1; w < kBlock; ++w) word = i % kBlock == w ? random.word[w] : word;
      }
      x[v] = philox_fraction(word) >= p.threshold ? x[v] : 0.0f;
    }
    store_pack(p.out + at[1], x, 0, kVec);
  }
}

template <class T>
constexpr KernelName kName{"dropout", kTypeName<T>};

}  // namespace

fa_status dropout(const fa_dropout_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const fa_tensor* const tensors[] = {&p.x, &p.out};
    const Dropout<T> problem{static_cast<const T*>(p.x.data),
                             static_cast<T*>(p.out.data),
                             Rows<2>(tensors, -1),
                             p.seed,
                             p.offset,
                             philox_threshold(p.p),
                             p.p < 1 ? static_cast<float>(1 / (1 - p.p)) : 0.0f};
    const int64_t size = problem.elements.size;
    launch.kernel = kName<T>.text;
    launch.workspace_bytes = 0;
    launch.flops = static_cast<double>(size);
    launch.bytes = 2.0 * static_cast<double>(size) * sizeof(T);
    if (launch.query || size == 0) return FA_OK;
    const bool packs = in_packs<T, T, kBlock, 1>(problem.elements, tensors);
    const int64_t per_block = kElementwiseThreads * (packs ? kBlock : 1);
    const int64_t blocks = (size + per_block - 1) / per_block;
    const LaunchConfig config{dim3(static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX)),
                              dim3(kElementwiseThreads), 0, launch.stream};
    const char* error = cuda::launch(packs ? dropout_kernel<T, kBlock> : dropout_kernel<T, 1>, config, problem);
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
