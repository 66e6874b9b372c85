// csrc/cuda/matmul.cu against a reference in double: both tiles, every way that operands lie, epilogues, batches, sums
// over batch axes; and that neither tile nor split changes a bit.
#include "cuda/matmul/matmul.h"
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;
using fastattn::cuda::kFewTile;
using fastattn::cuda::kLargeTile;
using fastattn::cuda::kSmallTile;
using fastattn::cuda::MatmulChoice;

// How the elements of a matrix lie. The gap leaves packs aligned in kRows and kColumns, and not in the others.
enum class Lie { kRows, kColumns, kOddRows, kOddColumns, kStrided };

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// batch matrices of rows x columns in a block of exactly their size, NaN where there is no element.
template <class T>
struct Matrices {
  int64_t batch, rows, columns, row_stride, column_stride, batch_stride;
  std::unique_ptr<T[]> block;
  size_t size;

  Matrices(int64_t batch_, int64_t rows_, int64_t columns_, Lie lie = Lie::kOddRows)
      : batch(batch_), rows(rows_), columns(columns_) {
    const bool by_columns = lie == Lie::kColumns || lie == Lie::kOddColumns;
    const int64_t length = by_columns ? rows : columns, lines = by_columns ? columns : rows;
    const int64_t step = lie == Lie::kStrided ? 2 : 1;
    int64_t line = lie == Lie::kRows || lie == Lie::kColumns ? round_up(length, 8) : length * step + 1;
    row_stride = by_columns ? 1 : line;
    column_stride = by_columns ? line : step;
    batch_stride = line * lines + (line % 8 == 0 ? 0 : 1);
    size = static_cast<size_t>(batch * batch_stride);
    block.reset(new T[size + 1]);
    std::memset(static_cast<void*>(block.get()), 0xff, sizeof(T) * (size + 1));
  }
  T& at(int64_t b, int64_t r, int64_t c) {
    return block[static_cast<size_t>(b * batch_stride + r * row_stride + c * column_stride)];
  }
  void fill(Random& random) {
    for (int64_t i = 0; i < batch * rows * columns; ++i) {
      set(at(i / (rows * columns), i / columns % rows, i % columns), random.symmetric());
    }
  }
  // With `shared` every entry of the batch is the first.
  fa_tensor view(bool shared = false, int64_t count = 0) {
    return {block.get(),
            kDtype<T>,
            3,
            {count ? count : batch, rows, columns},
            {shared ? 0 : batch_stride, row_stride, column_stride}};
  }
};

struct Case {
  int64_t batch, M, N, K;
  Lie a = Lie::kRows, b = Lie::kRows, out = Lie::kOddRows;
  MatmulChoice choice = {};
  bool bias = false, residual = false, preact = false, accumulate = false, b_shared = false, summed = false;
  int activation = FA_ACT_NONE;
  const char* tile = "";  // part of the kernel's name
  int precision = FA_PRECISION_HIGHEST;
};

double activated(double x, int activation) {
  switch (activation) {
    case FA_ACT_GELU: return x * 0.5 * std::erfc(-x * std::sqrt(0.5));
    case FA_ACT_GELU_TANH: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case FA_ACT_SILU: return x / (1 + std::exp(-x));
    case FA_ACT_RELU: return x > 0 ? x : 0;
    case FA_ACT_SIGMOID: return 1 / (1 + std::exp(-x));
    default: return x;
  }
}

// Two factors that are each off by 2^-11, in units of what a sum of one product is allowed: (K + 2) 2^-24 and more.
constexpr double kTf32 = 1 << 13;

