// Element by element: kOut results from kIn inputs of one shape, any strides. A thread owns a pack of 16 bytes where
// every tensor lies so along its fastest axis, else one element; a grid covers the array, and goes round again only
// where it would have too many blocks. Every byte is read once and written once: the roofline is DRAM's bandwidth. An
// output may be an input: a thread reads all of its inputs before it writes.
#pragma once

#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {

template <class T, int kIn, int kOut>
struct Elementwise {
  const T* in[kIn];
  T* out[kOut];
  Rows<kIn + kOut> elements;  // every axis: a "row" is an element
};

inline constexpr int kElementwiseThreads = 256;

// f(in, out) takes float[kIn] to float[kOut].
template <class T, int kVec, int kIn, int kOut, class F>
__global__ void __launch_bounds__(kElementwiseThreads) elementwise_kernel(Elementwise<T, kIn, kOut> p, F f) {
  const int64_t step = int64_t{gridDim.x} * kElementwiseThreads * kVec;
  for (int64_t i = (int64_t{blockIdx.x} * kElementwiseThreads + threadIdx.x) * kVec; i < p.elements.size; i += step) {
    int64_t at[kIn + kOut];
    row_offsets(p.elements, i, at);
    float in[kIn][kVec], out[kOut][kVec];
#pragma unroll
    for (int t = 0; t < kIn; ++t) load_pack(in[t], p.in[t] + at[t], 0, kVec);
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      float arguments[kIn], results[kOut];
#pragma unroll
      for (int t = 0; t < kIn; ++t) arguments[t] = in[t][v];
      f(arguments, results);
#pragma unroll
      for (int t = 0; t < kOut; ++t) out[t][v] = results[t];
    }
#pragma unroll
    for (int t = 0; t < kOut; ++t) store_pack(p.out[t] + at[kIn + t], out[t], 0, kVec);
  }
}

// Whether packs of kVec elements never straddle the fastest axis and are aligned in every tensor.
template <class T, int kVec, int kTensors>
bool in_packs(const Rows<kTensors>& elements, const fa_tensor* const (&tensors)[kTensors]) {
  if (elements.ndim == 0 || elements.shape[0] % kVec != 0) return false;
  for (int t = 0; t < kTensors; ++t) {
    if (elements.strides[t][0] != 1) return false;
    if (!rows_aligned<T>(tensors[t]->data, elements.strides[t] + 1, elements.ndim - 1)) return false;
  }
  return true;
}

// tensors: the inputs, then the outputs. Fills in `launch`, all but the kernel's name and its FLOPs.
template <class T, int kIn, int kOut, class F>
fa_status run_elementwise(const fa_tensor* const (&tensors)[kIn + kOut], F f, fa_launch& launch) {
  constexpr int kVec = 16 / sizeof(T);
  Elementwise<T, kIn, kOut> p{{}, {}, Rows<kIn + kOut>(tensors, -1)};
  for (int t = 0; t < kIn; ++t) p.in[t] = static_cast<const T*>(tensors[t]->data);
  for (int t = 0; t < kOut; ++t) p.out[t] = static_cast<T*>(tensors[kIn + t]->data);
  launch.workspace_bytes = 0;
  launch.bytes = static_cast<double>(p.elements.size) * (kIn + kOut) * sizeof(T);
  if (launch.query || p.elements.size == 0) return FA_OK;
  const bool packs = in_packs<T, kVec>(p.elements, tensors);
  const int64_t per_block = kElementwiseThreads * (packs ? kVec : 1);
  const int64_t blocks = (p.elements.size + per_block - 1) / per_block;
  const LaunchConfig config{dim3(static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX)),
                            dim3(kElementwiseThreads), 0, launch.stream};
  auto kernel = packs ? elementwise_kernel<T, kVec, kIn, kOut, F> : elementwise_kernel<T, 1, kIn, kOut, F>;
  const char* error = cuda::launch(kernel, config, p, f);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace fastattn::cuda
