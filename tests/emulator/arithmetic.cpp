// csrc/cuda/binary.cu, unary.cu, cast.cu and sum.cu against formulas in double.
#include "cuda/entries.h"
#include "emulator/rows.h"
#include "formulas.h"

namespace {

using namespace emulator_test;

template <class T>
void fill(Array<T>& a, Random& random, float scale) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.C; ++c) set(a.at(r, c), scale * random.symmetric());
  }
}

// Bits: double holds the exact result of float's arithmetic, or enough of it to round once more.
template <class T>
void check_binary(Test& t, int64_t rows, int64_t C, int64_t gap, bool broadcast) {
  Random random(fastattn::emulator::options().seed + 51);
  for (int function = FA_ADD; function <= FA_MINIMUM; ++function) {
    Array<T> a(rows, C, C + gap), b(rows, C, C), out(rows, C, C);
    fill(a, random, 3);
    fill(b, random, 3);
    fa_binary_params p = {a.view(false), b.view(false), out.view(false), 0.3, function};
    if (broadcast) p.b.strides[0] = 0;
    for (const int absent : {0, 1, 2}) {
      fa_binary_params q = p;
      if (absent == 1) q.a.data = nullptr;
      if (absent == 2) q.b.data = nullptr;
      fa_launch launch = {};
      t.expect(fastattn::cuda::binary(q, launch) == FA_OK, launch.reason);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < C; ++c) {
          const double x = absent == 1 ? 0.3f : value(a.at(r, c));
          const double y = absent == 2 ? 0.3f : value(b.at(broadcast ? 0 : r, c));
          T want;
          set(want, static_cast<float>(formulas::binary(function, x, y)));
          t.expect(value(out.at(r, c)) == value(want), std::string(launch.kernel) + ": an element");
        }
      }
    }
  }
}

template <class T, class To>
void check_cast(Test& t, int64_t rows, int64_t C, int64_t gap) {
  Random random(fastattn::emulator::options().seed + 52);
  Array<T> x(rows, C, C + gap);
  Array<To> out(rows, C, C);
  fill(x, random, 1e5f);  // f16 has infinities in it
  const fa_cast_params p = {x.view(false), out.view(false)};
  fa_launch launch = {};
  t.expect(fastattn::cuda::cast(p, launch) == FA_OK, launch.reason);
  t.expect(launch.bytes == static_cast<double>(rows * C * static_cast<int64_t>(sizeof(T) + sizeof(To))), "traffic");
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) {
      To want;
      set(want, value(x.at(r, c)));
      t.expect(value(out.at(r, c)) == value(want), std::string(launch.kernel) + ": an element");
    }
  }
}

// x of three axes with these strides, the axes of `summed` (bits) summed.
template <class T>
void check_sum(Test& t, const int64_t (&shape)[3], const int64_t (&strides)[3], int summed, const char* config) {
  Random random(fastattn::emulator::options().seed + 53);
  int64_t last = 0, outs = 1;
  for (int d = 0; d < 3; ++d) last += (shape[d] - 1) * strides[d];
  Array<T> x(1, last + 1, last + 1);
  fill(x, random, 1);
  fa_sum_params p = {{x.block.get(), kDtype<T>, 3, {}, {}}, {nullptr, kDtype<T>, 3, {}, {}}, 0.25};
  for (int d = 2; d >= 0; --d) {
    const bool gone = summed >> d & 1;
    p.x.shape[d] = shape[d];
    p.x.strides[d] = strides[d];
    p.out.shape[d] = gone ? 1 : shape[d];
    p.out.strides[d] = gone ? 0 : outs;
    outs *= p.out.shape[d];
  }
  Array<T> out(1, outs, outs);
  p.out.data = out.block.get();
  std::vector<double> want(static_cast<size_t>(outs)), bound(want);
  for (int64_t a = 0; a < shape[0]; ++a) {
    for (int64_t b = 0; b < shape[1]; ++b) {
      for (int64_t c = 0; c < shape[2]; ++c) {
        const double v = 0.25 * value(x.at(0, a * strides[0] + b * strides[1] + c * strides[2]));
        const auto at = static_cast<size_t>(a * p.out.strides[0] + b * p.out.strides[1] + c * p.out.strides[2]);
        want[at] += v;
        bound[at] += 80 * 0x1p-24 * std::abs(v);
      }
    }
  }
  for (size_t i = 0; i < want.size(); ++i) bound[i] += kEps<T> * std::abs(want[i]);
  fa_launch launch = {};
  launch.query = 1;
  t.expect(fastattn::cuda::sum(p, launch) == FA_OK, launch.reason);
  std::vector<float> workspace(launch.workspace_bytes / sizeof(float), kUnwritten);
  launch.query = 0;
  launch.workspace = workspace.data();
  t.expect(fastattn::cuda::sum(p, launch) == FA_OK, launch.reason);
  t.expect(std::strstr(launch.kernel, config) != nullptr, std::string(launch.kernel) + ": expected " + config);
  t.expect_near(launch.kernel, values(out), want, bound);
}

}  // namespace

