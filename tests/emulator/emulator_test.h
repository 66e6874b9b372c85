// The emulator's own tests: kernels that are right must give the right numbers for every seed, and kernels with a
// planted bug must be caught, by the words and the FILE:LINE of the report.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "common/half.h"
#include "emulator/emulator.h"

namespace emulator_test {

class Test {
 public:
  explicit Test(std::string name) : name_(std::move(name)) {}
  // Counts a check; prints what failed (the first few of a test).
  bool expect(bool ok, const std::string& what);
  // The call must throw a report that has all of these in it (of "this|that" one).
  void expect_report(const std::string& what, const std::function<void()>& call,
                     std::initializer_list<std::string> parts);
  // The call must end its process (a sanitizer's doing), and stderr must have all of these in it.
  void expect_death(const std::string& what, const std::function<void()>& call,
                    std::initializer_list<std::string> parts);
  // |got - want| <= bound, element by element; NaN is never equal.
  void expect_near(const std::string& what, const std::vector<float>& got, const std::vector<double>& want,
                   const std::vector<double>& bound);
  int checks() const { return checks_; }
  int failures() const { return failures_; }

 private:
  void expect_parts(const std::string& what, const std::string& text, std::initializer_list<std::string> parts);
  std::string name_;
  int checks_ = 0, failures_ = 0;
};

struct Register {
  Register(const char* name, void (*run)(Test&));
};
// Run once for each seed; emulator::options() has it.
#define EMULATOR_TEST(name)                                           \
  static void test_##name(emulator_test::Test&);                      \
  static emulator_test::Register register_##name(#name, test_##name); \
  static void test_##name(emulator_test::Test& t)

// FILE:LINE of the line of tests/emulator/kernels/<file> that has the comment [mark].
std::string line_of(const std::string& file, const std::string& mark);

// Whether --show was given: print each report that a planted bug gives.
bool& show_reports();

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 32);
  }
  int below(int n) { return static_cast<int>(next() % static_cast<uint32_t>(n)); }
  float symmetric() { return static_cast<float>(next()) * 0x1p-31f - 1.0f; }  // [-1, 1)

 private:
  uint64_t state_;
};

std::vector<float> random_floats(Random& random, size_t n);

// Every element of a result before the kernel runs.
inline constexpr float kUnwritten = __builtin_nanf("");

}  // namespace emulator_test