// Out: what out is of. Returns out's values.
template <class T, class Out = T>
std::vector<float> check(Test& t, const Case& c) {
  Random random(fastattn::emulator::options().seed + 41);
  const int64_t outs = c.summed ? 1 : c.batch;
  Matrices<T> a(c.batch, c.M, c.K, c.a), b(c.b_shared ? 1 : c.batch, c.K, c.N, c.b), bias(1, 1, c.N, Lie::kStrided);
  Matrices<T> residual(outs, c.M, c.N, c.out), preact(outs, c.M, c.N, c.out);
  Matrices<Out> out(outs, c.M, c.N, c.out);
  a.fill(random);
  b.fill(random);
  bias.fill(random);
  residual.fill(random);
  std::vector<double> want, bound, want_preact, bound_preact;
  if (c.accumulate) out.fill(random);
  for (int64_t e = 0; e < outs; ++e) {
    for (int64_t m = 0; m < c.M; ++m) {
      for (int64_t n = 0; n < c.N; ++n) {
        double x = 0, size = 0;
        for (int64_t s = e; s < (c.summed ? c.batch : e + 1); ++s) {
          for (int64_t k = 0; k < c.K; ++k) {
            const double product = double{value(a.at(s, m, k))} * value(b.at(c.b_shared ? 0 : s, k, n));
            x += product;
            size += std::abs(product) * (c.precision == FA_PRECISION_HIGHEST ? 1 : kTf32);
          }
        }
        double error = static_cast<double>(c.K * (c.summed ? c.batch : 1) + 2) * 0x1p-24 * size;
        if (c.bias) x += value(bias.at(0, 0, n));
        error += 0x1p-23 * std::abs(x);
        want_preact.push_back(x);
        bound_preact.push_back(error + kEps<T> * std::abs(x));
        x = activated(x, c.activation);
        error = 1.2 * error + 0x1p-20 * std::abs(x);
        if (c.residual) x += value(residual.at(e, m, n));
        if (c.accumulate) x += value(out.at(e, m, n));
        want.push_back(x);
        bound.push_back(error + 0x1p-22 + kEps<Out> * std::abs(x));
      }
    }
  }
  fa_matmul_params p = {};
  p.a = a.view();
  p.b = b.view(c.b_shared, c.batch);
  p.out = out.view(c.summed, c.batch);
  if (c.bias) p.bias = {bias.block.get(), kDtype<T>, 1, {c.N}, {2}};
  if (c.residual) p.residual = residual.view(c.summed, c.batch);
  if (c.preact) p.preact = preact.view(c.summed, c.batch);
  p.activation = c.activation;
  p.accumulate = c.accumulate;
  p.precision = c.precision;
  const std::string what = std::to_string(c.batch) + "x" + std::to_string(c.M) + "x" + std::to_string(c.N) + "x" +
                           std::to_string(c.K) + " lies " + std::to_string(static_cast<int>(c.a)) +
                           std::to_string(static_cast<int>(c.b));
  fa_launch launch = {};
  launch.size = sizeof launch;
  launch.query = 1;
  t.expect(fastattn::cuda::matmul(p, launch, c.choice) == FA_OK, what + ": the query");
  std::unique_ptr<void, decltype(&std::free)> workspace(
      std::aligned_alloc(64, static_cast<size_t>(round_up(static_cast<int64_t>(launch.workspace_bytes) + 1, 64))),
      &std::free);
  std::memset(workspace.get(), 0xff, launch.workspace_bytes);
  launch.query = 0;
  launch.workspace = workspace.get();
  if (!t.expect(fastattn::cuda::matmul(p, launch, c.choice) == FA_OK, what + ": " + launch.reason)) return {};
  t.expect(std::string(launch.kernel).find(c.tile) != std::string::npos, what + ": ran " + launch.kernel);
  std::vector<float> got, got_preact;
  for (int64_t i = 0; i < outs * c.M * c.N; ++i) {
    got.push_back(value(out.at(i / (c.M * c.N), i / c.N % c.M, i % c.N)));
    got_preact.push_back(value(preact.at(i / (c.M * c.N), i / c.N % c.M, i % c.N)));
  }
  t.expect_near(std::string(launch.kernel) + " " + what, got, want, bound);
  if (c.preact) t.expect_near(std::string(launch.kernel) + " preact " + what, got_preact, want_preact, bound_preact);
  return got;
}

// Out in odd rows has gaps that must stay as they were: NaN, which the sanitizer's build sees written.
template <class T>
void lies(Test& t) {
  for (const Lie a : {Lie::kRows, Lie::kColumns, Lie::kOddRows, Lie::kStrided}) {
    for (const Lie b : {Lie::kRows, Lie::kColumns, Lie::kOddColumns}) {
      check<T>(t, {.batch = 1, .M = 67, .N = 35, .K = 41, .a = a, .b = b, .tile = "64x64"});
    }
  }
}

template <class T>
void epilogues(Test& t) {
  for (const int activation : {FA_ACT_NONE, FA_ACT_GELU, FA_ACT_GELU_TANH, FA_ACT_SILU, FA_ACT_RELU, FA_ACT_SIGMOID}) {
    const bool odd = activation % 2;
    check<T>(t, {.batch = 2,
                 .M = 9,
                 .N = 22,
                 .K = 33,
                 .out = odd ? Lie::kOddRows : Lie::kRows,
                 .bias = true,
                 .residual = odd,
                 .preact = true,
                 .accumulate = !odd,
                 .activation = activation});
  }
  check<T>(t, {.batch = 1, .M = 3, .N = 5, .K = 0, .bias = true, .residual = true, .activation = FA_ACT_SILU});
}

}  // namespace

EMULATOR_TEST(matmul_f32) {
  lies<float>(t);
  epilogues<float>(t);
  check<float>(t, {.batch = 1, .M = 1, .N = 1, .K = 1});
  check<float>(t, {.batch = 3, .M = 5, .N = 7, .K = 9, .b_shared = true});
  check<float>(t, {.batch = 3, .M = 5, .N = 8, .K = 9, .summed = true});
}

