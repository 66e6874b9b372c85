// matmul.
#include "driver.h"

using namespace driver;

namespace {

double activate(double x, int32_t activation) {
  switch (activation) {
    case FA_ACT_GELU: return 0.5 * x * std::erfc(-x / std::sqrt(2));
    case FA_ACT_GELU_TANH: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default: return x;
  }
}

struct Extras {
  bool bias = false, residual = false, preact = false, accumulate = false;
  fa_activation activation = FA_ACT_NONE;
};

template <class T>
void matmul_case(Test& t, int64_t m, int64_t n, int64_t k, Layout la, Layout lb, Extras x = {}) {
  const std::string what = "matmul " + text_of({m, n, k});
  Random r(19);
  Array<T> a(Shape{m, k}, la), b(Shape{k, n}, lb), out(Shape{m, n}, Layout::kRowGap), preact(Shape{m, n});
  Array<T> bias(Shape{n}), residual(Shape{m, n}, Layout::kRowGap);
  for (Array<T>* array : {&a, &b, &bias, &residual, &out}) array->fill(r);
  fa_matmul_params p = {};
  p.a = a;
  p.b = b;
  p.out = out;
  if (x.bias) p.bias = bias;
  if (x.residual) p.residual = residual;
  if (x.preact) p.preact = preact;
  p.activation = x.activation;
  p.accumulate = x.accumulate;
  std::vector<double> expected, before;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l) sum += static_cast<double>(a(i, l)) * static_cast<double>(b(l, j));
      if (x.bias) sum += bias[j];
      before.push_back(sum);
      sum = activate(sum, x.activation);
      if (x.residual) sum += residual(i, j);
      expected.push_back(sum + (x.accumulate ? static_cast<double>(out(i, j)) : 0));
    }
  }
  call_both(t, what, table().matmul, p, {out.storage(), preact.storage()});
  const double terms = static_cast<double>(k), factor = 16, scale = 4 * terms + 8;
  close(t, what, out, expected, factor, scale);
  if (x.preact) close(t, what + " preact", preact, before, factor, scale);
}

// (A, B, M, K) @ (A, B, K, N), operands or the output broadcast along the batch axes named.
template <class T>
void batched(Test& t, std::initializer_list<int> broadcast_a, std::initializer_list<int> broadcast_b,
             std::initializer_list<int> summed) {
  const int64_t A = 2, B = 3, M = 7, N = 19, K = 33;
  Random r(23);
  Array<T> a(Shape{A, B, M, K}, Layout::kTransposed, broadcast_a), b(Shape{A, B, K, N}, Layout::kStep, broadcast_b);
  Array<T> out(Shape{A, B, M, N}, Layout::kContiguous, summed);
  a.fill(r);
  b.fill(r);
  std::vector<double> full, expected;
  for (int64_t i = 0; i < A * B * M * N; ++i) {
    const int64_t z = i / (B * M * N), y = i / (M * N) % B, row = i / N % M, column = i % N;
    double sum = 0;
    for (int64_t l = 0; l < K; ++l)
      sum += static_cast<double>(a(z, y, row, l)) * static_cast<double>(b(z, y, l, column));
    full.push_back(sum);
  }
  auto is_summed = [&](int axis) { return std::find(summed.begin(), summed.end(), axis) != summed.end(); };
  for (int64_t i = 0; i < A * B * M * N; ++i) {
    double sum = 0;
    for (int64_t z = 0; z < A; ++z) {
      for (int64_t y = 0; y < B; ++y) {
        if ((!is_summed(0) && z != i / (B * M * N)) || (!is_summed(1) && y != i / (M * N) % B)) continue;
        sum += full[static_cast<size_t>((z * B + y) * M * N + i % (M * N))];
      }
    }
    expected.push_back(sum);
  }
  fa_matmul_params p = {};
  p.a = a;
  p.b = b;
  p.out = out;
  call_both(t, "batched matmul", table().matmul, p, {out.storage()});
  close(t, "batched matmul", out, expected, 16, 4.0 * K * A * B);
}

template <class T>
void matmul(Test& t) {
  for (int64_t m : {0, 1, 2, 7, 17, 33}) {
    for (int64_t n : {0, 1, 5, 16, 31, 65}) {
      for (int64_t k : {0, 1, 3, 32, 37}) {
        matmul_case<T>(t, m, n, k, Layout::kContiguous, Layout::kContiguous, {.bias = true, .residual = true});
      }
    }
  }
  for (Layout la : kLayouts) {
    for (Layout lb : kLayouts) {
      matmul_case<T>(t, 13, 29, 41, la, lb);
      matmul_case<T>(t, 1, 67, 43, la, lb);
      matmul_case<T>(t, 61, 1, 43, la, lb);
    }
  }
  for (fa_activation activation : {FA_ACT_NONE, FA_ACT_GELU, FA_ACT_GELU_TANH}) {
    matmul_case<T>(t, 9, 35, 21, Layout::kContiguous, Layout::kContiguous,
                   {.bias = true, .residual = true, .preact = true, .accumulate = true, .activation = activation});
    matmul_case<T>(t, 9, 35, 21, Layout::kContiguous, Layout::kTransposed, {.preact = true, .activation = activation});
    matmul_case<T>(t, 5, 17, 0, Layout::kContiguous, Layout::kContiguous,
                   {.bias = true, .residual = true, .activation = activation});
  }
  // Across the blocks of every plan: long K, wide N, tall M.
  matmul_case<T>(t, 5, 19, 1500, Layout::kContiguous, Layout::kContiguous, {.bias = true, .activation = FA_ACT_GELU});
  matmul_case<T>(t, 3, 1100, 17, Layout::kContiguous, Layout::kTransposed);
  matmul_case<T>(t, 700, 3, 17, Layout::kTransposed, Layout::kContiguous);
  matmul_case<T>(t, 129, 131, 127, Layout::kContiguous, Layout::kContiguous);
  matmul_case<T>(t, 1, 300, 1300, Layout::kContiguous, Layout::kTransposed);

  batched<T>(t, {}, {}, {});
  batched<T>(t, {0}, {1}, {});
  batched<T>(t, {0, 1}, {}, {});
  batched<T>(t, {}, {0, 1}, {});
  batched<T>(t, {}, {}, {0});
  batched<T>(t, {}, {}, {1});
  batched<T>(t, {1}, {}, {0, 1});
}

}  // namespace

FASTATTN_TEST(matmul) {
  matmul<float>(t);
  matmul<double>(t);
  matmul<Bf16>(t);
}
