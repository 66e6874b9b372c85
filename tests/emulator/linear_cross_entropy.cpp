// csrc/cuda/linear_cross_entropy.cu against a reference in double: chunks of every size, ignored rows, ids out of
// range.
#include "cuda/linear_cross_entropy.h"
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;

struct Case {
  int64_t N, D, V, most_rows;
  int reduction = FA_REDUCE_MEAN;
  double smoothing = 0;
  bool bias = true, dloss = false, out_of_range = false;
};

template <class T>
void check(Test& t, const Case& c) {
  Random random(fastattn::emulator::options().seed + 51);
  Array<T> x(c.N, c.D, c.D + 1), weight(c.V, c.D, c.D), bias(1, c.V, c.V);
  Array<float> dloss(1, c.N, c.N), loss(1, c.reduction == FA_REDUCE_NONE ? c.N : 1, c.N), dx(c.N, c.D, c.D);
  Array<float> dweight(c.V, c.D, c.D), dbias(1, c.V, c.V);
  std::vector<int64_t> target;
  for (int64_t i = 0; i < c.N; ++i) {
    target.push_back(i % 4 == 1 ? -100 : random.below(static_cast<int>(c.V)));
    set(dloss.at(0, i), random.symmetric());
    for (int64_t d = 0; d < c.D; ++d) set(x.at(i, d), i % 4 == 1 ? std::nanf("") : random.symmetric());
  }
  if (c.out_of_range) target[2] = c.V;
  for (int64_t v = 0; v < c.V; ++v) {
    set(bias.at(0, v), random.symmetric());
    for (int64_t d = 0; d < c.D; ++d) set(weight.at(v, d), random.symmetric());
  }

  const bool mean = c.reduction == FA_REDUCE_MEAN && !c.dloss;
  double count = 0, total = 0;
  for (const int64_t id : target) count += id != -100;
  std::vector<double> want_loss, want_dx(static_cast<size_t>(c.N * c.D)), want_dw(static_cast<size_t>(c.V * c.D)),
      want_db(static_cast<size_t>(c.V));
  for (int64_t i = 0; i < c.N; ++i) {
    const int64_t id = target[static_cast<size_t>(i)];
    double value_of = 0;
    if (id >= 0 && id < c.V) {
      std::vector<double> logits;
      double sum = 0;
      for (int64_t v = 0; v < c.V; ++v) {
        double s = c.bias ? value(bias.at(0, v)) : 0;
        for (int64_t d = 0; d < c.D; ++d) s += double{value(x.at(i, d))} * value(weight.at(v, d));
        logits.push_back(s);
        sum += std::exp(s);
      }
      const double lse = std::log(sum), g = c.dloss ? value(dloss.at(0, i)) : mean ? 1 / count : 1;
      for (int64_t v = 0; v < c.V; ++v) {
        const double s = logits[static_cast<size_t>(v)];
        const double q = (v == id ? 1 - c.smoothing : 0) + c.smoothing / static_cast<double>(c.V);
        const double slope = g * (std::exp(s - lse) - q);
        value_of += q * (lse - s);
        want_db[static_cast<size_t>(v)] += slope;
        for (int64_t d = 0; d < c.D; ++d) {
          want_dx[static_cast<size_t>(i * c.D + d)] += slope * value(weight.at(v, d));
          want_dw[static_cast<size_t>(v * c.D + d)] += slope * value(x.at(i, d));
        }
      }
    }
    total += value_of;
    if (c.reduction == FA_REDUCE_NONE) want_loss.push_back(value_of);
  }
  if (c.reduction != FA_REDUCE_NONE) want_loss.push_back(c.reduction == FA_REDUCE_MEAN ? total / count : total);

  fa_linear_cross_entropy_params p = {};
  p.input = x.view(false);
  p.weight = weight.view(false);
  if (c.bias) p.bias = {bias.block.get(), kDtype<T>, 1, {c.V}, {1}};
  p.target = {target.data(), FA_I64, 1, {c.N}, {1}};
  if (c.dloss) p.dloss = {dloss.block.get(), FA_F32, 1, {c.N}, {1}};
  p.loss = {loss.block.get(), FA_F32, c.reduction == FA_REDUCE_NONE ? 1 : 0, {c.N}, {1}};
  p.dinput = dx.view(false);
  p.dweight = dweight.view(false);
  p.dbias = {dbias.block.get(), FA_F32, 1, {c.V}, {1}};
  p.ignore_index = -100;
  p.reduction = c.reduction;
  p.label_smoothing = c.smoothing;
  fa_launch launch = {};
  launch.size = sizeof launch;
  launch.query = 1;
  const std::string what = std::to_string(c.N) + "x" + std::to_string(c.D) + "x" + std::to_string(c.V) + " by " +
                           std::to_string(c.most_rows);
  t.expect(fastattn::cuda::linear_cross_entropy(p, launch, c.most_rows) == FA_OK, what + ": the query");
  const size_t bytes = (launch.workspace_bytes + 63) / 64 * 64;
  std::unique_ptr<void, decltype(&std::free)> workspace(std::aligned_alloc(64, bytes), &std::free);
  std::memset(workspace.get(), 0xff, bytes);
  launch.query = 0;
  launch.workspace = workspace.get();
  if (!t.expect(fastattn::cuda::linear_cross_entropy(p, launch, c.most_rows) == FA_OK, what + ": " + launch.reason)) {
    return;
  }
  std::vector<float> got_loss = values(loss);
  if (c.out_of_range) {
    const size_t row = c.reduction == FA_REDUCE_NONE ? 2 : 0;
    t.expect(std::isnan(got_loss[row]), what + ": the loss of an id out of range is NaN");
    got_loss[row] = 0;
    want_loss[row] = 0;
  }
  // Logits have errors of D eps, of size up to D; dlogits are rounded to T, and summed over N rows or V classes.
  const double eps = static_cast<double>(c.D + 8) * 0x1p-22;
  auto compare = [&](const char* name, const std::vector<float>& got, const std::vector<double>& want, double bound) {
    t.expect_near(std::string(launch.kernel) + " " + name + " " + what, got, want,
                  std::vector<double>(want.size(), bound));
  };
  const double g = mean ? 1 / count : 1, n = static_cast<double>(c.N);
  const double slope = g * (eps + kEps<T>);
  compare("loss", got_loss, want_loss, eps * (c.reduction == FA_REDUCE_SUM ? n : 1) * 8);
  compare("dinput", values(dx), want_dx, slope * 3);  // a row of dlogits adds up to 2 in size
  compare("dweight", values(dweight), want_dw, slope * n);
  compare("dbias", values(dbias), want_db, slope * n);
}

}  // namespace

