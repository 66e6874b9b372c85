// csrc/cuda/attention_fwd.cu and attention_bwd.cu against formulas in double: dtypes, widths, grouped heads, bounds,
// masks, softcap, slopes and sinks, dropout of everything, weights and their gradient, splits of the keys of few
// queries, and NaN in what nobody sees.
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;

struct Shape {
  int64_t B, H, Hkv, T, S, D, Dv;
};
struct Choice {
  bool causal, mask, options;  // options: softcap, slopes, sinks
  bool weights = false;        // returned, and with a gradient
};

// (B, heads, rows, columns), contiguous.
template <class T>
struct Tensor {
  int64_t shape[4];
  std::vector<T> data;
  Tensor(int64_t b, int64_t h, int64_t r, int64_t c) : shape{b, h, r, c}, data(static_cast<size_t>(b * h * r * c)) {
    std::memset(static_cast<void*>(data.data()), 0xff, data.size() * sizeof(T));
  }
  void fill(Random& random) {
    for (T& x : data) set(x, random.symmetric());
  }
  T& at(int64_t b, int64_t h, int64_t r, int64_t c) {
    return data[static_cast<size_t>(((b * shape[1] + h) * shape[2] + r) * shape[3] + c)];
  }
  double operator()(int64_t b, int64_t h, int64_t r, int64_t c) { return value(at(b, h, r, c)); }
  fa_tensor view() {
    return {data.data(),
            kDtype<T>,
            4,
            {shape[0], shape[1], shape[2], shape[3]},
            {shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1}};
  }
};

template <class T>
void compare(Test& t, const std::string& what, Tensor<T>& got, const std::vector<double>& want, double size) {
  std::vector<float> values;
  for (const T& x : got.data) values.push_back(value(x));
  // Weights and gradients are rounded to T for the product, then the result.
  const double eps = sizeof(T) == 4 ? 0x1p-18 : kEps<T>;
  std::vector<double> bound(want.size());
  for (size_t i = 0; i < want.size(); ++i) bound[i] = eps * (size + std::abs(want[i]));
  t.expect_near(what, values, want, bound);
}

