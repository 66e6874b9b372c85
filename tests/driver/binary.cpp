// binary: any strides, broadcast operands, numbers, in place.
#include "../formulas.h"
#include "driver.h"

using namespace driver;

namespace {

// a and b have `shape`; b is broadcast along the axes of `repeated`.
template <class T>
void binary_case(Test& t, const Shape& shape, Layout layout, std::initializer_list<int> repeated, int f) {
  Random r(9);
  Array<T> a(shape, layout), b(shape, layout, repeated), out(shape, Layout::kRowGap);
  auto number = [&] { return 0.5 + r.uniform(); };
  a.fill(number);
  b.fill(number);
  const auto x = a.values(), y = b.values();
  std::vector<double> both, left, right;
  for (size_t i = 0; i < x.size(); ++i) {
    both.push_back(formulas::binary(f, x[i], y[i]));
    left.push_back(formulas::binary(f, x[i], 0.75));
    right.push_back(formulas::binary(f, 0.75, y[i]));
  }
  const std::string what = "binary " + std::to_string(f) + " " + text_of(shape);
  fa_binary_params p = {a, b, out, 0.75, f};
  call_both(t, what, table().binary, p, {out.storage()});
  close(t, what, out, both, 1);
  p.a.data = nullptr;
  call_both(t, what + " number on the left", table().binary, p, {out.storage()});
  close(t, what + " number on the left", out, right, 1);
  p.a = a;
  p.b.data = nullptr;
  p.out = a;
  call_both(t, what + " number, in place", table().binary, p, {a.storage()});
  close(t, what + " number, in place", a, left, 1);
}

template <class T>
void all(Test& t) {
  for (int f = FA_ADD; f <= FA_MINIMUM; ++f) {
    for (Layout l : kLayouts) {
      for (const Shape& s : {Shape{}, Shape{0}, Shape{1}, Shape{17}, Shape{5, 33}, Shape{3, 0}, Shape{70, 300}}) {
        binary_case<T>(t, s, l, {}, f);
      }
      binary_case<T>(t, {5, 33}, l, {0}, f);
      binary_case<T>(t, {5, 33}, l, {1}, f);
      binary_case<T>(t, {3, 4, 37}, l, {0, 2}, f);
      binary_case<T>(t, {300, 2}, l, {1}, f);
    }
  }
}

}  // namespace

FASTATTN_TEST(binary) {
  all<float>(t);
  all<double>(t);
  all<Bf16>(t);
}
