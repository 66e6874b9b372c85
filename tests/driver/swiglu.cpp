// swiglu_fwd and swiglu_bwd: any strides, in place.
#include "driver.h"

using namespace driver;

namespace {

template <class T>
void swiglu_case(Test& t, const Shape& shape, Layout layout, Layout other, bool in_place) {
  Random r(8);
  Array<T> gate(shape, layout), up(shape, other), out = in_place ? gate : Array<T>(shape, other);
  Array<T> dout(shape, other), dgate(shape, layout), dup(shape, other);
  gate.fill(r, 2);
  up.fill(r);
  dout.fill(r);
  const auto g = gate.values(), u = up.values(), d = dout.values();
  std::vector<double> expected, dgates, dups;
  for (size_t i = 0; i < g.size(); ++i) {
    const double s = 1 / (1 + std::exp(-g[i]));
    expected.push_back(g[i] * s * u[i]);
    dgates.push_back(d[i] * u[i] * (s + g[i] * s * (1 - s)));
    dups.push_back(d[i] * g[i] * s);
  }
  const std::string what = "swiglu " + text_of(shape);
  call_both(t, what + " bwd", table().swiglu_bwd, fa_swiglu_bwd_params{gate, up, dout, dgate, dup},
            {dgate.storage(), dup.storage()});
  close(t, what + " dgate", dgate, dgates, 16);
  close(t, what + " dup", dup, dups, 16);
  call_both(t, what, table().swiglu_fwd, fa_swiglu_fwd_params{gate, up, out}, {out.storage()});
  close(t, what, out, expected, 16);
}

template <class T>
void all(Test& t) {
  for (const Shape& s : {Shape{}, Shape{0}, Shape{1}, Shape{17}, Shape{5, 33}, Shape{3, 1, 37}, Shape{70, 300}}) {
    for (Layout l : kLayouts) {
      for (Layout m : kLayouts) swiglu_case<T>(t, s, l, m, l == Layout::kRowGap);
    }
  }
}

}  // namespace

FASTATTN_TEST(swiglu) {
  all<float>(t);
  all<double>(t);
  all<Bf16>(t);
}
