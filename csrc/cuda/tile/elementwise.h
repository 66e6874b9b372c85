// Element by element: kOut results from kIn inputs of one shape, any strides; results may be of another dtype (To). A
// thread owns a pack of 16 bytes (of the wider dtype) where every tensor lies so along its fastest axis, else one
// element; a grid covers the array, and goes round again only
// where it would have too many blocks. Every byte is read once and written once: the roofline is DRAM's bandwidth. An
// output may be an input: a thread reads all of its inputs before it writes.
#pragma once

#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {

template <class T, class To, int kIn, int kOut>
struct Elementwise {
  const T* in[kIn];
  To* out[kOut];
  Rows<kIn + kOut> elements;  // every axis: a "row" is an element
};

inline constexpr int kElementwiseThreads = 256;

// f(in, out) takes float[kIn] to float[kOut].
template <int kVec, class T, class To, int kIn, int kOut, class F>
__global__ void __launch_bounds__(kElementwiseThreads) elementwise_kernel(Elementwise<T, To, kIn, kOut> p, F f) {
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
template <class T, class To, int kVec, int kIn, int kTensors>
bool in_packs(const Rows<kTensors>& elements, const fa_tensor* const (&tensors)[kTensors]) {
  if (elements.ndim == 0 || elements.shape[0] % kVec != 0) return false;
  for (int t = 0; t < kTensors; ++t) {
    if (elements.strides[t][0] != 1) return false;
    const auto aligned = t < kIn ? rows_aligned<T> : rows_aligned<To>;
    if (!aligned(tensors[t]->data, elements.strides[t] + 1, elements.ndim - 1)) return false;
  }
  return true;
}

// tensors: the inputs, then the outputs. Fills in `launch`, all but the kernel's name and its FLOPs.
template <class T, int kIn, int kOut, class To = T, class F>
fa_status run_elementwise(const fa_tensor* const (&tensors)[kIn + kOut], F f, fa_launch& launch) {
  constexpr int kVec = 16 / (sizeof(T) > sizeof(To) ? sizeof(T) : sizeof(To));
  Elementwise<T, To, kIn, kOut> p{{}, {}, Rows<kIn + kOut>(tensors, -1)};
  for (int t = 0; t < kIn; ++t) p.in[t] = static_cast<const T*>(tensors[t]->data);
  for (int t = 0; t < kOut; ++t) p.out[t] = static_cast<To*>(tensors[kIn + t]->data);
  launch.workspace_bytes = 0;
  launch.bytes = static_cast<double>(p.elements.size) * (kIn * sizeof(T) + kOut * sizeof(To));
  if (launch.query || p.elements.size == 0) return FA_OK;
  const bool packs = in_packs<T, To, kVec, kIn>(p.elements, tensors);
  const int64_t per_block = kElementwiseThreads * (packs ? kVec : 1);
  const int64_t blocks = (p.elements.size + per_block - 1) / per_block;
  const LaunchConfig config{dim3(static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX)),
                            dim3(kElementwiseThreads), 0, launch.stream};
  auto kernel = packs ? elementwise_kernel<kVec, T, To, kIn, kOut, F> : elementwise_kernel<1, T, To, kIn, kOut, F>;
  const char* error = cuda::launch(kernel, config, p, f);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace fastattn::cuda
