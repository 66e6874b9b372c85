// csrc/cuda/batch_norm.cu: several parts of a channel, more channels than a block has, both layouts, both modes.
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;

template <class T>
void check(Test& t, int64_t N, int64_t C, int64_t S, bool channels_last, bool training, bool affine) {
  Random random(fastattn::emulator::options().seed + 3);
  const int64_t M = N * S, size = M * C;
  Array<T> x(1, size, size), out(1, size, size), dout(1, size, size), dx(1, size, size);
  auto at = [&](int64_t c, int64_t i) { return channels_last ? i * C + c : (i / S * C + c) * S + i % S; };
  auto view = [&](Array<T>& a) {
    fa_tensor v = {&a.at(0, 0), kDtype<T>, 4, {N, C, 1, S}, {C * S, S, S, 1}};
    if (channels_last) v = {&a.at(0, 0), kDtype<T>, 4, {N, C, 1, S}, {S * C, 1, S * C, C}};
    return v;
  };
  for (int64_t i = 0; i < size; ++i) {
    set(x.at(0, i), 4 + random.symmetric());
    set(dout.at(0, i), random.symmetric());
  }
  Array<float> state(8, C, C);  // weight, bias, running mean and variance, mean, rstd, dweight, dbias
  for (int64_t c = 0; c < C; ++c) {
    state.at(0, c) = random.symmetric();
    state.at(1, c) = random.symmetric();
    state.at(2, c) = random.symmetric();
    state.at(3, c) = 1.5f + random.symmetric();
  }
  const std::vector<float> old = values(state);
  auto row = [&](int r) { return fa_tensor{&state.at(r, 0), FA_F32, 1, {C}, {1}}; };
  const fa_tensor none = {};
  const double momentum = 0.25, eps = 1e-2;
  const fa_batch_norm_fwd_params f = {
      view(x), affine ? row(0) : none, affine ? row(1) : none, row(2), row(3), view(out), row(4), row(5), momentum, eps,
      training};
  const fa_batch_norm_bwd_params b = {view(x),
                                      affine ? row(0) : none,
                                      row(4),
                                      row(5),
                                      view(dout),
                                      view(dx),
                                      affine ? row(6) : none,
                                      affine ? row(7) : none,
                                      training};
  std::vector<float> workspace;
  auto run = [&](auto entry, const auto& params) {
    fa_launch launch = {};
    launch.query = 1;
    t.expect(entry(params, launch) == FA_OK, launch.reason);
    workspace.assign(launch.workspace_bytes / sizeof(float), kUnwritten);
    launch.query = 0;
    launch.workspace = workspace.data();
    t.expect(entry(params, launch) == FA_OK, launch.reason);
  };
  run(fastattn::cuda::batch_norm_fwd, f);
  run(fastattn::cuda::batch_norm_bwd, b);

  const auto count = static_cast<double>(M);
  auto near = [&](double got, double want, double bound, const char* what) {
    t.expect(std::fabs(got - want) <= bound * (1 + std::fabs(want)), what);
  };
  for (int64_t c = 0; c < C; ++c) {
    auto before = [&](int r) { return static_cast<double>(old[static_cast<size_t>(r * C + c)]); };
    double mean = before(2), var = before(3), want_mean = mean, want_var = var;
    if (training) {
      mean = var = 0;
      for (int64_t i = 0; i < M; ++i) mean += value(x.at(0, at(c, i))) / count;
      for (int64_t i = 0; i < M; ++i) var += std::pow(value(x.at(0, at(c, i))) - mean, 2) / count;
      want_mean = (1 - momentum) * want_mean + momentum * mean;
      want_var = (1 - momentum) * want_var + momentum * var * count / (count - 1);
    }
    near(state.at(2, c), want_mean, 1e-6, "the running mean");
    near(state.at(3, c), want_var, 1e-6, "the running variance");
    const double rstd = 1 / std::sqrt(var + eps), weight = affine ? before(0) : 1, bias = affine ? before(1) : 0;
    near(state.at(5, c), rstd, 2e-6, "rstd");
    double dweight = 0, dbias = 0;
    for (int64_t i = 0; i < M; ++i) {
      const double h = (value(x.at(0, at(c, i))) - mean) * rstd, g = value(dout.at(0, at(c, i)));
      near(value(out.at(0, at(c, i))), h * weight + bias, 16 * kEps<T>, "out");
      dweight += g * h;
      dbias += g;
    }
    if (affine) {
      near(state.at(6, c), dweight, 1e-5 * std::sqrt(count), "dweight");
      near(state.at(7, c), dbias, 1e-5 * std::sqrt(count), "dbias");
    }
    for (int64_t i = 0; i < M; ++i) {
      const double h = (value(x.at(0, at(c, i))) - mean) * rstd, g = value(dout.at(0, at(c, i)));
      const double want = (training ? g - dbias / count - h * dweight / count : g) * rstd * weight;
      near(value(dx.at(0, at(c, i))), want, 64 * kEps<T>, "dx");
    }
  }
}

template <class T>
void check_all(Test& t) {
  for (bool last : {false, true}) {
    for (bool training : {false, true}) {
      check<T>(t, 3, 2, 1400, last, training, true);  // two parts of a plane, nine of channels-last
      check<T>(t, 2, 19, 5, last, training, training);
      check<T>(t, 7, 1, 1, last, training, false);
    }
  }
}

}  // namespace

EMULATOR_TEST(batch_norm) {
  check_all<float>(t);
  check_all<f16>(t);
}
