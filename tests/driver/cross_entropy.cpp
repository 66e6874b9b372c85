#include "../formulas.h"
#include "driver.h"

using namespace driver;

namespace {

template <class T, class I>
void cross_entropy_case(Test& t, int64_t n, int64_t classes, Layout layout, fa_reduction reduction, bool ignored,
                        double smoothing = 0) {
  const std::string what = "cross_entropy " + text_of({n, classes}) + " reduction " + std::to_string(reduction) +
                           " smoothing " + std::to_string(smoothing);
  Random r(17);
  const int64_t ignore = ignored ? (reduction == FA_REDUCE_SUM ? 0 : -100) : -100;
  Array<T> logits(Shape{n, classes}, layout);
  logits.fill(r, 3);
  Array<I> target(Shape{n}, layout);
  target.fill([&] { return static_cast<double>(ignored && r.below(3) == 0 ? ignore : r.below(classes)); });
  const Shape loss_shape = reduction == FA_REDUCE_NONE ? Shape{n} : Shape{};
  Array<T> loss(loss_shape), lse(Shape{n});
  Array<T> weight;  // with smoothing, both are on
  if (smoothing > 0) weight = Array<T>(Shape{classes}, layout).fill([&] { return 0.1 + r.uniform(); });
  const fa_tensor weights = smoothing > 0 ? weight.tensor() : fa_tensor{};
  // What class c of row i is scored with.
  auto label = [&](int64_t i, int64_t c) {
    const double w = smoothing > 0 ? weight[c] : 1;
    return target[i] == ignore ? 0 : formulas::smoothed(c == target[i], w, smoothing, classes);
  };
  auto row = [&](int64_t i) {
    return formulas::CrossEntropy(
        classes, [&logits, i](int64_t c) -> double { return logits(i, c); },
        [&label, i](int64_t c) { return label(i, c); });
  };
  std::vector<double> losses, lses;
  double sum = 0, kept = 0;
  for (int64_t i = 0; i < n; ++i) {
    const auto of = row(i);
    const bool counts = target[i] != ignore;
    lses.push_back(of.lse);
    losses.push_back(of.loss);
    sum += of.loss;
    kept += !counts ? 0 : smoothing > 0 ? weight[target[i]] : 1;
  }
  if (reduction == FA_REDUCE_SUM) losses = {sum};
  if (reduction == FA_REDUCE_MEAN) losses = {sum / kept};  // 0 / 0 is NaN: what is promised
  const fa_cross_entropy_fwd_params p = {logits, target, weights, loss, lse, ignore, reduction, smoothing};
  call_both(t, what, table().cross_entropy_fwd, p, {loss.storage(), lse.storage()});
  close(t, what, loss, losses, 32);
  for (int64_t i = 0; i < n; ++i) {  // an ignored row's lse is nobody's
    if (target[i] == ignore) lse[i] = static_cast<T>(lses[static_cast<size_t>(i)]);
  }
  close(t, what + " lse", lse, lses, 16);

  Array<T> dloss(loss_shape), dlogits(Shape{n, classes}, Layout::kRowGap);
  dloss.fill(r);
  std::vector<double> gradient;
  for (int64_t i = 0; i < n; ++i) {
    const double g = (reduction == FA_REDUCE_NONE ? dloss[i] : dloss[0]) / (reduction == FA_REDUCE_MEAN ? kept : 1);
    const auto of = row(i);
    for (int64_t c = 0; c < classes; ++c) gradient.push_back(target[i] == ignore ? 0 : of.dlogits(c, g));
  }
  const fa_cross_entropy_bwd_params b = {logits,  target,      weights, lse,       dloss,
                                         dlogits, fa_tensor{}, ignore,  reduction, smoothing};
  call_both(t, what + " bwd", table().cross_entropy_bwd, b, {dlogits.storage()});
  close(t, what + " bwd", dlogits, gradient, 64);
}

template <class T>
void cross_entropy(Test& t) {
  for (fa_reduction reduction : {FA_REDUCE_NONE, FA_REDUCE_SUM, FA_REDUCE_MEAN}) {
    for (bool ignored : {false, true}) {
      for (int64_t n : {0, 1, 3, 37}) {
        for (int64_t classes : {1, 10, 16, 17, 65, 131}) {
          for (Layout l : kLayouts) {
            if (n == 3 || l == Layout::kContiguous)
              cross_entropy_case<T, int64_t>(t, n, classes, l, reduction, ignored, n == 37 ? 0.2 : 0);
          }
        }
      }
      cross_entropy_case<T, int32_t>(t, 130, 1001, Layout::kContiguous, reduction, ignored);
    }
  }
  Array<T> logits(Shape{3, 65}), loss(Shape{3}), lse(Shape{3}), dlogits(Shape{3, 65});
  for (Array<T>* a : {&logits, &loss, &lse, &dlogits}) a->fill([] { return 1; });
  Array<int64_t> target(Shape{3});
  for (int64_t bad : {int64_t{65}, int64_t{-1}}) {
    target.fill([] { return 64; });
    target[2] = bad;
    expect_invalid(t, "bad class", table().cross_entropy_fwd,
                   fa_cross_entropy_fwd_params{logits, target, {}, loss, lse, -100, FA_REDUCE_NONE, 0}, loss.storage(),
                   std::to_string(bad));
    expect_invalid(t, "bad class bwd", table().cross_entropy_bwd,
                   fa_cross_entropy_bwd_params{logits, target, {}, lse, loss, dlogits, {}, -100, FA_REDUCE_NONE, 0},
                   dlogits.storage(), std::to_string(bad));
  }
}

// Probabilities, with both gradients.
template <class T>
void probabilities_case(Test& t, int64_t n, int64_t classes, bool weighted) {
  const std::string what = "cross_entropy of probabilities " + text_of({n, classes});
  Random r(5);
  const double smoothing = 0.1;
  Array<T> logits(Shape{n, classes}), y(Shape{n, classes}, Layout::kRowGap), weight(Shape{classes});
  Array<T> loss(Shape{}), lse(Shape{n}), dloss(Shape{}), dlogits(logits.shape()), dy(y.shape(), Layout::kRowGap);
  logits.fill(r, 3);
  y.fill([&] { return r.uniform(); });
  weight.fill([&] { return 0.1 + r.uniform(); });
  dloss.fill(r);
  std::vector<double> dx_expected, dy_expected;
  double sum = 0;
  const double g = dloss[0] / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    auto w = [&](int64_t c) { return weighted ? static_cast<double>(weight[c]) : 1; };
    const formulas::CrossEntropy of(
        classes, [&](int64_t c) -> double { return logits(i, c); },
        [&](int64_t c) { return formulas::smoothed(y(i, c), w(c), smoothing, classes); });
    sum += of.loss;
    for (int64_t c = 0; c < classes; ++c) {
      dx_expected.push_back(of.dlogits(c, g));
      dy_expected.push_back(of.dtarget(c, g, (1 - smoothing) * w(c)));
    }
  }
  const fa_tensor weights = weighted ? weight.tensor() : fa_tensor{};
  const fa_cross_entropy_fwd_params p = {logits, y, weights, loss, lse, -100, FA_REDUCE_MEAN, smoothing};
  call_both(t, what, table().cross_entropy_fwd, p, {loss.storage(), lse.storage()});
  close(t, what, loss, {sum / static_cast<double>(n)}, 64);
  const fa_cross_entropy_bwd_params b = {logits, y, weights, lse, dloss, dlogits, dy, -100, FA_REDUCE_MEAN, smoothing};
  call_both(t, what + " bwd", table().cross_entropy_bwd, b, {dlogits.storage(), dy.storage()});
  close(t, what + " dlogits", dlogits, dx_expected, 64);
  close(t, what + " dtarget", dy, dy_expected, 64);
}

}  // namespace

FASTATTN_TEST(cross_entropy) {
  cross_entropy<float>(t);
  cross_entropy<double>(t);
  for (int64_t classes : {1, 15, 16, 33}) {
    for (bool weighted : {false, true}) {
      probabilities_case<float>(t, 5, classes, weighted);
      probabilities_case<double>(t, 5, classes, weighted);
    }
  }
}
