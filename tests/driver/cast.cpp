// cast between f32 and f64, and copies: any strides.
#include "driver.h"

using namespace driver;

namespace {

template <class From, class To>
void cast_case(Test& t, const Shape& shape, Layout layout, Layout other) {
  Random r(10);
  Array<From> x(shape, layout);
  Array<To> out(shape, other);
  x.fill(r);
  std::vector<double> expected;
  for (double v : x.values()) expected.push_back(static_cast<double>(static_cast<To>(v)));
  const std::string what = "cast " + text_of(shape);
  call_both(t, what, table().cast, fa_cast_params{x, out}, {out.storage()});
  close(t, what, out, expected, 0);
}

template <class From, class To>
void all(Test& t) {
  for (const Shape& s : {Shape{}, Shape{0}, Shape{1}, Shape{17}, Shape{5, 33}, Shape{3, 1, 37}, Shape{70, 300}}) {
    for (Layout l : kLayouts) {
      for (Layout m : kLayouts) cast_case<From, To>(t, s, l, m);
    }
  }
}

}  // namespace

FASTATTN_TEST(cast) {
  all<float, float>(t);
  all<float, double>(t);
  all<double, float>(t);
  all<double, double>(t);
  all<Bf16, float>(t);
  all<float, Bf16>(t);
  all<double, Bf16>(t);
}
