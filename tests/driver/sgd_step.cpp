#include "driver.h"

using namespace driver;

namespace {

template <class T>
void sgd_case(Test& t, int64_t n, double momentum, bool nesterov, bool first_step, bool maximize, bool zero_grads) {
  Random r(5);
  Array<T> p(Shape{n}), g(Shape{n}), b(Shape{n});
  for (Array<T>* a : {&p, &g, &b}) a->fill(r);
  if (first_step) b.fill([] { return std::nan(""); });
  const fa_tensor tp = p, tg = g, tb = b;
  fa_sgd_step_params a = {};
  a.num_tensors = 1;
  a.params = &tp;
  a.grads = &tg;
  a.momentum_buffers = momentum != 0 ? &tb : nullptr;
  a.lr = 0.1;
  a.momentum = momentum;
  a.dampening = nesterov ? 0 : 0.25;
  a.weight_decay = 0.01;
  a.grad_scale = 2;
  a.nesterov = nesterov;
  a.maximize = maximize;
  a.first_step = first_step;
  a.zero_grads = zero_grads;
  auto ep = p.values(), eg = g.values(), eb = b.values();
  for (size_t i = 0; i < ep.size(); ++i) {
    double grad = (maximize ? -2 : 2) * eg[i] + a.weight_decay * ep[i];
    if (momentum != 0) {
      eb[i] = first_step ? grad : momentum * eb[i] + (1 - a.dampening) * grad;
      grad = nesterov ? grad + momentum * eb[i] : eb[i];
    }
    ep[i] -= a.lr * grad;
    if (zero_grads) eg[i] = 0;
  }
  const std::string what = "sgd " + std::to_string(n);
  call_both(t, what, table().sgd_step, a, {p.storage(), g.storage(), b.storage()});
  close(t, what + " p", p, ep, 8);
  close(t, what + " g", g, eg, 0);
  close(t, what + " b", b, eb, 8);
}

template <class T>
void sgd(Test& t) {
  for (int64_t n : {0, 1, 7, 16, 17, 33, 1009}) {
    for (int flags = 0; flags < 16; ++flags) {
      sgd_case<T>(t, n, 0.9, flags & 1, flags & 2, flags & 4, flags & 8);
    }
    sgd_case<T>(t, n, 0, false, true, false, false);
  }
  sgd_case<T>(t, 70001, 0.9, true, false, false, true);
}

}  // namespace

FASTATTN_TEST(sgd_step) {
  sgd<float>(t);
  sgd<double>(t);
}
