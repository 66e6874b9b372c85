// unary: element by element, any strides, in place.
#include "driver.h"

using namespace driver;

namespace {

const Shape kShapes[] = {{}, {0}, {1}, {15}, {16}, {17}, {3, 0}, {5, 33}, {3, 1, 37}, {2, 3, 4, 5}, {70, 300}};

template <class T>
void unary_case(Test& t, const Shape& shape, Layout layout, fa_unary_function function, bool in_place) {
  Random r(4);
  Array<T> x(shape, layout), out = in_place ? x : Array<T>(shape);
  const double low = function == FA_LOG ? 0.01 : -8;
  x.fill([&] { return low + 16 * r.uniform(); });
  std::vector<double> expected;
  double scale = 1;
  for (double v : x.values()) {
    expected.push_back(function == FA_EXP    ? std::exp(v)
                       : function == FA_LOG  ? std::log(v)
                       : function == FA_TANH ? std::tanh(v)
                                             : std::erf(v));
    scale = std::max(scale, std::fabs(expected.back()));
  }
  const std::string what = "unary " + std::to_string(function) + " " + text_of(shape);
  call_both(t, what, table().unary, fa_unary_params{x, out, function}, {out.storage()});
  close(t, what, out, expected, 8, scale);
}

template <class T>
void special(Test& t) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  for (int function : {FA_EXP, FA_LOG, FA_TANH, FA_ERF}) {
    Array<T> x(Shape{5}), out(Shape{5});
    const double in[] = {-inf, inf, nan, 0, 1};
    int k = 0;
    x.fill([&] { return in[k++]; });
    std::vector<double> expected;
    for (double v : in) {
      expected.push_back(function == FA_EXP    ? std::exp(v)
                         : function == FA_LOG  ? std::log(v)
                         : function == FA_TANH ? std::tanh(v)
                                               : std::erf(v));
    }
    call_both(t, "special values", table().unary, fa_unary_params{x, out, function}, {out.storage()});
    close(t, "special values of " + std::to_string(function), out, expected, 8);
  }
}

template <class T>
void all_unary(Test& t) {
  for (const Shape& s : kShapes) {
    for (fa_unary_function f : {FA_EXP, FA_LOG, FA_TANH, FA_ERF}) {
      for (Layout l : kLayouts) unary_case<T>(t, s, l, f, l == Layout::kStep);
    }
  }
  special<T>(t);
}

}  // namespace

FASTATTN_TEST(unary) {
  all_unary<float>(t);
  all_unary<double>(t);
  all_unary<Bf16>(t);
}
