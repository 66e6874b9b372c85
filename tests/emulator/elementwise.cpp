// csrc/cuda/activation.cu and swiglu.cu against formulas in double: packs, tails, strides, in place.
#include <algorithm>

#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double activation(int which, double x) {
  const double pi = 3.14159265358979323846;
  switch (which) {
    case FA_ACT_GELU: return x * std::erfc(-x / std::sqrt(2.0)) / 2;
    case FA_ACT_GELU_TANH: return x * (1 + std::tanh(std::sqrt(2 / pi) * (x + 0.044715 * x * x * x))) / 2;
    case FA_ACT_SILU: return x * sigmoid(x);
    case FA_ACT_RELU: return std::max(x, 0.0);
    default: return sigmoid(x);
  }
}
// By differences of the function: error about 1e-9.
double slope(int which, double x) { return (activation(which, x + 1e-5) - activation(which, x - 1e-5)) / 2e-5; }

template <class T>
void fill(Array<T>& a, Random& random, float scale) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.C; ++c) {
      float v = scale * random.symmetric();
      if (std::abs(v) < 1e-3f) v = 1e-3f;  // differences across relu's corner are no derivative
      set(a.at(r, c), v);
    }
  }
}

// f(r, c) is the result, `size` what its rounding errors are relative to beside itself.
template <class T, class F>
void expect(Test& t, const fa_launch& launch, Array<T>& got, double size, F&& f) {
  std::vector<double> want, bound;
  for (int64_t r = 0; r < got.rows; ++r) {
    for (int64_t c = 0; c < got.C; ++c) {
      want.push_back(f(r, c));
      bound.push_back(kEps<T> * std::abs(want.back()) + 8 * size * 0x1p-23 + 1e-8 * size +
                      (std::is_same_v<T, f16> ? 0x1p-25 : 0));
    }
  }
  t.expect_near(launch.kernel, values(got), want, bound);
}

template <class T>
void check(Test& t, int which, int64_t rows, int64_t C, int64_t gap, bool in_place) {
  Random random(fastattn::emulator::options().seed + 41);
  Array<T> x(rows, C, C + gap), dout(rows, C, C), out(rows, C, C + gap);
  fill(x, random, 6);
  fill(dout, random, 1);
  Array<T> x0(rows, C, C), dout0(rows, C, C);  // as they were
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) {
      x0.at(r, c) = x.at(r, c);
      dout0.at(r, c) = dout.at(r, c);
    }
  }
  fa_launch launch = {};
  Array<T>& dx = in_place ? dout : out;
  const fa_activation_bwd_params b = {x.view(false), dout.view(false), dx.view(false), which};
  t.expect(fastattn::cuda::activation_bwd(b, launch) == FA_OK, launch.reason);
  expect(t, launch, dx, 10,
         [&](int64_t r, int64_t c) { return value(dout0.at(r, c)) * slope(which, value(x0.at(r, c))); });
  Array<T>& y = in_place ? x : out;
  const fa_activation_fwd_params f = {x.view(false), y.view(false), which};
  t.expect(fastattn::cuda::activation_fwd(f, launch) == FA_OK, launch.reason);
  expect(t, launch, y, 10, [&](int64_t r, int64_t c) { return activation(which, value(x0.at(r, c))); });
}

template <class T>
void check_swiglu(Test& t, int64_t rows, int64_t C, int64_t gap) {
  Random random(fastattn::emulator::options().seed + 42);
  Array<T> gate(rows, C, C + gap), up(rows, C, C), dout(rows, C, C), out(rows, C, C), dgate(rows, C, C + gap),
      dup(rows, C, C);
  for (auto* a : {&gate, &up, &dout}) fill(*a, random, 3);
  fa_launch launch = {};
  const fa_swiglu_fwd_params f = {gate.view(false), up.view(false), out.view(false)};
  t.expect(fastattn::cuda::swiglu_fwd(f, launch) == FA_OK, launch.reason);
  auto silu = [&](int64_t r, int64_t c) { return activation(FA_ACT_SILU, value(gate.at(r, c))); };
  expect(t, launch, out, 30, [&](int64_t r, int64_t c) { return silu(r, c) * value(up.at(r, c)); });
  const fa_swiglu_bwd_params b = {gate.view(false), up.view(false), dout.view(false), dgate.view(false),
                                  dup.view(false)};
  t.expect(fastattn::cuda::swiglu_bwd(b, launch) == FA_OK, launch.reason);
  expect(t, launch, dup, 30, [&](int64_t r, int64_t c) { return silu(r, c) * value(dout.at(r, c)); });
  expect(t, launch, dgate, 90, [&](int64_t r, int64_t c) {
    return value(dout.at(r, c)) * value(up.at(r, c)) * slope(FA_ACT_SILU, value(gate.at(r, c)));
  });
}

}  // namespace

EMULATOR_TEST(activation) {
  for (int which = FA_ACT_GELU; which <= FA_ACT_SIGMOID; ++which) {
    check<float>(t, which, 1, 1, 0, false);
    check<float>(t, which, 3, 257, 0, true);   // no whole packs
    check<float>(t, which, 5, 256, 4, false);  // rows of packs
    check<bf16>(t, which, 1, 4104, 0, true);   // more than a block
    check<f16>(t, which, 3, 40, 1, false);     // unaligned rows
  }
}

EMULATOR_TEST(swiglu) {
  check_swiglu<float>(t, 3, 64, 64);
  check_swiglu<bf16>(t, 2, 1000, 1000);
  check_swiglu<f16>(t, 7, 13, 13);
}

EMULATOR_TEST(elementwise_strides) {
  std::vector<float> x(60), out(60, kUnwritten);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 30;
  fa_activation_fwd_params p = {};
  p.x = {x.data() + 4, FA_F32, 3, {3, 4, 5}, {20, 5, -1}};  // the last axis backwards
  p.out = {out.data(), FA_F32, 3, {3, 4, 5}, {1, 3, 12}};
  p.activation = FA_ACT_RELU;
  fa_launch launch = {};
  t.expect(fastattn::cuda::activation_fwd(p, launch) == FA_OK, "runs");
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 4; ++b) {
      for (int c = 0; c < 5; ++c) {
        const float want = std::max(x[static_cast<size_t>(20 * a + 5 * b + 4 - c)], 0.0f);
        t.expect(out[static_cast<size_t>(a + 3 * b + 12 * c)] == want, "element of a strided array");
      }
    }
  }
  p.x.shape[0] = p.out.shape[0] = 0;
  t.expect(fastattn::cuda::activation_fwd(p, launch) == FA_OK, "nothing");
  p.x.dtype = FA_F64;
  t.expect(fastattn::cuda::activation_fwd(p, launch) == FA_UNSUPPORTED, "float64");
}
