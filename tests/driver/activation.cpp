// activation_fwd and activation_bwd, and matmul's use of the same functions: any strides, in place.
#include "driver.h"

using namespace driver;

namespace {

const Shape kShapes[] = {{}, {0}, {1}, {15}, {16}, {17}, {3, 0}, {5, 33}, {3, 1, 37}, {2, 3, 4, 5}, {70, 300}};
constexpr fa_activation kActivations[] = {FA_ACT_GELU, FA_ACT_GELU_TANH, FA_ACT_SILU, FA_ACT_RELU, FA_ACT_SIGMOID};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double value(double x, fa_activation f) {
  switch (f) {
    case FA_ACT_GELU: return 0.5 * x * std::erfc(-x / std::sqrt(2));
    case FA_ACT_GELU_TANH: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case FA_ACT_SILU: return x * sigmoid(x);
    case FA_ACT_RELU: return x > 0 ? x : 0;
    default: return sigmoid(x);
  }
}
double slope(double x, fa_activation f) {
  const double s = sigmoid(x);
  switch (f) {
    case FA_ACT_GELU: return 0.5 * std::erfc(-x / std::sqrt(2)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
    case FA_ACT_GELU_TANH: {
      const double c = std::sqrt(2 / M_PI), th = std::tanh(c * (x + 0.044715 * x * x * x));
      return 0.5 * (1 + th) + 0.5 * x * (1 - th * th) * c * (1 + 3 * 0.044715 * x * x);
    }
    case FA_ACT_SILU: return s + x * s * (1 - s);
    case FA_ACT_RELU: return x > 0 ? 1 : 0;
    default: return s * (1 - s);
  }
}

template <class T>
void activation_case(Test& t, const Shape& shape, Layout layout, fa_activation f, bool in_place) {
  Random r(6);
  Array<T> x(shape, layout), out = in_place ? x : Array<T>(shape);
  x.fill(r, 2);
  std::vector<double> expected, gradient;
  for (double v : x.values()) expected.push_back(value(v, f));
  const std::string what = "activation " + std::to_string(f) + " " + text_of(shape);
  call_both(t, what, table().activation_fwd, fa_activation_fwd_params{x, out, f}, {out.storage()});
  close(t, what, out, expected, 8);

  Array<T> dout(shape, layout), dx = in_place ? dout : Array<T>(shape);
  x.fill(r, 2);
  dout.fill(r);
  const auto xs = x.values(), ds = dout.values();
  for (size_t i = 0; i < xs.size(); ++i) gradient.push_back(ds[i] * slope(xs[i], f));
  call_both(t, what + " bwd", table().activation_bwd, fa_activation_bwd_params{x, dout, dx, f}, {dx.storage()});
  close(t, what + " bwd", dx, gradient, 16);
}

template <class T>
void all(Test& t) {
  for (const Shape& s : kShapes) {
    for (fa_activation f : kActivations) {
      for (Layout l : kLayouts) activation_case<T>(t, s, l, f, l == Layout::kRowGap);
    }
  }
}

}  // namespace

FASTATTN_TEST(activation) {
  all<float>(t);
  all<double>(t);
  all<Bf16>(t);
  Array<float> x(Shape{3}), out(Shape{3});
  std::string reason;
  const fa_activation_fwd_params unknown = {x, out, FA_ACT_NONE};
  t.expect(call(table().activation_fwd, unknown, 1, &reason) == FA_UNSUPPORTED, "FA_ACT_NONE is refused");
  t.expect(reason == "no such activation", "reason '" + reason + "'");
}