EMULATOR_TEST(linear_cross_entropy) {
  check<float>(t, {.N = 13, .D = 8, .V = 33, .most_rows = 0});
  check<float>(t, {.N = 13, .D = 8, .V = 300, .most_rows = 5, .reduction = FA_REDUCE_NONE, .dloss = true});
  check<float>(t, {.N = 130, .D = 5, .V = 9, .most_rows = 64, .reduction = FA_REDUCE_SUM, .smoothing = 0.1});
  check<float>(t, {.N = 9, .D = 3, .V = 4, .most_rows = 2, .smoothing = 0.3, .bias = false});
  check<bf16>(t, {.N = 13, .D = 16, .V = 40, .most_rows = 4});
  check<f16>(t, {.N = 21, .D = 9, .V = 35, .most_rows = 8, .smoothing = 0.2, .dloss = true});
}

EMULATOR_TEST(linear_cross_entropy_out_of_range) {
  for (const int reduction : {FA_REDUCE_NONE, FA_REDUCE_MEAN}) {
    check<float>(t, {.N = 8, .D = 4, .V = 6, .most_rows = 3, .reduction = reduction, .out_of_range = true});
    check<bf16>(t, {.N = 8, .D = 8, .V = 16, .most_rows = 0, .reduction = reduction, .out_of_range = true});
  }
}

EMULATOR_TEST(linear_cross_entropy_bwd) {
  std::vector<float> grad = {1, -2, 0.5f}, scale = {3}, got;
  bf16 out[3];
  for (const bool scaled : {false, true}) {
    fa_linear_cross_entropy_bwd_params p = {};
    p.grad = {grad.data(), FA_F32, 1, {3}, {1}};
    if (scaled) p.dloss = {scale.data(), FA_F32, 0, {}, {}};
    p.out = {out, FA_BF16, 1, {3}, {1}};
    fa_launch launch = {};
    t.expect(fastattn::cuda::linear_cross_entropy_bwd(p, launch) == FA_OK, "runs");
    for (int i = 0; i < 3; ++i) t.expect(value(out[i]) == grad[static_cast<size_t>(i)] * (scaled ? 3 : 1), "scaled");
  }
}
