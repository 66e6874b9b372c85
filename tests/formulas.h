// What the tests of both backends hold results against, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../csrc/ops/binary.h"

namespace formulas {

inline double binary(int function, double a, double b) {
  switch (function) {
    case FA_ADD: return a + b;
    case FA_SUB: return a - b;
    case FA_MUL: return a * b;
    case FA_DIV: return a / b;
    case FA_MAXIMUM: return std::max(a, b);
    default: return std::min(a, b);
  }
}

// log(sum(exp(x(c)))) over C scores, as its two parts; of nothing but -inf the sum is 0.
struct LogSum {
  double max = -HUGE_VAL, sum = 0;
  template <class F>
  LogSum(int64_t C, F&& x) {
    for (int64_t c = 0; c < C; ++c) max = std::max<double>(max, x(c));
    for (int64_t c = 0; c < C; ++c) sum += max == -HUGE_VAL ? 0 : std::exp(x(c) - max);
  }
  double lse() const { return max + std::log(sum); }
};

// What class c of a row is scored with, of which a share goes to all classes.
inline double smoothed(double on, double weight, double smoothing, int64_t C) {
  return weight * ((1 - smoothing) * on + smoothing / static_cast<double>(C));
}

// Cross-entropy of a row of C logits x(c) that is scored with q(c).
template <class X, class Q>
struct CrossEntropy {
  X x;
  Q q;
  double lse, total = 0, loss = 0;
  CrossEntropy(int64_t C, X x_, Q q_) : x(x_), q(q_), lse(LogSum(C, x).lse()) {
    for (int64_t c = 0; c < C; ++c) {
      total += q(c);
      loss += q(c) * (lse - x(c));
    }
  }
  // Of the loss, times g.
  double dlogits(int64_t c, double g) const { return g * (total * std::exp(x(c) - lse) - q(c)); }
  // By a probability of the target, on_target its share with the class's weight.
  double dtarget(int64_t c, double g, double on_target) const { return g * on_target * (lse - x(c)); }
};

// Philox4x32-10: word i of the stream of a seed and an offset.
struct Words {
  uint32_t w[4];
};
inline Words philox(Words c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c.w[0], b = uint64_t{0xCD9E8D57} * c.w[2];
    c = {{static_cast<uint32_t>(b >> 32) ^ c.w[1] ^ k0, static_cast<uint32_t>(b),
          static_cast<uint32_t>(a >> 32) ^ c.w[3] ^ k1, static_cast<uint32_t>(a)}};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}
inline uint32_t random_word(uint64_t seed, uint64_t offset, uint64_t i) {
  const uint64_t block = i / 4;
  const Words c = {{static_cast<uint32_t>(offset), static_cast<uint32_t>(offset >> 32), static_cast<uint32_t>(block),
                    static_cast<uint32_t>(block >> 32)}};
  return philox(c, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)).w[i % 4];
}
// A word's upper 24 bits as a fraction: what dropout compares with p.
inline double random_fraction(uint64_t seed, uint64_t offset, uint64_t i) {
  return (random_word(seed, offset, i) >> 8) * 0x1p-24;
}
// Box and Muller's number of two uniform ones.
inline double normal(double u, double v) { return std::sqrt(-2 * std::log1p(-u)) * std::cos(2 * M_PI * v); }

}  // namespace formulas
