// Single numbers in device memory whose dtype is not the kernel's (slopes and sinks of attention, a learning rate):
// read by the kernel that needs them, so the host waits for nothing and a graph that is replayed sees what was written
// since.
#pragma once

#include "cuda/types.h"
#include "ops/types.h"

namespace fastattn::cuda {

// Element `at` of a tensor of any floating dtype or int64.
template <class T>
__device__ inline T load_number(const fa_tensor& t, int64_t at) {
  switch (t.dtype) {
    case FA_F64: return static_cast<T>(static_cast<const double*>(t.data)[at]);
    case FA_I64: return static_cast<T>(static_cast<const int64_t*>(t.data)[at]);
    case FA_BF16: return static_cast<T>(to_float(static_cast<const bf16*>(t.data)[at]));
    case FA_F16: return static_cast<T>(to_float(static_cast<const f16*>(t.data)[at]));
    default: return static_cast<T>(static_cast<const float*>(t.data)[at]);
  }
}
__device__ inline void store_number(const fa_tensor& t, int64_t at, float x) {
  switch (t.dtype) {
    case FA_F64: static_cast<double*>(t.data)[at] = double{x}; break;
    case FA_BF16: static_cast<bf16*>(t.data)[at] = from_float<bf16>(x); break;
    case FA_F16: static_cast<f16*>(t.data)[at] = from_float<f16>(x); break;
    default: static_cast<float*>(t.data)[at] = x; break;
  }
}

// An argument that is given as a number, or as the tensor of one element that holds it.
struct Number {
  double value;
  fa_tensor tensor;

  __device__ double load() const { return tensor.data != nullptr ? load_number<double>(tensor, 0) : value; }
};

}  // namespace fastattn::cuda
