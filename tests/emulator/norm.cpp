// csrc/cuda/layer_norm.cu and rms_norm.cu against formulas in double: every configuration, with and without weight,
// rows with gaps, sums over more rows than one part has.
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;
using fastattn::cuda::layer_norm_bwd;
using fastattn::cuda::layer_norm_fwd;
using fastattn::cuda::rms_norm_bwd;
using fastattn::cuda::rms_norm_fwd;

struct Case {
  int64_t rows, C, gap;
  bool affine, in_place;
  const char* config;
};

template <class T>
void fill(Array<T>& a, Random& random, float offset) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.C; ++c) set(a.at(r, c), random.symmetric() + offset);
  }
}

std::vector<float> statistics(int64_t rows) { return std::vector<float>(static_cast<size_t>(rows), kUnwritten); }

fa_tensor vector_view(std::vector<float>& v) { return {v.data(), FA_F32, 1, {static_cast<int64_t>(v.size())}, {1}}; }

template <class T>
fa_tensor flat_view(Array<T>& a, bool present) {
  return {present ? a.block.get() : nullptr, kDtype<T>, 1, {a.C}, {1}};
}

template <class T>
void check(Test& t, bool centred, const Case& k) {
  Random random(fastattn::emulator::options().seed + 51);
  const int64_t R = k.rows, C = k.C;
  const double eps = 1e-3, count = static_cast<double>(C), f32 = 0x1p-23, tiny = std::is_same_v<T, f16> ? 0x1p-25 : 0;
  Array<T> x(R, C, C + k.gap), out(R, C, C + k.gap), dout(R, C, C + k.gap), dx(R, C, C + k.gap), weight(1, C, C),
      bias(1, C, C), dweight(1, C, C), dbias(1, C, C);
  fill(x, random, 2);
  fill(dout, random, 0);
  fill(weight, random, 1);
  fill(bias, random, 0);
  std::vector<float> mean = statistics(R), rstd = statistics(R);
  auto w = [&](int64_t c) { return k.affine ? double{value(weight.at(0, c))} : 1.0; };

  fa_launch launch = {};
  fa_status status;
  if (centred) {
    const fa_layer_norm_fwd_params p = {x.view(R % 2 == 0),
                                        flat_view(weight, k.affine),
                                        flat_view(bias, k.affine),
                                        out.view(false),
                                        vector_view(mean),
                                        vector_view(rstd),
                                        eps};
    status = layer_norm_fwd(p, launch);
  } else {
    const fa_rms_norm_fwd_params p = {x.view(R % 2 == 0), flat_view(weight, k.affine), out.view(false),
                                      vector_view(rstd), eps};
    status = rms_norm_fwd(p, launch);
  }
  t.expect(status == FA_OK, launch.reason);
  t.expect(std::strstr(launch.kernel, k.config) != nullptr, std::string(launch.kernel) + ": expected " + k.config);

  // The backward takes what the forward has kept; the oracle takes its own.
  std::vector<double> n(static_cast<size_t>(R * C)), rs, means, want, bound;
  for (int64_t r = 0; r < R; ++r) {
    double m = 0, square = 0;
    for (int64_t c = 0; centred && c < C; ++c) m += value(x.at(r, c)) / count;
    for (int64_t c = 0; c < C; ++c) square += std::pow(value(x.at(r, c)) - m, 2) / count;
    means.push_back(m);
    rs.push_back(1 / std::sqrt(square + eps));
    for (int64_t c = 0; c < C; ++c) {
      const double unit = (value(x.at(r, c)) - m) * rs.back();
      n[static_cast<size_t>(r * C + c)] = unit;
      want.push_back(unit * w(c) + (centred && k.affine ? value(bias.at(0, c)) : 0));
      bound.push_back(kEps<T> * std::abs(want.back()) + tiny + 40 * f32 * (2 * rs.back() + 3) * (std::abs(w(c)) + 1));
    }
  }
  t.expect_near(launch.kernel, values(out), want, bound);
  std::vector<double> exact(rs.size());
  for (size_t r = 0; r < rs.size(); ++r) exact[r] = 40 * f32 * (rs[r] + std::pow(rs[r], 3));
  t.expect_near("rstd", rstd, rs, exact);
  if (centred) t.expect_near("mean", mean, means, std::vector<double>(rs.size(), 40 * f32));

  want.clear();
  bound.clear();
  std::vector<double> want_weight(static_cast<size_t>(C)), want_bias(want_weight), bound_weight, bound_bias;
  for (int64_t r = 0; r < R; ++r) {
    double mean_g = 0, mean_gn = 0;
    const size_t row = static_cast<size_t>(r);
    for (int64_t c = 0; c < C; ++c) {
      const double d = value(dout.at(r, c)), unit = n[static_cast<size_t>(r * C + c)];
      if (centred) mean_g += d * w(c) / count;
      mean_gn += d * w(c) * unit / count;
      want_weight[static_cast<size_t>(c)] += d * unit;
      want_bias[static_cast<size_t>(c)] += d;
    }
    for (int64_t c = 0; c < C; ++c) {
      const double unit = n[static_cast<size_t>(r * C + c)];
      want.push_back(rs[row] * (value(dout.at(r, c)) * w(c) - mean_g - unit * mean_gn));
      bound.push_back(kEps<T> * std::abs(want.back()) + tiny + 200 * f32 * rs[row] * (rs[row] + 3) * 3);
    }
  }
  const double rows = static_cast<double>(R), most = 4 + 2 / std::sqrt(eps);
  for (int64_t c = 0; c < C; ++c) {
    const size_t i = static_cast<size_t>(c);
    bound_weight.push_back(kEps<T> * std::abs(want_weight[i]) + tiny + 40 * f32 * rows * most);
    bound_bias.push_back(kEps<T> * std::abs(want_bias[i]) + tiny + 40 * f32 * rows);
  }
  Array<T>& to = k.in_place ? dout : dx;
  std::vector<float> workspace;
  for (const uint32_t query : {1, 0}) {
    launch.query = query;
    launch.workspace = workspace.data();
    if (centred) {
      const fa_layer_norm_bwd_params p = {
          x.view(false),  flat_view(weight, k.affine),  vector_view(mean),         vector_view(rstd), dout.view(false),
          to.view(false), flat_view(dweight, k.affine), flat_view(dbias, k.affine)};
      status = layer_norm_bwd(p, launch);
    } else {
      const fa_rms_norm_bwd_params p = {x.view(false),     flat_view(weight, k.affine),
                                        vector_view(rstd), dout.view(false),
                                        to.view(false),    flat_view(dweight, k.affine)};
      status = rms_norm_bwd(p, launch);
    }
    t.expect(status == FA_OK, launch.reason);
    workspace.assign(launch.workspace_bytes / sizeof(float), kUnwritten);
  }
  t.expect_near(launch.kernel, values(to), want, bound);
  if (!k.affine) return;
  t.expect_near("dweight", values(dweight), want_weight, bound_weight);
  if (centred) t.expect_near("dbias", values(dbias), want_bias, bound_bias);
}

}  // namespace