EMULATOR_TEST(matmul_bf16) {
  lies<bf16>(t);
  epilogues<bf16>(t);
  check<bf16>(t, {.batch = 1, .M = 1, .N = 1, .K = 1});
  check<bf16>(t, {.batch = 3, .M = 5, .N = 7, .K = 9, .b_shared = true});
  check<bf16>(t, {.batch = 3, .M = 5, .N = 8, .K = 9, .summed = true});
  check<bf16, float>(t, {.batch = 1, .M = 20, .N = 12, .K = 40, .out = Lie::kRows, .bias = true, .accumulate = true});
}

EMULATOR_TEST(matmul_f16) {
  for (const Lie a : {Lie::kRows, Lie::kColumns}) {
    check<f16>(t, {.batch = 2, .M = 70, .N = 66, .K = 65, .a = a, .b = Lie::kColumns, .bias = true});
  }
  check<f16, float>(t, {.batch = 1, .M = 20, .N = 13, .K = 40, .residual = true});
}

EMULATOR_TEST(matmul_large_tile) {
  for (const Lie a : {Lie::kRows, Lie::kColumns}) {
    const Lie b = a == Lie::kRows ? Lie::kColumns : Lie::kRows;
    const Case c = {.batch = 1,
                    .M = 131,
                    .N = 130,
                    .K = 50,
                    .a = a,
                    .b = b,
                    .choice = {.tile = kLargeTile},
                    .bias = true,
                    .tile = "128x128"};
    check<float>(t, c);
    check<bf16>(t, c);
  }
}

EMULATOR_TEST(matmul_few_rows) {
  const bool odd = fastattn::emulator::options().seed % 2;
  for (const Lie a : {Lie::kRows, Lie::kOddRows}) {
    for (const Lie b : {Lie::kRows, Lie::kColumns, Lie::kStrided}) {
      Case c = {.batch = 1, .M = a == Lie::kRows ? 16 : 3, .N = 131, .K = 73, .a = a, .b = b, .bias = true};
      c.tile = "16x128";
      if (odd) check<float>(t, c);
      c.tile = "16x64";
      odd ? check<f16>(t, c) : check<bf16>(t, c);
    }
  }
  check<float>(t, {.batch = 1, .M = 7, .N = 9, .K = 20, .a = Lie::kColumns, .tile = "16x128"});
  check<bf16>(t, {.batch = 1, .M = 8, .N = 9, .K = 20, .a = Lie::kColumns, .tile = "64x64"});
}

EMULATOR_TEST(matmul_tf32) {
  for (const Lie a : {Lie::kRows, Lie::kColumns, Lie::kStrided}) {
    for (const Lie b : {Lie::kRows, Lie::kColumns}) {
      Case c = {.batch = 1, .M = 35, .N = 37, .K = 43, .a = a, .b = b, .bias = true, .residual = true};
      c.precision = FA_PRECISION_HIGH;
      c.tile = "tf32_64x64";
      check<float>(t, c);
    }
  }
  Case c = {.batch = 1, .M = 6, .N = 70, .K = 1100, .precision = FA_PRECISION_HIGH};
  c.tile = "tf32_16x64";
  const std::vector<float> expected = check<float>(t, c);
  c.tile = "tf32_128x128";
  c.choice.tile = kLargeTile;
  t.expect(check<float>(t, c) == expected, "the large tile: the same bits");
  // What it rounds away: 1 + 2^-12 becomes 1.
  Matrices<float> one(1, 1, 1), out(1, 1, 1);
  one.at(0, 0, 0) = 1 + 0x1p-12f;
  fa_matmul_params p = {};
  p.a = p.b = one.view();
  p.out = out.view();
  p.precision = FA_PRECISION_HIGH;
  fa_launch launch = {};
  launch.size = sizeof launch;
  t.expect(fastattn::cuda::matmul(p, launch, {}) == FA_OK && out.at(0, 0, 0) == 1.0f, "tf32's rounding");
}

EMULATOR_TEST(matmul_bits) {
  auto same = [&]<class T>(T) {
    Case c = {.batch = 1, .M = 6, .N = 9, .K = 2100, .bias = true, .activation = FA_ACT_GELU};
    c.choice = {.tile = kSmallTile, .split = 0};
    const std::vector<float> expected = check<T>(t, c);
    for (const MatmulChoice choice : {MatmulChoice{}, {.split = 1, .pieces = 1}, {.split = 1, .pieces = 2}}) {
      c.choice = choice;
      t.expect(check<T>(t, c) == expected, "K shared out: the same bits");
    }
    c.choice = {.tile = kFewTile, .split = 0};
    t.expect(check<T>(t, c) == expected, "the tile of few rows: the same bits");
    c.choice = {.tile = kLargeTile, .split = 0};
    c.tile = "128x128";
    t.expect(check<T>(t, c) == expected, "the large tile: the same bits");
  };
  if (fastattn::emulator::options().seed % 2) {
    same(float{});
  } else {
    same(bf16{});
  }
}
