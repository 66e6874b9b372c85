// cast: out = x in another floating dtype, or a copy in the same; any strides.
//
// Traffic: x read once, out written once. Between 16 bits and float whole vectors are converted as they are loaded and
// stored. f64 to 16 bits goes by float in a way that rounds once: the double is rounded to odd (towards zero, and the
// last bit set where that lost anything), which keeps what the second rounding has to know.
// Source: Boldo and Melquiond, "Emulation of a FMA and correctly-rounded sums" (2008), section 2.
#include "elementwise.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

FASTATTN_INLINE float round_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  const double back = static_cast<double>(nearest);
  if (back == x || x != x) return nearest;
  uint32_t bits = __builtin_bit_cast(uint32_t, nearest);
  if (__builtin_fabs(back) > __builtin_fabs(x)) --bits;  // towards zero: the magnitude is below the sign bit
  return __builtin_bit_cast(float, bits | 1);
}

template <class From, class To>
FASTATTN_INLINE void convert(const From* x, To* out, int64_t n) {
  if constexpr (std::is_same_v<From, To>) {
    for (int64_t i = 0; i < n; ++i) out[i] = x[i];
  } else if constexpr (std::is_same_v<compute_t<From>, float> && std::is_same_v<compute_t<To>, float>) {
    using V = Vec<float>;
    int64_t i = 0;
    for (; i + V::kLanes <= n; i += V::kLanes) V::load(x + i).store(out + i);
    if (i < n) V::load(x + i, int(n - i)).store(out + i, int(n - i));
  } else if constexpr (std::is_same_v<From, double> && kIsHalf<To>) {
    for (int64_t i = 0; i < n; ++i) out[i] = narrow<To>(round_to_odd(x[i]));
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<To>(widen(x[i]));
  }
}

}  // namespace

fa_status cast(const fa_cast_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class From>() {
    return visit_float(p.out.dtype, launch, [&]<class To>() {
      const double n = static_cast<double>(num_elements(p.out));
      describe<"cast", From>(launch, {.bytes = (sizeof(From) + sizeof(To)) * n});
      if (launch.query) return FA_OK;
      elementwise<From, To>(
          launch, {&p.x}, {&p.out}, AxisOrder::kAny,
          [](const From* const* in, To* const* out, const Run& run) { convert(in[0], out[0], run.length); });
      return FA_OK;
    });
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
