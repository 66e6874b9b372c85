// csrc/cuda/random.cu: uniform numbers to the bit, normal ones in double.
#include "cuda/entries.h"
#include "emulator/rows.h"
#include "formulas.h"

namespace {

using namespace emulator_test;

constexpr uint64_t kSeed = 0x0123456789abcdef, kOffset = 0xfedcba9876543210;

// n numbers that begin `at` elements into an aligned block.
template <class T>
void check_fill(Test& t, int64_t n, int64_t at) {
  Array<T> out(1, n + at, n + at);
  constexpr int kBits = sizeof(T) == 4 ? 24 : std::is_same_v<T, bf16> ? 8 : 11;
  fa_random_fill_params p = {{&out.at(0, at), kDtype<T>, 1, {n}, {1}}, -0.3, 1.9, kSeed, kOffset, FA_UNIFORM};
  fa_launch launch = {};
  t.expect(fastattn::cuda::random_fill(p, launch) == FA_OK, launch.reason);
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t word = formulas::random_word(kSeed, kOffset, static_cast<uint64_t>(i));
    const float product = static_cast<float>(1.9 - -0.3) * static_cast<float>(std::ldexp(word >> (32 - kBits), -kBits));
    T want;
    set(want, -0.3f + product);
    t.expect(value(out.at(0, at + i)) == value(want), std::string(launch.kernel) + ": an element");
  }

  p.a = 3;
  p.b = 2;
  p.distribution = FA_NORMAL;
  t.expect(fastattn::cuda::random_fill(p, launch) == FA_OK, launch.reason);
  std::vector<float> got;
  std::vector<double> want, bound;
  for (int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<uint64_t>(2 * i);
    const double u = formulas::random_fraction(kSeed, kOffset, k), v = formulas::random_fraction(kSeed, kOffset, k + 1);
    got.push_back(value(out.at(0, at + i)));
    want.push_back(3 + 2 * formulas::normal(u, v));
    // A few roundings of numbers of up to 2 * 6, then out's.
    bound.push_back(16 * 0x1p-23 * 12 + kEps<T> / 2 * std::abs(want.back()));
  }
  t.expect_near(launch.kernel, got, want, bound);
  for (int64_t i = 0; i < at; ++i) t.expect(std::isnan(value(out.at(0, i))), "nothing before it is written");
}

}  // namespace

EMULATOR_TEST(random_fill) {
  for (const int64_t n : {1, 3, 8, 257, 2051}) {
    for (const int64_t at : {0, 1}) {
      check_fill<float>(t, n, at);
      check_fill<bf16>(t, n, at);
      check_fill<f16>(t, n, at);
    }
  }
  fa_launch launch = {};
  fa_random_fill_params p = {};
  p.out = {nullptr, FA_F32, 1, {0}, {1}};
  t.expect(fastattn::cuda::random_fill(p, launch) == FA_OK, "no elements");
  p.distribution = 7;
  t.expect(fastattn::cuda::random_fill(p, launch) == FA_UNSUPPORTED, "another distribution");
}
