// Lists of contiguous tensors, all of them in one launch: the table of their addresses goes along as the kernel's
// argument, so nothing is copied to the device and a graph captures it. Beyond what fits there are more launches.
//
// A block owns a chunk of kChunk elements of one tensor and finds that by its number; a thread owns packs of 4 elements
// where all addresses are multiples of 16 bytes, else single ones. What one element becomes depends on no other, and
// sums go by chunk: the cuts change no bit.
#pragma once

#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {

inline constexpr int kListThreads = 256;
inline constexpr int64_t kChunk = 16 << 10;

// What a block works on.
struct Chunk {
  int tensor;
  int64_t begin, end;
};

template <int kLists>
struct TensorList {
  // A launch takes 32764 bytes of arguments from sm_70 and CUDA 12.1 on.
  static constexpr int kMax = 30000 / (8 * kLists + 8 + 4);
  void* data[kLists][kMax];  // nullptr throughout a list that is absent
  int64_t size[kMax];
  int32_t first_block[kMax + 1];  // of tensor t; the last is the number of blocks
  int32_t count;

  template <class T>
  __device__ T* at(int list, int t) const {
    return static_cast<T*>(data[list][t]);
  }

  // Of the last tensor whose first block is not behind `block`.
  __device__ Chunk chunk(int block) const {
    int low = 0, high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (first_block[middle] <= block) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const int64_t begin = (block - first_block[low]) * kChunk;
    return {low, begin, begin + kChunk < size[low] ? begin + kChunk : size[low]};
  }
};

// g(i): the packs of this thread.
template <int kVec, class G>
__device__ inline void for_each_pack(const Chunk& chunk, G&& g) {
  for (int64_t i = chunk.begin + threadIdx.x * kVec; i < chunk.end; i += kListThreads * kVec) g(i);
}

// The lists of an optimizer begin with these.
enum OptimizerLists { kParams, kGrads, kMasters, kOptimizerLists };

// A pack of parameters and gradients, between being read and being written.
template <class T, int kVec>
struct ParamPack {
  float p[kVec], g[kVec];

  template <int kLists>
  __device__ void load(const TensorList<kLists>& list, const Chunk& chunk, int64_t i) {
    const float* masters = list.template at<float>(kMasters, chunk.tensor);
    if (masters != nullptr) {
      load_pack(p, masters, i, chunk.end);
    } else {
      load_pack(p, list.template at<T>(kParams, chunk.tensor), i, chunk.end);
    }
    load_pack(g, list.template at<T>(kGrads, chunk.tensor), i, chunk.end);
  }

  // The masters get p, the parameters its rounding.
  template <int kLists>
  __device__ void store(const TensorList<kLists>& list, const Chunk& chunk, int64_t i, bool zero_grads) const {
    float* masters = list.template at<float>(kMasters, chunk.tensor);
    if (masters != nullptr) store_pack(masters, p, i, chunk.end);
    store_pack(list.template at<T>(kParams, chunk.tensor), p, i, chunk.end);
    if (zero_grads) {
      const float zero[kVec] = {};
      store_pack(list.template at<T>(kGrads, chunk.tensor), zero, i, chunk.end);
    }
  }
};

// f.run<kVec>(list, chunk): what a block does with its chunk.
template <class F, int kVec>
__global__ void __launch_bounds__(kListThreads)
    list_kernel(const __grid_constant__ TensorList<F::kLists> list, const __grid_constant__ F f) {
  f.template run<kVec>(list, list.chunk(static_cast<int>(blockIdx.x)));
}

inline int64_t list_elements(const fa_tensor& t) {
  int64_t n = 1;
  for (int d = 0; d < t.ndim; ++d) n *= t.shape[d];
  return n;
}

inline int64_t total_elements(const fa_tensor* tensors, int64_t count) {
  int64_t n = 0;
  for (int64_t t = 0; t < count; ++t) n += list_elements(tensors[t]);
  return n;
}

inline int64_t total_chunks(const fa_tensor* tensors, int64_t count) {
  int64_t n = 0;
  for (int64_t t = 0; t < count; ++t) n += (list_elements(tensors[t]) + kChunk - 1) / kChunk;
  return n;
}

// g(list, aligned): one call for each launch that the tensors of `lists` (nullptr: absent) take; what is wrong, or
// nullptr.
template <int kLists, class G>
const char* for_each_list(const fa_tensor* const (&lists)[kLists], int64_t count, G&& g) {
  TensorList<kLists> list = {};
  bool aligned = true;
  for (int64_t t = 0; t <= count; ++t) {
    const int64_t size = t < count ? list_elements(lists[0][t]) : 0;
    const int64_t chunks = (size + kChunk - 1) / kChunk;
    const bool full = list.count == TensorList<kLists>::kMax || list.first_block[list.count] + chunks > INT32_MAX;
    if (list.count > 0 && (full || t == count)) {
      if (const char* error = g(list, aligned)) return error;
      list.count = 0;
      list.first_block[0] = 0;
      aligned = true;
    }
    if (size == 0) continue;
    if (chunks > INT32_MAX) return "a tensor of more chunks than a grid has blocks";
    const int n = list.count++;
    for (int l = 0; l < kLists; ++l) {
      list.data[l][n] = lists[l] == nullptr ? nullptr : lists[l][t].data;
      aligned = aligned && reinterpret_cast<uintptr_t>(list.data[l][n]) % 16 == 0;
    }
    list.size[n] = size;
    list.first_block[n + 1] = list.first_block[n] + static_cast<int32_t>(chunks);
  }
  return nullptr;
}

// Runs f over all elements of all tensors.
template <class F>
  requires(sizeof(TensorList<F::kLists>) + sizeof(F) <= 32764)
fa_status run_list(const fa_tensor* const (&lists)[F::kLists], int64_t count, const F& f, fa_launch& launch) {
  const char* error = for_each_list(lists, count, [&](const TensorList<F::kLists>& list, bool aligned) {
    const LaunchConfig config{dim3(static_cast<unsigned>(list.first_block[list.count])), dim3(kListThreads), 0,
                              launch.stream};
    return cuda::launch(aligned ? list_kernel<F, 4> : list_kernel<F, 1>, config, list, f);
  });
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace fastattn::cuda