template <class T>
void check(Test& t, Shape s, Choice choice) {
  Random random(fastattn::emulator::options().seed + 51);
  Tensor<T> q(s.B, s.H, s.T, s.D), k(s.B, s.Hkv, s.S, s.D), v(s.B, s.Hkv, s.S, s.Dv), out(s.B, s.H, s.T, s.Dv);
  Tensor<T> dout(s.B, s.H, s.T, s.Dv), dq(s.B, s.H, s.T, s.D), dk(s.B, s.Hkv, s.S, s.D), dv(s.B, s.Hkv, s.S, s.Dv);
  Tensor<T> mask(1, 1, s.T, s.S), dmask(1, 1, s.T, s.S);
  Tensor<float> lse(s.B, s.H, s.T, 1), slopes(1, 1, 1, s.H), sinks(1, 1, 1, s.H), dslopes(1, 1, 1, s.H),
      dsinks(1, 1, 1, s.H);
  Tensor<T> weights(s.B, s.H, s.T, s.S), dweights(s.B, s.H, s.T, s.S);
  for (auto* x : {&q, &k, &v, &dout, &dweights}) x->fill(random);
  for (int64_t i = 0; i < s.T; ++i) {
    for (int64_t j = 0; j < s.S; ++j) {
      set(mask.at(0, 0, i, j), j == 3 || i == 2 || random.below(4) == 0 ? -HUGE_VALF : random.symmetric());
    }
  }
  for (int64_t h = 0; h < s.H; ++h) {
    slopes.data[static_cast<size_t>(h)] = 0.01f * static_cast<float>(h + 1);
    sinks.data[static_cast<size_t>(h)] = random.symmetric();
  }
  const bool hides = choice.mask && s.S > 3;
  for (int64_t b = 0; hides && b < s.B; ++b) {
    for (int64_t h = 0; h < s.Hkv; ++h) {  // key 3 is seen by nobody
      for (int64_t d = 0; d < s.D; ++d) set(k.at(b, h, 3, d), std::nanf(""));
      for (int64_t d = 0; d < s.Dv; ++d) set(v.at(b, h, 3, d), HUGE_VALF);
    }
  }
  const double scale = 0.4, cap = choice.options ? 1.5 : 0.0;

  std::vector<double> o, want_lse, want_weights, wq(q.data.size()), wk(k.data.size()), wv(v.data.size()),
      wm(mask.data.size()), wslopes(static_cast<size_t>(s.H)), wsinks(static_cast<size_t>(s.H));
  const size_t S = static_cast<size_t>(s.S), D = static_cast<size_t>(s.D), Dv = static_cast<size_t>(s.Dv);
  for (int64_t b = 0; b < s.B; ++b) {
    for (int64_t h = 0; h < s.H; ++h) {
      const int64_t g = h / (s.H / s.Hkv);
      const double slope = choice.options ? slopes.data[static_cast<size_t>(h)] : 0;
      const double sink = choice.options ? sinks.data[static_cast<size_t>(h)] : -HUGE_VAL;
      for (int64_t i = 0; i < s.T; ++i) {
        std::vector<double> score(S, -HUGE_VAL), slant(S, 1), row(Dv);
        double sum = std::exp(sink);
        for (int64_t j = 0; j < s.S; ++j) {
          const size_t at = static_cast<size_t>(j);
          const double added = choice.mask ? mask(0, 0, i, j) : 0;
          if (added == -HUGE_VAL || (choice.causal && j > i)) continue;
          double x = 0;
          for (int64_t d = 0; d < s.D; ++d) x += q(b, h, i, d) * k(b, g, j, d);
          x *= scale;
          if (cap != 0) {
            const double u = std::tanh(x / cap);
            x = cap * u;
            slant[at] = 1 - u * u;
          }
          score[at] = x - slope * std::abs(static_cast<double>(i - j)) + added;
          sum += std::exp(score[at]);
        }
        const double log_sum = sum == 0 ? -HUGE_VAL : std::log(sum);
        want_lse.push_back(log_sum);
        double delta = 0;
        for (int64_t j = 0; j < s.S; ++j) {
          const bool hidden = score[static_cast<size_t>(j)] == -HUGE_VAL;
          want_weights.push_back(hidden ? 0 : std::exp(score[static_cast<size_t>(j)] - log_sum));
          if (hidden) continue;
          const double p = want_weights.back();
          if (choice.weights) delta += p * dweights(b, h, i, j);
          for (int64_t d = 0; d < s.Dv; ++d) row[static_cast<size_t>(d)] += p * v(b, g, j, d);
        }
        for (int64_t d = 0; d < s.Dv; ++d) {
          o.push_back(row[static_cast<size_t>(d)]);
          delta += row[static_cast<size_t>(d)] * dout(b, h, i, d);
        }
        if (choice.options) wsinks[static_cast<size_t>(h)] -= std::exp(sink - log_sum) * delta;
        for (int64_t j = 0; j < s.S; ++j) {
          const size_t at = static_cast<size_t>(j);
          if (score[at] == -HUGE_VAL) continue;
          const double p = std::exp(score[at] - log_sum);
          double dp = choice.weights ? dweights(b, h, i, j) : 0;
          const size_t value_at = static_cast<size_t>((b * s.Hkv + g) * s.S + j);
          for (int64_t d = 0; d < s.Dv; ++d) {
            dp += dout(b, h, i, d) * v(b, g, j, d);
            wv[value_at * Dv + static_cast<size_t>(d)] += p * dout(b, h, i, d);
          }
          const double ds = p * (dp - delta), dc = ds * slant[at] * scale;
          wm[static_cast<size_t>(i) * S + at] += ds;
          wslopes[static_cast<size_t>(h)] -= ds * std::abs(static_cast<double>(i - j));
          for (int64_t d = 0; d < s.D; ++d) {
            wq[static_cast<size_t>((b * s.H + h) * s.T + i) * D + static_cast<size_t>(d)] += dc * k(b, g, j, d);
            wk[value_at * D + static_cast<size_t>(d)] += dc * q(b, h, i, d);
          }
        }
      }
    }
  }

  fa_attention_bwd_params g = {};
  fa_attention_fwd_params& p = g.fwd;
  p.query = q.view();
  p.key = k.view();
  p.value = v.view();
  p.out = out.view();
  p.lse = lse.view();
  p.lse.ndim = 3;
  p.scale = scale;
  p.softcap = cap;
  p.is_causal = choice.causal;
  p.window_left = p.window_right = -1;
  auto of_heads = [&](Tensor<float>& x) { return fa_tensor{x.data.data(), FA_F32, 2, {s.B, s.H}, {0, 1}}; };
  auto shared_by_all = [&](Tensor<T>& x) {
    fa_tensor view = x.view();
    view.shape[0] = s.B;
    view.shape[1] = s.H;
    view.strides[0] = view.strides[1] = 0;
    return view;
  };
  if (choice.mask) p.mask = shared_by_all(mask);
  if (choice.options) {
    p.alibi_slopes = of_heads(slopes);
    p.sinks = {sinks.data.data(), FA_F32, 1, {s.H}, {1}};
  }
  if (choice.weights) p.weights = weights.view();
  fa_launch launch = {};
  launch.size = sizeof launch;
  std::vector<float> workspace;
  auto run = [&](auto entry, const auto& params) {
    launch.query = 1;
    t.expect(entry(params, launch) == FA_OK, launch.reason);
    workspace.assign(launch.workspace_bytes / sizeof(float), kUnwritten);
    launch.workspace = workspace.data();
    launch.query = 0;
    return t.expect(entry(params, launch) == FA_OK, launch.reason);
  };
  if (!run(fastattn::cuda::attention_fwd, p)) return;
  const std::string what = launch.kernel + (" " + std::to_string(s.T)) + "x" + std::to_string(s.S);
  compare(t, what + " out", out, o, 4);
  if (choice.weights) compare(t, what + " weights", weights, want_weights, 1);
  for (size_t i = 0; i < want_lse.size(); ++i) {
    if (want_lse[i] == -HUGE_VAL && lse.data[i] == -HUGE_VALF) want_lse[i] = lse.data[i] = 0;
  }
  compare(t, what + " lse", lse, want_lse, 4);
  for (float& x : lse.data) x = x == 0 && !choice.options ? -HUGE_VALF : x;

  g.dout = dout.view();
  g.dquery = dq.view();
  g.dkey = dk.view();
  g.dvalue = dv.view();
  if (choice.mask) g.dmask = shared_by_all(dmask);
  if (choice.options) {
    g.dalibi_slopes = of_heads(dslopes);
    g.dsinks = {dsinks.data.data(), FA_F32, 1, {s.H}, {1}};
  }
  if (choice.weights) g.dweights = dweights.view();
  if (!run(fastattn::cuda::attention_bwd, g)) return;
  compare(t, what + " dq", dq, wq, 16);
  compare(t, what + " dk", dk, wk, 16);
  compare(t, what + " dv", dv, wv, 16);
  if (choice.mask) compare(t, what + " dmask", dmask, wm, 16);
  if (choice.options && sizeof(T) == 4) {
    compare(t, what + " dslopes", dslopes, wslopes, 256);
    compare(t, what + " dsinks", dsinks, wsinks, 16);
  }
}

}  // namespace

