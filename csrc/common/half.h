// The 16-bit floating dtypes as they lie in memory. Kernels compute on them in float; simd/ converts.
#pragma once

#include <cstdint>

namespace fastattn {

struct bf16 {  // float's upper half: 8 bits of exponent, 7 of mantissa
  uint16_t bits;
};
struct f16 {  // IEEE binary16: 5 bits of exponent, 10 of mantissa
  uint16_t bits;
};

}  // namespace fastattn
