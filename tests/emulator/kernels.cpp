// Kernels that are right: the numbers of a reference in double, for odd sizes, exact-size buffers and NaN-filled
// outputs.
#include "emulator/kernels.h"

#include <memory>

#include "emulator/emulator_test.h"

using namespace emulator_test;

EMULATOR_TEST(row_sums) {
  Random random(fastattn::emulator::options().seed + 11);
  for (const int n : {1, 31, 128, 129, 1000}) {
    const int rows = 5;
    const std::vector<float> x = random_floats(random, static_cast<size_t>(rows) * n);
    std::vector<float> out(rows, kUnwritten);
    run_row_sums(x.data(), out.data(), rows, n, Bug::kNone);
    std::vector<double> want(rows), bound(rows);
    for (int i = 0; i < rows * n; ++i) {
      want[i / n] += x[i];
      bound[i / n] += (n + 10) * 0x1p-24 * std::abs(x[i]);
    }
    t.expect_near("rows of " + std::to_string(n), out, want, bound);
  }
}

EMULATOR_TEST(scan) {
  Random random(fastattn::emulator::options().seed + 12);
  for (const int n : {1, 32, 100, 255, 1024}) {
    std::vector<int> x(n), out(n + 3, -1);
    for (int& v : x) v = random.below(100);
    run_scan(x.data(), out.data(), n, Bug::kNone);
    int sum = 0, odd = 0, big = 0;
    for (int i = 0; i < n; ++i) {
      sum += x[i];
      odd += x[i] % 2;
      big |= x[i] > 98;
      t.expect(out[i] == sum, "scan of " + std::to_string(n));
    }
    t.expect(out[n] == odd && out[n + 1] == 1 && out[n + 2] == big, "votes of a block");
  }
  // A warp that leaves before the barrier is not waited for.
  std::vector<int> x(100), out(100);
  for (int i = 0; i < 100; ++i) x[i] = i;
  run_scan(x.data(), out.data(), 100, Bug::kExitedLane);
  for (int i = 0; i < 100; ++i) t.expect(out[i] == 99 - i, "a barrier without warp 0");
}

EMULATOR_TEST(grid_sum) {
  Random random(fastattn::emulator::options().seed + 13);
  for (const int n : {100, 128, 1500}) {
    const std::vector<float> x = random_floats(random, n);
    std::vector<float> parts((n + 127) / 128, kUnwritten), out(1, kUnwritten);
    unsigned counter = 0;
    run_grid_sum(x.data(), parts.data(), &counter, out.data(), n, Bug::kNone);
    double want = 0, size = 0;
    for (const float v : x) want += v, size += std::abs(v);
    t.expect_near("sum of " + std::to_string(n), out, {want}, {30 * 0x1p-24 * size});
  }
}

EMULATOR_TEST(hand_over) {
  Random random(fastattn::emulator::options().seed + 14);
  const std::vector<float> in = random_floats(random, 100);
  std::vector<float> between(100, kUnwritten), out(100, kUnwritten);
  uint32_t flag = 0;
  run_hand_over(in.data(), between.data(), &flag, out.data(), 100, Bug::kNone);
  for (int i = 0; i < 100; ++i) t.expect(out[i] == 2 * in[i] + in[i], "what block 0 handed over");
}

EMULATOR_TEST(named_barriers) {
  Random random(fastattn::emulator::options().seed + 15);
  for (const int n : {1, 96, 200, 500}) {
    const std::vector<float> in = random_floats(random, n);
    std::vector<float> out(n, kUnwritten);
    run_named_barriers(in.data(), out.data(), n, Bug::kNone);
    for (int i = 0; i < n; ++i) t.expect(out[i] == in[i] + 1, "produced and consumed");
  }
}

EMULATOR_TEST(histogram) {
  Random random(fastattn::emulator::options().seed + 16);
  std::vector<int> x(500), counts(32, 0), want(32, 0);
  for (int& v : x) ++want[v = random.below(32)];
  run_histogram(x.data(), counts.data(), 500);
  t.expect(counts == want, "counts");
}

EMULATOR_TEST(atomics) {
  unsigned lock = 0;
  std::vector<int> out = {0, 1000, -1, 0, -1, 0};
  run_atomics(&lock, out.data());
  t.expect(out[0] == 99 * 100 / 2 && out[1] == 0 && out[2] == 99 && out[3] == (1 << 30) - 1, "atomics");
  t.expect(out[4] >= 0 && out[4] < 100, "exchange");
  t.expect(out[5] == 100 && lock == 0, "a counter under a lock");
}

EMULATOR_TEST(warp_reverse) {
  Random random(fastattn::emulator::options().seed + 17);
  const std::vector<float> in = random_floats(random, 32);
  std::vector<float> out(32, kUnwritten);
  run_warp_reverse(in.data(), out.data(), Bug::kNone);
  for (int i = 0; i < 32; ++i) t.expect(out[i] == in[31 - i], "reversed");
}

EMULATOR_TEST(matmul_tile) {
  Random random(fastattn::emulator::options().seed + 18);
  struct Size {
    int M, N, K;
  };
  for (const auto [M, N, K] : {Size{1, 1, 1}, Size{16, 16, 16}, Size{17, 31, 33}, Size{5, 50, 7}}) {
    const std::vector<float> a = random_floats(random, static_cast<size_t>(M) * K);
    const std::vector<float> b = random_floats(random, static_cast<size_t>(K) * N);
    std::vector<float> c(static_cast<size_t>(M) * N, kUnwritten);
    run_matmul_tile(a.data(), b.data(), c.data(), M, N, K, Bug::kNone);
    std::vector<double> want(c.size()), bound(c.size());
    for (int i = 0; i < M * N; ++i) {
      for (int k = 0; k < K; ++k) {
        const double product = static_cast<double>(a[i / N * K + k]) * b[k * N + i % N];
        want[i] += product;
        bound[i] += (K + 1) * 0x1p-24 * std::abs(product);
      }
    }
    t.expect_near("C", c, want, bound);
  }
}