EMULATOR_TEST(attention) {
  check<float>(t, {1, 2, 1, 19, 37, 9, 5}, {false, false, false});
  check<bf16>(t, {1, 1, 1, 70, 70, 16, 24}, {true, false, false});
  check<f16>(t, {1, 2, 2, 33, 70, 40, 64}, {false, true, false});
  check<float>(t, {2, 2, 1, 35, 40, 20, 12}, {true, true, true});
}

// The other widths, whose columns are shared out among warps.
EMULATOR_TEST(attention_wide) {
  check<float>(t, {1, 1, 1, 17, 20, 72, 128}, {true, true, false});
  check<bf16>(t, {1, 1, 1, 20, 33, 128, 100}, {false, true, true});
  check<f16>(t, {1, 1, 1, 17, 17, 256, 130}, {false, true, false});
  check<float>(t, {1, 1, 1, 17, 17, 160, 256}, {true, false, false});
}

// Few queries: splits of 256 keys, group * T rows in tiles of 16, two warps or four to a tile's keys.
EMULATOR_TEST(attention_split) {
  check<float>(t, {1, 4, 2, 1, 265, 20, 12}, {false, false, false});
  check<bf16>(t, {2, 3, 1, 6, 70, 40, 100}, {true, false, false});
  check<f16>(t, {1, 2, 1, 3, 270, 64, 64}, {false, true, true});
  check<bf16>(t, {1, 1, 1, 2, 66, 130, 256}, {false, true, false});
  check<float>(t, {1, 1, 1, 2, 40, 256, 200}, {false, false, false});
}

