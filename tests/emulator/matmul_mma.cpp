// The tensor-core matmul: right for odd sizes in both dtypes, and its planted bugs.
#include <cstdlib>
#include <memory>

#include "emulator/emulator_test.h"
#include "emulator/kernels.h"

namespace {

using namespace emulator_test;

// Rows 16 bytes apart by a multiple, in a block of exactly that size, aligned as cudaMalloc aligns.
template <class T>
struct Matrix {
  int rows, columns, ld;
  std::unique_ptr<T[], decltype(&std::free)> data{nullptr, &std::free};
  std::vector<double> values;

  Matrix(Random& random, int rows_, int columns_) : rows(rows_), columns(columns_), ld((columns_ + 7) / 8 * 8) {
    const size_t bytes = static_cast<size_t>(rows) * ld * sizeof(T);
    data.reset(static_cast<T*>(std::aligned_alloc(16, bytes)));
    std::memset(data.get(), 0xff, bytes);  // NaN in the gaps between rows
    for (int i = 0; i < rows * columns; ++i) {
      // Multiples of 1/64 below 2: exact in both dtypes.
      const int q = random.below(255) - 127;
      values.push_back(q / 64.0);
      const float x = static_cast<float>(q) / 64.0f;
      T& place = data[static_cast<size_t>(i / columns * ld + i % columns)];
      if constexpr (std::is_same_v<T, fastattn::bf16>) {
        uint32_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        place.bits = static_cast<uint16_t>(bits >> 16);
      } else {
        const auto half = static_cast<_Float16>(x);
        std::memcpy(&place, &half, sizeof place);
      }
    }
  }
};

// What a wrong element would be called; empty if all are right.
template <class T>
std::string difference(int M, int N, int K, Bug bug) {
  Random random(fastattn::emulator::options().seed + 21);
  const Matrix<T> a(random, M, K), b(random, N, K);
  std::vector<float> c(static_cast<size_t>(M) * N, kUnwritten);
  run_matmul_mma(a.data.get(), b.data.get(), c.data(), M, N, K, a.ld, b.ld, bug);
  for (int i = 0; i < M * N; ++i) {
    double want = 0, size = 0;
    for (int k = 0; k < K; ++k) {
      const double product = a.values[i / N * K + k] * b.values[i % N * K + k];
      want += product;
      size += std::abs(product);
    }
    if (!(std::abs(c[i] - want) <= (K + 1) * 0x1p-24 * size)) {
      return "C[" + std::to_string(i / N) + ", " + std::to_string(i % N) + "] of " + std::to_string(M) + "x" +
             std::to_string(N) + "x" + std::to_string(K) + " is " + std::to_string(c[i]) + ", not " +
             std::to_string(want);
    }
  }
  return "";
}

constexpr const char* kFile = "matmul_mma.cu";

}  // namespace

EMULATOR_TEST(matmul_mma) {
  struct Size {
    int M, N, K;
  };
  for (const auto [M, N, K] : {Size{64, 64, 64}, Size{1, 1, 1}, Size{65, 7, 200}, Size{63, 130, 129}}) {
    const std::string bf16 = difference<fastattn::bf16>(M, N, K, Bug::kNone);
    t.expect(bf16.empty(), "bf16: " + bf16);
  }
  const std::string f16 = difference<fastattn::f16>(33, 70, 300, Bug::kNone);
  t.expect(f16.empty(), "f16: " + f16);
}

EMULATOR_TEST(bug_wrong_swizzle) {
  const std::string text = difference<fastattn::bf16>(64, 64, 64, Bug::kWrongSwizzle);
  if (show_reports()) std::printf("--- wrong swizzle\n%s\n", text.c_str());
  t.expect(text.rfind("C[", 0) == 0, "a wrong swizzle gives right numbers");
}

EMULATOR_TEST(bug_swapped_registers) {
  const std::string text = difference<fastattn::bf16>(64, 64, 64, Bug::kSwappedRegisters);
  if (show_reports()) std::printf("--- swapped registers\n%s\n", text.c_str());
  t.expect(text.rfind("C[", 0) == 0, "swapped registers give right numbers");
}

EMULATOR_TEST(bug_unset_accumulator) {
  t.expect_report("unset accumulator", [] { difference<fastattn::bf16>(64, 64, 64, Bug::kUnsetAccumulator); },
                  {"mma.sync", "accumulator that nothing has been written to", "at " + line_of(kFile, "mma")});
}

EMULATOR_TEST(bug_stage_overwritten) {
  if (fastattn::emulator::sees_races()) {
    t.expect_report("stage overwritten while read",
                    [] { difference<fastattn::bf16>(64, 64, 400, Bug::kStageOverwritten); },
                    {"race on shared memory sStages", line_of(kFile, "copy into a stage"),
                     "at " + line_of(kFile, "read of A") + "|at " + line_of(kFile, "read of B")});
  }
}

EMULATOR_TEST(bug_wait_count) {
  if (fastattn::emulator::sees_races()) {
    t.expect_report(
        "wait count off by one", [] { difference<fastattn::bf16>(64, 64, 400, Bug::kWaitCount); },
        {"race on shared memory sStages", "cp.async by thread", line_of(kFile, "copy into a stage"),
         "which has not been waited for", "at " + line_of(kFile, "read of A") + "|at " + line_of(kFile, "read of B")});
  } else {  // what was read before it landed is NaN
    fastattn::emulator::options().land_early_one_in = 0;
    const std::string text = difference<fastattn::bf16>(64, 64, 400, Bug::kWaitCount);
    fastattn::emulator::options().land_early_one_in = 4;
    t.expect(text.find("is nan") != std::string::npos || text.find("is -nan") != std::string::npos,
             "wait count: " + text);
  }
}
