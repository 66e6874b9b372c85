// csrc/cuda/rope.cu against the formula in double: both pairings, both directions, partial rotation, tables that are
// broadcast over heads, in place.
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;

// x: (heads, positions, D), its rows `gap` elements further apart than D.
template <class T>
void check(Test& t, int64_t heads, int64_t positions, int64_t D, int64_t pairs, int64_t gap, bool interleaved,
           bool inverse, bool in_place) {
  Random random(fastattn::emulator::options().seed + 61);
  const int64_t rows = heads * positions;
  Array<T> x(rows, D, D + gap), fresh(rows, D, D);
  std::vector<float> cos, sin;
  for (int64_t i = 0; i < positions * pairs; ++i) {
    const float angle = 3 * random.symmetric();
    cos.push_back(std::cos(angle));
    sin.push_back(std::sin(angle));
  }
  std::vector<double> want, bound;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < D; ++c) set(x.at(r, c), random.symmetric());
    for (int64_t c = 0; c < D; ++c) {
      const bool turned = c < 2 * pairs;
      const int64_t pair = interleaved ? c / 2 : c % (pairs > 0 ? pairs : 1);
      const bool second = interleaved ? c % 2 == 1 : c >= pairs;
      double y = value(x.at(r, c));
      if (turned) {
        const size_t at = static_cast<size_t>(r % positions * pairs + pair);
        const int64_t other = interleaved ? c + (second ? -1 : 1) : c + (second ? -pairs : pairs);
        const double s = (second ? 1 : -1) * (inverse ? -1 : 1) * double{sin[at]};
        y = y * cos[at] + value(x.at(r, other)) * s;
      }
      want.push_back(y);
      bound.push_back(turned ? kEps<T> * std::abs(y) + 4 * 0x1p-23 + (std::is_same_v<T, f16> ? 0x1p-25 : 0) : 0);
    }
  }
  Array<T>& out = in_place ? x : fresh;
  auto view = [&](Array<T>& a) {
    return fa_tensor{a.block.get(), kDtype<T>, 3, {heads, positions, D}, {positions * a.stride, a.stride, 1}};
  };
  auto table = [&](std::vector<float>& v) {
    return fa_tensor{v.data(), FA_F32, 3, {heads, positions, pairs}, {0, pairs, 1}};
  };
  const fa_rope_params p = {view(x), table(cos), table(sin), view(out), interleaved, inverse};
  fa_launch launch = {};
  t.expect(fastattn::cuda::rope(p, launch) == FA_OK, launch.reason);
  t.expect_near(launch.kernel, values(out), want, bound);
}

}  // namespace

EMULATOR_TEST(rope) {
  for (const bool interleaved : {false, true}) {
    for (const bool inverse : {false, true}) {
      check<float>(t, 1, 1, 2, 1, 0, interleaved, inverse, false);
      check<float>(t, 3, 5, 64, 32, 0, interleaved, inverse, true);
      check<float>(t, 2, 7, 21, 8, 3, interleaved, inverse, false);
      check<bf16>(t, 2, 3, 130, 64, 0, interleaved, inverse, true);
      check<bf16>(t, 2, 5, 144, 64, 8, interleaved, inverse, false);
      check<f16>(t, 1, 4, 33, 16, 1, interleaved, inverse, false);
    }
  }
}
