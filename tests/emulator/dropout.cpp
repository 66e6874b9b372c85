// csrc/cuda/dropout.cu: the words of Philox decide, element by element in row-major order, whatever the strides.
#include "cuda/entries.h"
#include "emulator/rows.h"
#include "formulas.h"

namespace {

using namespace emulator_test;

constexpr uint64_t kSeed = 0x0123456789abcdef, kOffset = 0xfedcba9876543210;

// x and out with gaps between rows, or transposed.
template <class T>
void check_dropout(Test& t, int64_t rows, int64_t C, int64_t gap, double p, bool in_place, bool transposed) {
  Random random(fastattn::emulator::options().seed + 81);
  Array<T> x(rows, C, C + gap), fresh(rows, C, C + gap);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) set(x.at(r, c), random.symmetric());
  }
  set(x.at(rows - 1, C / 2), HUGE_VALF);  // dropped, it is 0 as well
  auto index = [&](int64_t r, int64_t c) { return static_cast<uint64_t>(transposed ? c * rows + r : r * C + c); };
  std::vector<T> want(static_cast<size_t>(rows * C));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) {
      const bool keep = formulas::random_fraction(kSeed, kOffset, index(r, c)) >= p;
      const float scale = p < 1 ? static_cast<float>(1 / (1 - p)) : 0.0f;
      set(want[static_cast<size_t>(r * C + c)], keep ? scale * value(x.at(r, c)) : 0.0f);
    }
  }
  Array<T>& out = in_place ? x : fresh;
  auto view = [&](Array<T>& a) {
    if (!transposed) return a.view(rows % 2 == 0);
    return fa_tensor{a.block.get(), kDtype<T>, 2, {C, rows}, {1, a.stride}};
  };
  const fa_dropout_params params = {view(x), view(out), p, kSeed, kOffset};
  fa_launch launch = {};
  t.expect(fastattn::cuda::dropout(params, launch) == FA_OK, launch.reason);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) {
      t.expect(value(out.at(r, c)) == value(want[static_cast<size_t>(r * C + c)]),
               std::string(launch.kernel) + ": an element");
    }
  }
}

}  // namespace

EMULATOR_TEST(dropout) {
  for (const double p : {0.0, 0.3, 1.0}) {
    check_dropout<float>(t, 4, 36, 0, p, true, false);
    check_dropout<float>(t, 5, 33, 3, p, false, false);
    check_dropout<bf16>(t, 2, 40, 8, p, false, false);
    check_dropout<f16>(t, 3, 300, 1, p, true, false);
    check_dropout<float>(t, 7, 20, 1, p, false, true);
  }
}
