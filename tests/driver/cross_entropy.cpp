#include "driver.h"

using namespace driver;

namespace {

template <class T, class I>
void cross_entropy_case(Test& t, int64_t n, int64_t classes, Layout layout, fa_reduction reduction, bool ignored) {
  const std::string what = "cross_entropy " + text_of({n, classes}) + " reduction " + std::to_string(reduction);
  Random r(17);
  const int64_t ignore = ignored ? (reduction == FA_REDUCE_SUM ? 0 : -100) : -100;
  Array<T> logits(Shape{n, classes}, layout);
  logits.fill(r, 3);
  Array<I> target(Shape{n}, layout);
  target.fill([&] { return static_cast<double>(ignored && r.below(3) == 0 ? ignore : r.below(classes)); });
  const Shape loss_shape = reduction == FA_REDUCE_NONE ? Shape{n} : Shape{};
  Array<T> loss(loss_shape), lse(Shape{n});
  std::vector<double> losses, lses;
  double sum = 0, kept = 0;
  for (int64_t i = 0; i < n; ++i) {
    double largest = -std::numeric_limits<double>::infinity(), s = 0;
    for (int64_t c = 0; c < classes; ++c) largest = std::max<double>(largest, logits(i, c));
    for (int64_t c = 0; c < classes; ++c) s += std::exp(logits(i, c) - largest);
    lses.push_back(largest + std::log(s));
    const bool counts = target[i] != ignore;
    losses.push_back(counts ? lses.back() - logits(i, target[i]) : 0);
    sum += losses.back();
    kept += counts;
  }
  if (reduction == FA_REDUCE_SUM) losses = {sum};
  if (reduction == FA_REDUCE_MEAN) losses = {sum / kept};  // 0 / 0 is NaN: what is promised
  const fa_cross_entropy_fwd_params p = {logits, target, loss, lse, ignore, reduction};
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
    for (int64_t c = 0; c < classes; ++c) {
      const double soft = std::exp(logits(i, c) - lses[static_cast<size_t>(i)]);
      gradient.push_back(target[i] == ignore ? 0 : g * (soft - (c == target[i] ? 1 : 0)));
    }
  }
  const fa_cross_entropy_bwd_params b = {logits, target, lse, dloss, dlogits, ignore, reduction};
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
              cross_entropy_case<T, int64_t>(t, n, classes, l, reduction, ignored);
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
                   fa_cross_entropy_fwd_params{logits, target, loss, lse, -100, FA_REDUCE_NONE}, loss.storage(),
                   std::to_string(bad));
    expect_invalid(t, "bad class bwd", table().cross_entropy_bwd,
                   fa_cross_entropy_bwd_params{logits, target, lse, loss, dlogits, -100, FA_REDUCE_NONE},
                   dlogits.storage(), std::to_string(bad));
  }
}

}  // namespace

FASTATTN_TEST(cross_entropy) {
  cross_entropy<float>(t);
  cross_entropy<double>(t);
}
