// dW, the gradient of the weights that the forward has returned, as the other kernels of the backward ask for it: by
// pair.
//
//   places_kernel   of each head and query its place along the axes of dweights, or -1
//   sort_kernel     of the largest K: a row's keys, rising, and their gradients, so that a pair finds its own in
//   log2(K)
#pragma once

#include "cuda/attention/chosen.h"
#include "cuda/attention/scores.h"
#include "cuda/launch.h"
#include "cuda/types.h"

namespace fastattn::cuda::attention {

// In the workspace what the two kernels leave there.
struct WeightsGradient {
  fa_tensor given;  // (B, places, chosen rows, S or K), or absent
  fa_tensor keys;   // of the largest K, or absent
  ChosenWeights chosen;
  int *head_places, *row_places;  // (H), (T)
  int* sorted_keys;               // (B, places, chosen rows, K) of the largest, or nullptr
  float* sorted;                  // theirs

  explicit WeightsGradient(const fa_attention_bwd_params& g)
      : given(g.dweights),
        keys(g.fwd.weights_keys),
        chosen(g.fwd),
        head_places(nullptr),
        row_places(nullptr),
        sorted_keys(nullptr),
        sorted(nullptr) {
    if (given.data != nullptr && given.shape[0] * given.shape[1] * given.shape[2] * given.shape[3] == 0) {
      given.data = nullptr;
    }
  }
  __host__ __device__ bool active() const { return given.data != nullptr; }
  bool largest() const { return active() && keys.data != nullptr; }
  int64_t rows() const { return given.shape[0] * given.shape[1] * given.shape[2]; }
  __device__ float factor() const { return chosen.mean ? 1.0f / static_cast<float>(chosen.num_heads) : 1.0f; }
};

inline constexpr int kPlaceThreads = 256, kSortThreads = 128;

// One block.
static __global__ void __launch_bounds__(kPlaceThreads) places_kernel(WeightsGradient w, int num_heads, int seqlen_q) {
  const int first = static_cast<int>(threadIdx.x);
  for (int i = first; i < num_heads; i += kPlaceThreads) w.head_places[i] = -1;
  for (int i = first; i < seqlen_q; i += kPlaceThreads) w.row_places[i] = -1;
  __syncthreads();
  for (int i = first; i < w.chosen.num_heads; i += kPlaceThreads) {
    w.head_places[w.chosen.head(i)] = w.chosen.mean ? 0 : i;
  }
  for (int i = first; i < w.chosen.num_rows; i += kPlaceThreads) w.row_places[w.chosen.row(i)] = i;
}

// A block to a row. A key's place is the number of keys below it.
template <class T>
__global__ void __launch_bounds__(kSortThreads) sort_kernel(WeightsGradient w) {
  const int64_t block = blockIdx.x, row = block % w.given.shape[2], place = block / w.given.shape[2] % w.given.shape[1],
                batch = block / w.given.shape[2] / w.given.shape[1];
  const int64_t* const keys = static_cast<const int64_t*>(w.keys.data) + batch * w.keys.strides[0] +
                              place * w.keys.strides[1] + row * w.keys.strides[2];
  const T* const from = static_cast<const T*>(w.given.data) + batch * w.given.strides[0] + place * w.given.strides[1] +
                        row * w.given.strides[2];
  const int num_keys = static_cast<int>(w.given.shape[3]);
  for (int k = static_cast<int>(threadIdx.x); k < num_keys; k += kSortThreads) {
    const int64_t key = keys[k * w.keys.strides[3]];
    int at = 0;
    for (int other = 0; other < num_keys; ++other) at += keys[other * w.keys.strides[3]] < key;
    w.sorted_keys[block * num_keys + at] = static_cast<int>(key);
    w.sorted[block * num_keys + at] = to_float(from[k * w.given.strides[3]]) * w.factor();
  }
}

// dW of a pair that there is. Its place is looked up for each: to keep it takes registers that the gradients need.
template <class T>
__device__ inline float weight_gradient(const WeightsGradient& w, int batch, int head, int i, int j) {
  if (!w.active()) return 0.0f;
  const int place = w.head_places[head], row = w.row_places[i];
  if (place < 0 || row < 0) return 0.0f;
  if (w.sorted == nullptr) {
    const T* const from = static_cast<const T*>(w.given.data) + batch * w.given.strides[0] + place * w.given.strides[1];
    return to_float(from[row * w.given.strides[2] + j * w.given.strides[3]]) * w.factor();
  }
  const int num_keys = static_cast<int>(w.given.shape[3]);
  const int64_t first = ((batch * w.given.shape[1] + place) * w.given.shape[2] + row) * num_keys;
  int at = 0;
  for (int end = num_keys; at < end;) {
    const int middle = (at + end) / 2;
    if (w.sorted_keys[first + middle] < j) {
      at = middle + 1;
    } else {
      end = middle;
    }
  }
  return at < num_keys && w.sorted_keys[first + at] == j ? w.sorted[first + at] : 0.0f;
}

// Words of the workspace.
inline int64_t weights_gradient_words(const WeightsGradient& w, int64_t num_heads, int64_t seqlen_q) {
  if (!w.active()) return 0;
  return num_heads + seqlen_q + (w.largest() ? 2 * w.rows() * w.given.shape[3] : 0);
}

// Runs the two kernels, and says where they leave what.
template <class T>
const char* prepare_weights_gradient(WeightsGradient& w, int64_t num_heads, int64_t seqlen_q, void* workspace,
                                     void* stream) {
  if (!w.active()) return nullptr;
  w.head_places = static_cast<int*>(workspace);
  w.row_places = w.head_places + num_heads;
  const char* error = cuda::launch(places_kernel, {dim3(1), dim3(kPlaceThreads), 0, stream}, w,
                                   static_cast<int>(num_heads), static_cast<int>(seqlen_q));
  if (error != nullptr || !w.largest()) return error;
  if (w.rows() > INT32_MAX) return kTooManyTiles;
  w.sorted_keys = w.row_places + seqlen_q;
  w.sorted = reinterpret_cast<float*>(w.sorted_keys + w.rows() * w.given.shape[3]);
  return cuda::launch(sort_kernel<T>, {dim3(static_cast<unsigned>(w.rows())), dim3(kSortThreads), 0, stream}, w);
}

}  // namespace fastattn::cuda::attention
