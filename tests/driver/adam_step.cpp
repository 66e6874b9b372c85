#include "driver.h"

using namespace driver;

namespace {

template <class T>
struct Model {
  std::vector<Array<T>> arrays;
  std::vector<fa_tensor> tensors;
  void add(const Shape& shape, Random& r, double low, double scale) {
    arrays.push_back(Array<T>(shape).fill([&] { return low + scale * r.uniform(); }));
    tensors.push_back(arrays.back());
  }
  std::vector<std::vector<double>> values() const {
    std::vector<std::vector<double>> v;
    for (const auto& a : arrays) v.push_back(a.values());
    return v;
  }
};

template <class T>
void adam_case(Test& t, const std::vector<Shape>& shapes, bool amsgrad, bool decoupled, bool maximize, bool zero_grads,
               double max_norm = 0) {
  Random r(7);
  Model<T> p, g, m, v, x;
  for (const Shape& s : shapes) {
    p.add(s, r, -1, 2);
    g.add(s, r, -1, 2);
    m.add(s, r, -0.1, 0.2);
    v.add(s, r, 0, 0.1);
    x.add(s, r, 0, 0.1);
  }
  fa_adam_step_params a = {};
  a.num_tensors = static_cast<int64_t>(shapes.size());
  a.params = p.tensors.data();
  a.grads = g.tensors.data();
  a.exp_avgs = m.tensors.data();
  a.exp_avg_sqs = v.tensors.data();
  a.max_exp_avg_sqs = amsgrad ? x.tensors.data() : nullptr;
  a.lr = 0.01;
  a.beta1 = 0.9;
  a.beta2 = 0.99;
  a.eps = 1e-8;
  a.weight_decay = 0.1;
  a.grad_scale = 0.5;
  a.step = 3;
  a.decoupled = decoupled;
  a.amsgrad = amsgrad;
  a.maximize = maximize;
  a.zero_grads = zero_grads;

  double found = 0, squares = 0, scale = 0.5;
  if (max_norm > 0) {
    a.norm = &found;
    a.max_norm = max_norm;
    for (const auto& array : g.arrays) {
      for (double x : array.values()) squares += 0.25 * x * x;
    }
    scale *= std::min(1.0, max_norm / (std::sqrt(squares) + 1e-6));
  }

  auto ep = p.values(), eg = g.values(), em = m.values(), ev = v.values(), ex = x.values();
  for (size_t k = 0; k < shapes.size(); ++k) {
    for (size_t i = 0; i < ep[k].size(); ++i) {
      double grad = eg[k][i] * (maximize ? -scale : scale);
      if (decoupled) {
        ep[k][i] *= 1 - a.lr * a.weight_decay;
      } else {
        grad += a.weight_decay * ep[k][i];
      }
      em[k][i] = a.beta1 * em[k][i] + (1 - a.beta1) * grad;
      ev[k][i] = a.beta2 * ev[k][i] + (1 - a.beta2) * grad * grad;
      if (amsgrad) ex[k][i] = std::max(ex[k][i], ev[k][i]);
      const double root = std::sqrt(amsgrad ? ex[k][i] : ev[k][i]) / std::sqrt(1 - std::pow(a.beta2, 3));
      ep[k][i] -= a.lr / (1 - std::pow(a.beta1, 3)) * em[k][i] / (root + a.eps);
      if (zero_grads) eg[k][i] = 0;
    }
  }
  std::vector<Storage> outputs;
  for (const Model<T>* model : {&p, &g, &m, &v, &x}) {
    for (const auto& array : model->arrays) outputs.push_back(array.storage());
  }
  call_both(t, "adam", table().adam_step, a, outputs);
  if (max_norm > 0 && !zero_grads) {
    t.expect(std::fabs(found - std::sqrt(squares)) <= 1e-12 * found, "adam: the norm of the gradients");
  }
  for (size_t k = 0; k < shapes.size(); ++k) {
    const std::string what = "adam " + text_of(shapes[k]);
    close(t, what + " p", p.arrays[k], ep[k], 32);
    close(t, what + " g", g.arrays[k], eg[k], 0);
    close(t, what + " m", m.arrays[k], em[k], 8);
    close(t, what + " v", v.arrays[k], ev[k], 8);
    if (amsgrad) close(t, what + " vmax", x.arrays[k], ex[k], 8);
  }
}

template <class T>
void adam(Test& t) {
  for (int flags = 0; flags < 16; ++flags) {
    const bool amsgrad = flags & 1, decoupled = flags & 2, maximize = flags & 4, zero = flags & 8;
    // Sizes around a vector and, in one list, around an item of 32 K elements and its alignment of 64.
    adam_case<T>(t, {{0}, {1}, {3, 5}, {16}, {17}, {64}, {65}, {}, {7, 11, 13}}, amsgrad, decoupled, maximize, zero);
  }
  adam_case<T>(t, {{32767}, {1}, {32769}, {0}, {3}}, false, true, false, false);
  adam_case<T>(t, {{70001}}, true, false, false, true);
  adam_case<T>(t, {}, false, false, false, false);
  for (double max_norm : {0.5, 1e9}) adam_case<T>(t, {{70001}, {3}}, false, true, true, false, max_norm);

  Random r(1);
  Array<T> p(Shape{33}), g(Shape{33}), m(Shape{33}), v(Shape{33});
  for (Array<T>* a : {&p, &g, &m, &v}) a->fill(r);
  const fa_tensor tp = p, tg = g, tm = m, tv = v;
  const float overflowed = 1;
  fa_adam_step_params a = {};
  a.num_tensors = 1;
  a.params = &tp;
  a.grads = &tg;
  a.exp_avgs = &tm;
  a.exp_avg_sqs = &tv;
  a.found_inf = &overflowed;
  a.lr = a.grad_scale = a.step = 1;
  a.zero_grads = 1;
  const auto before = p.values(), grads = g.values();
  t.expect(call(table().adam_step, a, 3) == FA_OK, "found_inf");
  t.expect(p.values() == before && g.values() == grads, "found_inf changed something");
  double norm = 0;
  a.found_inf = nullptr;
  a.norm = &norm;
  a.max_norm = 1;
  g[32] = static_cast<T>(NAN);
  t.expect(call(table().adam_step, a, 3) == FA_OK && std::isnan(norm), "a norm that is not finite");
  t.expect(p.values() == before, "a norm that is not finite changed something");
}

// 16-bit params are the roundings of their masters.
void masters_case(Test& t, int64_t n) {
  Random r(3);
  Array<Bf16> p(Shape{n}), g(Shape{n});
  Array<float> m(Shape{n}), v(Shape{n}), master(Shape{n});
  p.fill(r);
  g.fill(r);
  for (int64_t i = 0; i < n; ++i) {
    master[i] = p[i];
    m[i] = v[i] = 0;
  }
  const fa_tensor tp = p, tg = g, tm = m, tv = v, tmaster = master;
  fa_adam_step_params a = {};
  a.num_tensors = 1;
  a.params = &tp;
  a.grads = &tg;
  a.exp_avgs = &tm;
  a.exp_avg_sqs = &tv;
  a.masters = &tmaster;
  a.lr = 0.01;
  a.beta1 = 0.9;
  a.beta2 = 0.99;
  a.eps = 1e-8;
  a.grad_scale = a.step = 1;
  const auto before = master.values();
  const std::string what = "adam, masters " + std::to_string(n);
  call_both(t, what, table().adam_step, a, {p.storage(), m.storage(), v.storage(), master.storage()});
  for (int64_t i = 0; i < n; ++i) {
    const double slope = g[i], step = 0.01 * slope / (std::fabs(slope) + a.eps);  // of the first step
    const double expected = before[static_cast<size_t>(i)] - step;
    t.expect(std::fabs(master[i] - expected) < 1e-6, what + ": master");
    t.expect(p[i] == Bf16(master[i]), what + ": rounding");
  }
}

}  // namespace

FASTATTN_TEST(adam_step) {
  for (int64_t n : {0, 1, 15, 16, 17, 40000}) masters_case(t, n);
  adam<float>(t);
  adam<double>(t);
}