EMULATOR_TEST(attention_weights) {
  check<float>(t, {1, 2, 1, 19, 37, 9, 5}, {true, false, false, true});
  check<bf16>(t, {1, 2, 1, 3, 40, 16, 24}, {false, true, true, true});
  check<f16>(t, {1, 1, 1, 20, 33, 70, 130}, {false, true, false, true});
}

// The mean over two of three heads, of two rows, and of it the largest: queries are equal numbers, so that weights are
// too, and the first key of equal ones comes first.
EMULATOR_TEST(attention_largest_weights) {
  constexpr int64_t kHeads = 3, kRows = 20, kKeys = 75, kLargest = 40;
  Tensor<float> q(1, kHeads, kRows, 4), k(1, kHeads, kKeys, 4), v(1, kHeads, kKeys, 4), out(1, kHeads, kRows, 4);
  Tensor<float> lse(1, kHeads, kRows, 1), weights(1, 1, 2, kLargest);
  Random random(fastattn::emulator::options().seed + 52);
  for (float& x : q.data) x = 1;
  for (float& x : v.data) x = random.symmetric();
  std::vector<int> level(kKeys);  // a key's, of all heads
  for (int64_t j = 0; j < kKeys; ++j) {
    level[static_cast<size_t>(j)] = static_cast<int>(random.below(5));
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t d = 0; d < 4; ++d) k.at(0, h, j, d) = 0.25f * static_cast<float>(level[static_cast<size_t>(j)]);
    }
  }
  const int64_t heads[2] = {2, 0}, rows[2] = {17, 3};
  std::vector<int64_t> keys(2 * kLargest, -1);
  fa_attention_fwd_params p = {};
  p.query = q.view();
  p.key = k.view();
  p.value = v.view();
  p.out = out.view();
  p.lse = lse.view();
  p.lse.ndim = 3;
  p.weights = weights.view();
  p.weights_heads = {const_cast<int64_t*>(heads), FA_I64, 1, {2}, {1}};
  p.weights_rows = {const_cast<int64_t*>(rows), FA_I64, 1, {2}, {1}};
  p.weights_keys = {keys.data(), FA_I64, 4, {1, 1, 2, kLargest}, {2 * kLargest, 2 * kLargest, kLargest, 1}};
  p.weights_mean = 1;
  p.scale = 1;
  p.window_left = p.window_right = -1;
  fa_launch launch = {};
  launch.size = sizeof launch;
  launch.query = 1;
  t.expect(fastattn::cuda::attention_fwd(p, launch) == FA_OK, launch.reason);
  std::vector<float> workspace(launch.workspace_bytes / sizeof(float), kUnwritten);
  launch.workspace = workspace.data();
  launch.query = 0;
  if (!t.expect(fastattn::cuda::attention_fwd(p, launch) == FA_OK, launch.reason)) return;
  double sum = 0;
  for (int l : level) sum += std::exp(static_cast<double>(l));
  std::vector<double> want;
  std::vector<int64_t> order;
  for (int l = 4; l >= 0; --l) {
    for (int64_t j = 0; j < kKeys; ++j) {
      if (level[static_cast<size_t>(j)] != l) continue;
      order.push_back(j);
      want.push_back(std::exp(static_cast<double>(l)) / sum);
    }
  }
  order.resize(kLargest);
  want.resize(kLargest);
  for (int64_t i = 0; i < kLargest; ++i) want.push_back(want[static_cast<size_t>(i)]);
  compare(t, "largest weights", weights, want, 1);
  for (size_t i = 0; i < keys.size(); ++i) {
    t.expect(keys[i] == order[i % kLargest], "key " + std::to_string(i) + " is " + std::to_string(keys[i]));
  }
}
