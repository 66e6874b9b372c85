// What the host side of every kernel starts from.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "ops/types.h"

namespace fastattn::cuda {

inline fa_status fail(fa_launch& launch, fa_status status, const char* reason) {
  int i = 0;
  for (; reason[i] != 0 && i < FA_REASON_SIZE - 1; ++i) launch.reason[i] = reason[i];
  launch.reason[i] = 0;
  return status;
}

inline int64_t count_elements(const fa_tensor& t) {
  int64_t n = 1;
  for (int d = 0; d < t.ndim; ++d) n *= t.shape[d];
  return n;
}

// Calls f.template operator()<T>() with the C++ type of a dtype that kernels compute in float.
template <class F>
fa_status visit_float(int32_t dtype, fa_launch& launch, F&& f) {
  switch (dtype) {
    case FA_F32: return f.template operator()<float>();
    case FA_F16: return f.template operator()<f16>();
    case FA_BF16: return f.template operator()<bf16>();
    default: return fail(launch, FA_UNSUPPORTED, "the CUDA kernels take float32, float16 and bfloat16");
  }
}

template <class T>
inline constexpr const char* kTypeName = "tf32";
template <>
inline constexpr const char* kTypeName<float> = "f32";
template <>
inline constexpr const char* kTypeName<f16> = "f16";
template <>
inline constexpr const char* kTypeName<bf16> = "bf16";

// The axes of kTensors tensors of one shape but one: where row number i of each begins. Axes that lie one behind the
// other in all of them are one.
template <int kTensors>
struct Rows {
  int64_t size = 1;
  int ndim = 0;
  int64_t shape[FA_MAX_DIMS] = {};
  int64_t strides[kTensors][FA_MAX_DIMS] = {};  // fastest axis first

  Rows(const fa_tensor* const (&tensors)[kTensors], int axis) {
    const fa_tensor& first = *tensors[0];
    for (int d = first.ndim - 1; d >= 0; --d) {
      if (d == axis) continue;
      size *= first.shape[d];
      if (first.shape[d] == 1) continue;
      bool behind = ndim > 0;
      for (int t = 0; t < kTensors && behind; ++t) {
        behind = tensors[t]->strides[d] == strides[t][ndim - 1] * shape[ndim - 1];
      }
      if (behind) {
        shape[ndim - 1] *= first.shape[d];
        continue;
      }
      shape[ndim] = first.shape[d];
      for (int t = 0; t < kTensors; ++t) strides[t][ndim] = tensors[t]->strides[d];
      ++ndim;
    }
  }
};

}  // namespace fastattn::cuda
