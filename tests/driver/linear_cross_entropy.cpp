#include "driver.h"

using namespace driver;

namespace {

struct Case {
  int64_t rows = 5, width = 4, classes = 7;
  Layout layout = Layout::kContiguous;
  fa_reduction reduction = FA_REDUCE_MEAN;
  bool ignored = false, biased = false, given = false;  // given: dloss of every row
  double smoothing = 0;
};

template <class T>
void linear_case(Test& t, const Case& c) {
  const int64_t N = c.rows, D = c.width, V = c.classes;
  const std::string what = "linear_cross_entropy " + text_of({N, D, V}) + " reduction " + std::to_string(c.reduction) +
                           (c.ignored ? " ignored" : "") + (c.given ? " dloss" : "");
  Random r(11);
  Array<T> x(Shape{N, D}, c.layout), w(Shape{V, D}, c.layout), bias(Shape{V}, c.layout), given(Shape{N}, c.layout);
  for (Array<T>* a : {&x, &w, &bias, &given}) a->fill(r);
  Array<int64_t> target(Shape{N}, c.layout);
  target.fill([&] { return static_cast<double>(c.ignored && r.below(3) == 0 ? -100 : r.below(V)); });
  Array<T> loss(c.reduction == FA_REDUCE_NONE ? Shape{N} : Shape{}), dx(Shape{N, D}), dw(Shape{V, D}), db(Shape{V});
  std::vector<double> losses, dws(static_cast<size_t>(V * D)), dbs(static_cast<size_t>(V));
  std::vector<long double> dxs(static_cast<size_t>(N * D));  // sums over all classes, of which there may be millions
  double kept = 0, sum = 0;
  for (int64_t i = 0; i < N; ++i) kept += target[i] != -100;
  for (int64_t i = 0; i < N; ++i) {
    losses.push_back(0);
    if (target[i] == -100) continue;
    std::vector<double> s;
    long double total = 0;
    for (int64_t v = 0; v < V; ++v) {
      double z = c.biased ? static_cast<double>(bias[v]) : 0;
      for (int64_t d = 0; d < D; ++d) z += static_cast<double>(x(i, d)) * w(v, d);
      s.push_back(z);
      total += std::exp(z);
    }
    const auto sum_of_row = static_cast<double>(total);
    const double g = c.given ? given[i] : c.reduction == FA_REDUCE_MEAN ? 1 / kept : 1;
    for (int64_t v = 0; v < V; ++v) {
      const double q = (1 - c.smoothing) * (v == target[i] ? 1 : 0) + c.smoothing / static_cast<double>(V);
      const double z = s[static_cast<size_t>(v)];
      losses.back() += q * (std::log(sum_of_row) - z);
      const double ds = g * (std::exp(z) / sum_of_row - q);
      dbs[static_cast<size_t>(v)] += ds;
      for (int64_t d = 0; d < D; ++d) {
        dxs[static_cast<size_t>(i * D + d)] += ds * w(v, d);
        dws[static_cast<size_t>(v * D + d)] += ds * x(i, d);
      }
    }
    sum += losses.back();
  }
  if (c.reduction == FA_REDUCE_SUM) losses = {sum};
  if (c.reduction == FA_REDUCE_MEAN) losses = {sum / kept};
  fa_linear_cross_entropy_params p = {};
  p.input = x;
  p.weight = w;
  p.target = target;
  p.loss = loss;
  if (c.biased) p.bias = bias;
  if (c.given) p.dloss = given;
  p.ignore_index = -100;
  p.reduction = c.reduction;
  p.label_smoothing = c.smoothing;
  call_both(t, what, table().linear_cross_entropy, p, {loss.storage()});
  close(t, what, loss, losses, 64);
  p.dinput = dx;
  p.dweight = dw;
  p.dbias = db;
  call_both(t, what + " with gradients", table().linear_cross_entropy, p,
            {loss.storage(), dx.storage(), dw.storage(), db.storage()});
  close(t, what, loss, losses, 64);
  close(t, what + " dinput", dx, {dxs.begin(), dxs.end()}, 64);
  close(t, what + " dweight", dw, dws, 64);
  close(t, what + " dbias", db, dbs, 64);
}

template <class T>
void linear_cross_entropy(Test& t) {
  for (fa_reduction reduction : {FA_REDUCE_NONE, FA_REDUCE_SUM, FA_REDUCE_MEAN}) {
    for (bool ignored : {false, true}) {
      linear_case<T>(t, {.reduction = reduction, .ignored = ignored});
      linear_case<T>(t, {.rows = 33,
                         .width = 17,
                         .classes = 65,
                         .reduction = reduction,
                         .ignored = ignored,
                         .biased = true,
                         .smoothing = 0.1});
      linear_case<T>(t, {.rows = 0, .reduction = reduction});
      linear_case<T>(t, {.rows = 1, .width = 1, .classes = 1, .reduction = reduction});
    }
  }
  for (Layout layout : kLayouts) linear_case<T>(t, {.rows = 19, .width = 9, .layout = layout, .biased = true});
  linear_case<T>(t, {.rows = 21, .reduction = FA_REDUCE_NONE, .ignored = true, .biased = true, .given = true});
  // Chunks of a few rows.
  linear_case<T>(t, {.rows = 11, .width = 2, .classes = (int64_t(32) << 20) / 4 / 5, .ignored = true, .biased = true});
}

}  // namespace

FASTATTN_TEST(linear_cross_entropy) {
  linear_cross_entropy<float>(t);
  linear_cross_entropy<double>(t);

  Array<float> grad(Shape{5, 37}), dloss(Shape{}), out(Shape{5, 37});
  Random r(3);
  grad.fill(r);
  dloss.fill([] { return 0.25; });
  std::vector<double> expected;
  for (double g : grad.values()) expected.push_back(0.25 * g);
  const fa_linear_cross_entropy_bwd_params p = {grad, dloss, out};
  call_both(t, "linear_cross_entropy_bwd", table().linear_cross_entropy_bwd, p, {out.storage()});
  close(t, "linear_cross_entropy_bwd", out, expected, 1);
}
