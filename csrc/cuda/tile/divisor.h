// Division by a number that is known before: a multiplication and a shift.
#pragma once

#include "cuda/platform.h"

namespace fastattn::cuda {

// Of numbers below 2^31 by d >= 1. With 2^s >= d and the factor 2^(31 + s) / d rounded up, n * factor / 2^(31 + s) is
// above n / d by less than 1 / d, so its floor is the quotient.
struct Divisor {
  uint32_t d = 1, factor = uint32_t{1} << 31;
  int shift = 31;

  Divisor() = default;
  __host__ __device__ explicit Divisor(uint32_t d_) : d(d_) {
    int s = 0;
    while ((uint64_t{1} << s) < d) ++s;
    shift = 31 + s;
    factor = static_cast<uint32_t>(((uint64_t{1} << shift) + d - 1) / d);
  }
  __host__ __device__ uint32_t divide(uint32_t n, uint32_t& rest) const {
    const auto quotient = static_cast<uint32_t>(uint64_t{n} * factor >> shift);
    rest = n - quotient * d;
    return quotient;
  }
};

}  // namespace fastattn::cuda
