// Numbers that lie in device memory: read by the kernel that needs them, so the host waits for nothing and a graph that
// is replayed sees what was written there since.
#pragma once

#include "cuda/types.h"
#include "ops/types.h"

namespace fastattn::cuda {

// Element `at` of a tensor of any floating dtype or int64.
__device__ inline double load_number(const fa_tensor& t, int64_t at) {
  switch (t.dtype) {
    case FA_F64: return static_cast<const double*>(t.data)[at];
    case FA_I64: return static_cast<double>(static_cast<const int64_t*>(t.data)[at]);
    case FA_BF16: return double{to_float(static_cast<const bf16*>(t.data)[at])};
    case FA_F16: return double{to_float(static_cast<const f16*>(t.data)[at])};
    default: return double{static_cast<const float*>(t.data)[at]};
  }
}

// An argument that is given as a number, or as the tensor of one element that holds it.
struct Number {
  double value;
  fa_tensor tensor;

  __device__ double load() const { return tensor.data != nullptr ? load_number(tensor, 0) : value; }
};

}  // namespace fastattn::cuda
