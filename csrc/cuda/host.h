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
inline constexpr const char* kTypeName = sizeof(T) == 4       ? "f32"
                                         : __is_same(T, bf16) ? "bf16"
                                                              : "f16";

// The axes of two tensors but one: where row number i of each begins. Axes that lie one behind the other are one.
struct Rows {
  int64_t size = 1;
  int ndim = 0;
  int64_t shape[FA_MAX_DIMS], x_stride[FA_MAX_DIMS], out_stride[FA_MAX_DIMS];  // fastest first

  Rows() = default;
  Rows(const fa_tensor& x, const fa_tensor& out, int axis) {
    for (int d = x.ndim - 1; d >= 0; --d) {
      if (d == axis) continue;
      size *= x.shape[d];
      if (x.shape[d] == 1) continue;
      const int below = ndim - 1;
      if (ndim > 0 && x.strides[d] == x_stride[below] * shape[below] &&
          out.strides[d] == out_stride[below] * shape[below]) {
        shape[below] *= x.shape[d];
        continue;
      }
      shape[ndim] = x.shape[d];
      x_stride[ndim] = x.strides[d];
      out_stride[ndim++] = out.strides[d];
    }
  }
};

}  // namespace fastattn::cuda