EMULATOR_TEST(binary) {
  check_binary<float>(t, 3, 36, 4, false);
  check_binary<float>(t, 3, 37, 0, true);
  check_binary<bf16>(t, 2, 40, 0, true);
  check_binary<f16>(t, 2, 33, 1, false);
  std::vector<float> a = {NAN, 1, NAN, -0.0f}, b = {1, NAN, NAN, 2}, out(4);
  for (const int function : {FA_MAXIMUM, FA_MINIMUM}) {
    const fa_binary_params p = {{a.data(), FA_F32, 1, {4}, {1}},
                                {b.data(), FA_F32, 1, {4}, {1}},
                                {out.data(), FA_F32, 1, {4}, {1}},
                                0,
                                function};
    fa_launch launch = {};
    t.expect(fastattn::cuda::binary(p, launch) == FA_OK, launch.reason);
    t.expect(std::isnan(out[0]) && std::isnan(out[1]) && std::isnan(out[2]) && !std::isnan(out[3]), "NaN of either");
  }
}

EMULATOR_TEST(unary) {
  Random random(fastattn::emulator::options().seed + 54);
  Array<float> x(3, 41, 44), out(3, 41, 41);
  double (*const functions[])(double) = {std::exp, std::log, std::tanh, std::erf};
  for (int function = FA_EXP; function <= FA_ERF; ++function) {
    std::vector<double> want, bound;
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t c = 0; c < 41; ++c) {
        x.at(r, c) = 2.5f + 2.4f * random.symmetric();
        want.push_back(functions[function](x.at(r, c)));
        bound.push_back(4 * 0x1p-23 * std::abs(want.back()));
      }
    }
    const fa_unary_params p = {x.view(false), out.view(false), function};
    fa_launch launch = {};
    t.expect(fastattn::cuda::unary(p, launch) == FA_OK, launch.reason);
    t.expect_near(launch.kernel, values(out), want, bound);
  }
}

EMULATOR_TEST(cast) {
  check_cast<float, bf16>(t, 3, 40, 0);
  check_cast<float, f16>(t, 3, 41, 0);
  check_cast<bf16, float>(t, 5, 40, 8);
  check_cast<f16, bf16>(t, 2, 264, 1);
  check_cast<bf16, bf16>(t, 2, 16, 0);
}

EMULATOR_TEST(sum) {
  check_sum<float>(t, {3, 5, 7}, {35, 7, 1}, 4, "rows");          // the last axis
  check_sum<float>(t, {2, 3, 1028}, {3084, 1028, 1}, 4, "rows");  // a block a row
  check_sum<bf16>(t, {2, 3, 64}, {192, 64, 1}, 6, "rows");
  check_sum<float>(t, {1, 2, 17000}, {34000, 17000, 1}, 4, "rows");  // two parts
  check_sum<f16>(t, {3, 9, 10}, {90, 10, 1}, 7, "rows");             // all of them
  check_sum<float>(t, {40, 3, 36}, {108, 36, 1}, 1, "columns");      // two parts
  check_sum<bf16>(t, {70, 1, 40}, {40, 40, 1}, 1, "columns");
  check_sum<f16>(t, {4, 40, 9}, {360, 9, 1}, 2, "columns");
  check_sum<float>(t, {5, 6, 8}, {1, 5, 30}, 4, "rows");  // the axes reversed
  check_sum<float>(t, {5, 6, 8}, {1, 5, 30}, 1, "columns");
  check_sum<float>(t, {4, 3, 8}, {24, 8, 1}, 5, "rows");  // not axes that lie together
  check_sum<float>(t, {4, 3, 8}, {24, 8, 1}, 0, "");      // none
  float x = 1, out = 5;
  const fa_sum_params p = {{&x, FA_F32, 1, {0}, {1}}, {&out, FA_F32, 1, {1}, {0}}, 1};
  fa_launch launch = {};
  t.expect(fastattn::cuda::sum(p, launch) == FA_OK && out == 0, "an empty sum");
}
