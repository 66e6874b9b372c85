// rope: both pairings, partial, broadcast tables, both directions, any strides, in place.
#include "driver.h"

using namespace driver;

namespace {

template <class T>
void rope_case(Test& t, const Shape& shape, int64_t pairs, Layout layout, bool interleaved, bool inverse) {
  Random r(15);
  const int64_t B = shape[0], H = shape[1], L = shape[2], D = shape[3];
  const bool in_place = layout == Layout::kRowGap;
  // The tables have the rows of x, repeated along batch and heads.
  Array<T> x(shape, layout), out = in_place ? x : Array<T>(shape, Layout::kStep);
  Array<Accumulator<T>> cos(Shape{B, H, L, pairs}, layout, {0, 1}), sin(Shape{B, H, L, pairs}, layout, {0, 1});
  x.fill(r);
  cos.fill(r, 0.5);
  sin.fill(r, 0.5);
  std::vector<double> expected = x.values();
  for (int64_t row = 0; row < B * H * L; ++row) {
    for (int64_t j = 0; j < pairs; ++j) {
      const int64_t a = row * D + (interleaved ? 2 * j : j), b = row * D + (interleaved ? 2 * j + 1 : j + pairs);
      const double c = cos[row * pairs + j], s = (inverse ? -1 : 1) * sin[row * pairs + j];
      expected[static_cast<size_t>(a)] = x[a] * c - x[b] * s;
      expected[static_cast<size_t>(b)] = x[b] * c + x[a] * s;
    }
  }
  const std::string what = "rope " + text_of(shape) + " pairs " + std::to_string(pairs);
  call_both(t, what, table().rope, fa_rope_params{x, cos, sin, out, interleaved, inverse}, {out.storage()});
  close(t, what, out, expected, 4);
}

template <class T>
void all(Test& t) {
  for (Layout l : kLayouts) {
    for (int flags = 0; flags < 4; ++flags) {
      for (int64_t pairs : {0, 1, 8, 17}) rope_case<T>(t, {2, 3, 5, 2 * pairs + 3}, pairs, l, flags & 1, flags & 2);
      rope_case<T>(t, {1, 2, 3, 300}, 150, l, flags & 1, flags & 2);
      rope_case<T>(t, {1, 2, 0, 8}, 4, l, flags & 1, flags & 2);
      rope_case<T>(t, {1, 2, 200, 64}, 32, l, flags & 1, flags & 2);
    }
  }
}

}  // namespace

FASTATTN_TEST(rope) {
  all<float>(t);
  all<double>(t);
  all<Bf16>(t);
}
