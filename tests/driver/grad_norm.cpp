#include "driver.h"

using namespace driver;

namespace {

template <class T>
void norm_and_scale(Test& t, const std::vector<Shape>& shapes) {
  Random r(3);
  std::vector<Array<T>> grads;
  std::vector<fa_tensor> tensors;
  long double squares = 0;  // a plain sum of 10^5 doubles would be off by more than what is allowed
  for (const Shape& s : shapes) {
    grads.push_back(Array<T>(s).fill(r));
    tensors.push_back(grads.back());
    for (long double g : grads.back().values()) squares += g * g;
  }
  Array<double> total(Shape{});
  const fa_grad_norm_params norm = {static_cast<int64_t>(shapes.size()), tensors.data(), total};
  call_both(t, "grad_norm", table().grad_norm, norm, {total.storage()});
  close(t, "grad_norm", total, {static_cast<double>(std::sqrt(squares))}, 64);

  const fa_grad_scale_params scale = {static_cast<int64_t>(shapes.size()), tensors.data(), 0.375};
  std::vector<std::vector<double>> expected;
  for (const auto& g : grads) {
    expected.push_back(g.values());
    for (double& e : expected.back()) e = static_cast<double>(static_cast<T>(e) * T(0.375));
  }
  t.expect(call(table().grad_scale, scale, 3) == FA_OK, "grad_scale");
  for (size_t k = 0; k < grads.size(); ++k) close(t, "grad_scale " + text_of(shapes[k]), grads[k], expected[k], 0);
}

template <class T>
void lists(Test& t) {
  norm_and_scale<T>(t, {});
  norm_and_scale<T>(t, {{0}});
  norm_and_scale<T>(t, {{}});
  norm_and_scale<T>(t, {{1}, {3}, {7}, {16}, {17}, {63}, {64}, {65}, {5, 13, 2}});
  norm_and_scale<T>(t, {{32768}, {1}, {70001}});
}

}  // namespace

FASTATTN_TEST(grad_norm) {
  lists<float>(t);
  lists<double>(t);
}
