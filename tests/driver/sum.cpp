// sum over every choice of axes, any strides of both sides.
#include "driver.h"

using namespace driver;

namespace {

// Sums the axes that are bits of `summed`.
template <class T>
void sum_case(Test& t, const Shape& shape, Layout layout, int summed) {
  Random r(29);
  Array<T> x(shape, layout);
  x.fill(r);
  Shape kept;
  int64_t terms = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (summed >> d & 1) {
      terms *= shape[d];
    } else {
      kept.push_back(shape[d]);
    }
  }
  Array<T> out(kept, layout);
  fa_sum_params p = {x, {}, 0.5};
  p.out = p.x;
  p.out.data = out.tensor().data;
  for (size_t d = 0, k = 0; d < shape.size(); ++d) {
    const bool gone = summed >> d & 1;
    p.out.shape[d] = gone ? 1 : shape[d];
    p.out.strides[d] = gone ? 0 : out.tensor().strides[k++];
  }
  std::vector<double> expected(static_cast<size_t>(out.size()));
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t rest = i, at = 0, step = 1;
    for (size_t d = shape.size(); d-- > 0;) {
      if (!(summed >> d & 1)) {
        at += rest % shape[d] * step;
        step *= shape[d];
      }
      rest /= shape[d];
    }
    expected[static_cast<size_t>(at)] += 0.5 * x[i];
  }
  const std::string what = "sum " + text_of(shape) + " axes " + std::to_string(summed);
  if (call_both(t, what, table().sum, p, {out.storage()}) != FA_OK) return;
  close(t, what, out, expected, 8, static_cast<double>(terms));
}

template <class T>
void all(Test& t) {
  for (const Shape& s :
       {Shape{0, 3}, Shape{1, 1}, Shape{1, 17}, Shape{5, 16}, Shape{37, 33}, Shape{2, 3, 65}, Shape{1}, Shape{3, 0, 7},
        Shape{2, 2, 5, 131}, Shape{700, 19}, Shape{3, 2000}, Shape{4, 0}, Shape{5000}, Shape{130, 7, 3}}) {
    for (Layout l : kLayouts) {
      for (int summed = 1; summed < 1 << s.size(); ++summed) sum_case<T>(t, s, l, summed);
    }
  }
}

}  // namespace

FASTATTN_TEST(sum) {
  all<float>(t);
  all<double>(t);
  all<Bf16>(t);
}
