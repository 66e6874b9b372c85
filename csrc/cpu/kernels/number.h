// Single numbers whose dtype is not the kernel's: slopes and sinks of attention, an optimizer's learning rate.
#pragma once

#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

template <class T>
inline T load_number(const fa_tensor& t, int64_t at) {
  switch (t.dtype) {
    case FA_F64: return static_cast<T>(data<double>(t)[at]);
    case FA_I64: return static_cast<T>(data<int64_t>(t)[at]);
    case FA_BF16: return static_cast<T>(widen(data<bf16>(t)[at]));
    case FA_F16: return static_cast<T>(widen(data<f16>(t)[at]));
    default: return static_cast<T>(data<float>(t)[at]);
  }
}
template <class T>
inline void store_number(const fa_tensor& t, int64_t at, T x) {
  switch (t.dtype) {
    case FA_F64: data<double>(t)[at] = static_cast<double>(x); break;
    case FA_BF16: data<bf16>(t)[at] = narrow<bf16>(static_cast<float>(x)); break;
    case FA_F16: data<f16>(t)[at] = narrow<f16>(static_cast<float>(x)); break;
    default: data<float>(t)[at] = static_cast<float>(x); break;
  }
}

// An argument that is given as a number, or as the tensor of one element that holds it.
inline double number(double value, const fa_tensor& tensor) {
  return tensor.data == nullptr ? value : load_number<double>(tensor, 0);
}

}  // namespace fastattn::cpu::FASTATTN_ISA
