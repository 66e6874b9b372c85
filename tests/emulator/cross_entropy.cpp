// csrc/cuda/cross_entropy.cu against formulas in double: ids and probabilities, weights, smoothing, reductions, and ids
// out of range.
#include "cuda/entries.h"
#include "emulator/rows.h"
#include "formulas.h"

namespace {

using namespace emulator_test;

struct Options {
  bool probabilities = false, weights = false;
  double smoothing = 0;
  int reduction = FA_REDUCE_MEAN;
  bool outside = false;  // row 2's id is C, row 3's -1
};

template <class T>
void check(Test& t, int64_t N, int64_t C, int64_t gap, const Options& o, const char* config) {
  Random random(fastattn::emulator::options().seed + 61);
  Array<T> x(N, C, C + gap), y(N, C, C), weight(1, C, C), dlogits(N, C, C), dtarget(N, C, C);
  std::vector<int64_t> ids(static_cast<size_t>(N));
  for (int64_t c = 0; c < C; ++c) set(weight.at(0, c), 1.5f + random.symmetric());
  for (int64_t r = 0; r < N; ++r) {
    for (int64_t c = 0; c < C; ++c) {
      set(x.at(r, c), 4 * random.symmetric());
      set(y.at(r, c), (1 + random.symmetric()) / static_cast<float>(C));
    }
    ids[static_cast<size_t>(r)] = r == 1 ? -100 : random.below(static_cast<int>(C));
  }
  if (o.outside) {
    ids[2] = C;
    ids[3] = -1;
  }
  auto outside = [&](int64_t r) { return o.outside && (r == 2 || r == 3); };
  auto counts = [&](int64_t r) { return o.probabilities || (r != 1 && !outside(r)); };
  auto w = [&](int64_t c) { return o.weights ? double{value(weight.at(0, c))} : 1.0; };
  auto q = [&](int64_t r, int64_t c) {
    const double on = o.probabilities ? double{value(y.at(r, c))} : ids[static_cast<size_t>(r)] == c;
    return counts(r) ? formulas::smoothed(on, w(c), o.smoothing, C) : 0;
  };
  auto row = [&](int64_t r) {
    return formulas::CrossEntropy(
        C, [&x, r](int64_t c) -> double { return value(x.at(r, c)); }, [&q, r](int64_t c) { return q(r, c); });
  };

  std::vector<double> losses, lses;
  double divisor = 0, sum = 0;
  for (int64_t r = 0; r < N; ++r) {
    const auto of = row(r);
    lses.push_back(of.lse);
    losses.push_back(of.loss);
    sum += of.loss;
    if (counts(r)) divisor += o.probabilities ? 1 : w(ids[static_cast<size_t>(r)]);
  }
  const double all = o.reduction == FA_REDUCE_MEAN ? sum / divisor : sum;
  const bool none = o.reduction == FA_REDUCE_NONE;

  std::vector<float> loss(static_cast<size_t>(none ? N : 1), kUnwritten), lse(static_cast<size_t>(N), kUnwritten);
  fa_cross_entropy_fwd_params f = {};
  f.logits = x.view(false);
  f.target = {ids.data(), FA_I64, 1, {N}, {1}};
  if (o.probabilities) f.target = y.view(false);
  if (o.weights) f.weight = {weight.block.get(), kDtype<T>, 1, {C}, {1}};
  f.loss = {loss.data(), FA_F32, none ? 1 : 0, {N}, {1}};
  f.lse = {lse.data(), FA_F32, 1, {N}, {1}};
  f.ignore_index = -100;
  f.reduction = o.reduction;
  f.label_smoothing = o.smoothing;
  fa_launch launch = {};
  launch.query = 1;
  t.expect(fastattn::cuda::cross_entropy_fwd(f, launch) == FA_OK, launch.reason);
  std::vector<float> workspace(launch.workspace_bytes / sizeof(float), kUnwritten);
  launch.query = 0;
  launch.workspace = workspace.data();
  t.expect(fastattn::cuda::cross_entropy_fwd(f, launch) == FA_OK, launch.reason);
  t.expect(std::strstr(launch.kernel, config) != nullptr, std::string(launch.kernel) + ": expected " + config);
  const std::string name = launch.kernel;
  t.expect_near(name + " lse", lse, lses, std::vector<double>(lses.size(), 1e-5));
  if (o.outside) {
    for (int64_t r = 0; r < N && none; ++r) t.expect(std::isnan(loss[static_cast<size_t>(r)]) == outside(r), "NaN");
    t.expect(none || std::isnan(loss[0]), "the reduced loss of an id out of range");
  } else if (none) {
    t.expect_near(name, loss, losses, std::vector<double>(losses.size(), 1e-4));
  } else {
    t.expect_near(name, loss, {all}, {1e-5 * (1 + std::abs(all)) * static_cast<double>(N)});
  }

  for (size_t r = 0; r < lse.size(); ++r) lse[r] = static_cast<float>(lses[r]);
  std::vector<float> dloss(static_cast<size_t>(N), 0.75f);
  fa_cross_entropy_bwd_params b = {};
  b.logits = f.logits;
  b.target = f.target;
  b.weight = f.weight;
  b.lse = f.lse;
  b.dloss = {dloss.data(), FA_F32, none ? 1 : 0, {N}, {1}};
  b.dlogits = dlogits.view(false);
  if (o.probabilities) b.dtarget = dtarget.view(false);
  b.ignore_index = -100;
  b.reduction = o.reduction;
  b.label_smoothing = o.smoothing;
  float divisor_space = kUnwritten;
  launch.workspace = &divisor_space;
  t.expect(fastattn::cuda::cross_entropy_bwd(b, launch) == FA_OK, launch.reason);
  const double g = 0.75 / (o.reduction == FA_REDUCE_MEAN ? divisor : 1);
  std::vector<double> dx, dy, x_bound, y_bound;
  for (int64_t r = 0; r < N; ++r) {
    const auto of = row(r);
    for (int64_t c = 0; c < C; ++c) {
      dx.push_back(counts(r) ? of.dlogits(c, g) : 0);
      x_bound.push_back(kEps<T> * std::abs(dx.back()) + 2e-5 * std::abs(g));
      if (outside(r)) x_bound.back() = 0;
      dy.push_back(of.dtarget(c, g, (1 - o.smoothing) * w(c)));
      y_bound.push_back(kEps<T> * std::abs(dy.back()) + 2e-5 * std::abs(g));
    }
  }
  t.expect_near(launch.kernel, values(dlogits), dx, x_bound);
  if (o.probabilities) t.expect_near(std::string(launch.kernel) + " dtarget", values(dtarget), dy, y_bound);
}

}  // namespace

EMULATOR_TEST(cross_entropy) {
  check<float>(t, 5, 7, 1, {}, "cross_entropy_fwd_f32_warp_sm80");
  check<float>(t, 6, 100, 0, {.weights = true, .reduction = FA_REDUCE_NONE}, "f32_warp");
  check<bf16>(t, 3, 1024, 0, {.weights = true, .smoothing = 0.1}, "bf16_warp");
  check<float>(t, 3, 1100, 0, {.smoothing = 0.2, .reduction = FA_REDUCE_SUM}, "f32_block256");
  check<f16>(t, 4, 1101, 2, {.weights = true}, "f16_block256");
  check<float>(t, 5, 36, 4, {.probabilities = true, .weights = true, .smoothing = 0.1}, "f32_warp");
  check<bf16>(t, 4, 33, 0, {.probabilities = true, .reduction = FA_REDUCE_NONE}, "bf16_warp");
}

EMULATOR_TEST(cross_entropy_outside) {
  check<float>(t, 6, 20, 0, {.outside = true}, "f32_warp");
  check<float>(t, 6, 21, 0, {.weights = true, .smoothing = 0.1, .reduction = FA_REDUCE_NONE, .outside = true}, "warp");
}