EMULATOR_TEST(norm) {
  for (const bool centred : {true, false}) {
    check<float>(t, centred, {5, 1, 0, true, false, "f32_warp8_sm80"});
    check<float>(t, centred, {6, 37, 1, true, true, "f32_warp8"});
    check<float>(t, centred, {3, 256, 0, false, false, "f32_warp8"});
    check<bf16>(t, centred, {4, 257, 3, true, false, "bf16_warp16"});
    check<f16>(t, centred, {3, 1000, 0, true, true, "f16_block128"});
    check<float>(t, centred, {2, 2100, 4, false, false, "f32_block512"});
    check<float>(t, centred, {70, 33, 0, true, false, "f32_warp8"});  // three parts, two blocks of columns
  }
}

EMULATOR_TEST(norm_long) {
  const bool centred = fastattn::emulator::options().seed % 2 == 0;
  check<bf16>(t, centred, {2, 8200, 0, true, false, "bf16_block1024"});
  if (fastattn::emulator::options().seed < 2) {
    check<float>(t, centred, {2, 8201, 0, true, true, "f32_block1024"});
  } else {
    check<float>(t, centred, {1, 16388, 0, true, true, "f32_reread"});
  }
}

EMULATOR_TEST(norm_edges) {
  float x[4] = {1, 2, 3, 4}, sums[2] = {7, 7}, kept = 1;
  fa_layer_norm_bwd_params p = {};
  p.x = p.dout = {x, FA_F32, 2, {0, 2}, {2, 1}};
  p.mean = p.rstd = {&kept, FA_F32, 1, {0}, {1}};
  p.dweight = {sums, FA_F32, 1, {2}, {1}};
  fa_launch launch = {};
  t.expect(layer_norm_bwd(p, launch) == FA_OK && sums[0] == 0 && sums[1] == 0, "the sum over no rows is 0");
  p.x.dtype = FA_F64;
  t.expect(layer_norm_bwd(p, launch) == FA_UNSUPPORTED && std::strstr(launch.reason, "float32"), "float64");
}
