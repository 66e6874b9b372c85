// The C++ test driver: every op of the table, on every variant that this machine runs, against a plain reference in
// double. It exists for what Python tests cannot see: each buffer is a heap block of exactly its size, so that a
// sanitizer notices one element too far, and every call runs on one thread and on three, which must agree in every bit.
// Masked vector loads and stores are not instrumented; the scalar variant and whole vectors are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "ops/fastattn.h"

namespace driver {

const fa_table& table();

// One test function's verdicts.
class Test {
 public:
  explicit Test(std::string name) : name_(std::move(name)) {}
  // Counts a check; prints what failed (the first few of a test).
  bool expect(bool ok, const std::string& what);
  // A request that the backend may decline.
  void decline(const std::string& reason) { declined_ = reason; }

  int checks() const { return checks_; }
  int failures() const { return failures_; }
  const std::string& declined() const { return declined_; }

 private:
  std::string name_, declined_;
  int checks_ = 0, failures_ = 0;
};

// Registers a function to be run, once per variant or (for what has none) once.
struct Register {
  Register(const char* name, void (*run)(Test&), bool per_variant = true);
};
#define FASTATTN_TEST(name)                                    \
  static void test_##name(driver::Test&);                      \
  static driver::Register register_##name(#name, test_##name); \
  static void test_##name(driver::Test& t)

// For what has no variants.
#define FASTATTN_ONCE(name)                                           \
  static void test_##name(driver::Test&);                             \
  static driver::Register register_##name(#name, test_##name, false); \
  static void test_##name(driver::Test& t)

using Shape = std::vector<int64_t>;
std::string text_of(const Shape& s);

// A fixed sequence, the same on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  uint64_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = state_ ^ state_ >> 29;
    return (x * 0xBF58476D1CE4E5B9u) >> 20;
  }
  double uniform() { return static_cast<double>(next() & 0xffffffff) * 0x1p-32; }
  double symmetric() { return 4 * uniform() - 2; }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

// bfloat16 as a number: truncation would do for a test's inputs, but its values are compared, so it rounds.
struct Bf16 {
  uint16_t bits = 0;
  Bf16() = default;
  Bf16(double x) {
    const float f = static_cast<float>(x);
    uint32_t word;
    std::memcpy(&word, &f, sizeof word);
    bits = static_cast<uint16_t>(f != f ? word >> 16 | 0x40 : (word + 0x7fff + (word >> 16 & 1)) >> 16);
  }
  operator float() const {
    const uint32_t word = static_cast<uint32_t>(bits) << 16;
    float f;
    std::memcpy(&f, &word, sizeof f);
    return f;
  }
};
// What statistics and optimizer state are kept in.
template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;
template <class T>
constexpr double epsilon() {
  return std::is_same_v<T, Bf16> ? 0x1p-7 : static_cast<double>(std::numeric_limits<T>::epsilon());
}

template <class T>
constexpr int32_t dtype_of() {
  if constexpr (std::is_same_v<T, Bf16>) return FA_BF16;
  if constexpr (std::is_same_v<T, float>) return FA_F32;
  if constexpr (std::is_same_v<T, double>) return FA_F64;
  if constexpr (std::is_same_v<T, uint8_t>) return FA_BOOL;
  if constexpr (std::is_same_v<T, int32_t>) return FA_I32;
  if constexpr (std::is_same_v<T, int64_t>) return FA_I64;
}

// How an array lies in memory. Gaps: rows are wider than the array and the last axis may step by two.
enum class Layout { kContiguous, kRowGap, kStep, kReversed, kTransposed };
inline constexpr Layout kLayouts[] = {Layout::kContiguous, Layout::kRowGap, Layout::kStep, Layout::kReversed,
                                      Layout::kTransposed};

struct Storage {
  void* data;
  size_t bytes;
};

template <class T>
class Array {
 public:
  Array() { tensor_ = {}; }
  // broadcast: axes whose stride is 0.
  explicit Array(Shape shape, Layout layout = Layout::kContiguous, std::initializer_list<int> broadcast = {})
      : shape_(std::move(shape)) {
    const int ndim = static_cast<int>(shape_.size());
    Shape stride(shape_.size());
    std::vector<int> order;  // innermost first
    for (int d = ndim - 1; d >= 0; --d) order.push_back(d);
    if (layout == Layout::kTransposed) std::reverse(order.begin(), order.end());
    int64_t step = layout == Layout::kStep ? 2 : 1;
    for (size_t k = 0; k < order.size(); ++k) {
      const auto d = static_cast<size_t>(order[k]);
      if (std::find(broadcast.begin(), broadcast.end(), order[k]) != broadcast.end()) {
        stride[d] = 0;
        continue;
      }
      stride[d] = step;
      step *= std::max<int64_t>(shape_[d], 1);
      if (k == 0 && layout == Layout::kRowGap) step += 3;
    }
    int64_t low = 0, high = 0;  // offsets of the elements that exist
    bool empty = false;
    for (size_t d = 0; d < shape_.size(); ++d) {
      if (layout == Layout::kReversed) stride[d] = -stride[d];
      if (shape_[d] == 0) empty = true;
      const int64_t span = (shape_[d] - 1) * stride[d];
      (span < 0 ? low : high) += span;
    }
    const size_t count = empty ? 0 : static_cast<size_t>(high - low + 1);
    bytes_ = count * sizeof(T);
    // One byte where there is none, so that data is not NULL. malloc's block has exactly this size.
    block_.reset(static_cast<T*>(std::malloc(std::max<size_t>(bytes_, 1))), std::free);
    std::memset(static_cast<void*>(block_.get()), 0xA5, bytes_);
    tensor_ = {};
    tensor_.data = block_.get() - (empty ? 0 : low);
    tensor_.dtype = dtype_of<T>();
    tensor_.ndim = ndim;
    for (int d = 0; d < ndim; ++d) {
      tensor_.shape[d] = shape_[static_cast<size_t>(d)];
      tensor_.strides[d] = stride[static_cast<size_t>(d)];
    }
  }
  Array& fill(const std::function<double()>& f) {
    for (int64_t i = 0; i < size(); ++i) (*this)[i] = static_cast<T>(f());
    return *this;
  }
  Array& fill(Random& r, double scale = 1) {
    return fill([&] { return scale * r.symmetric(); });
  }

  const fa_tensor& tensor() const { return tensor_; }
  operator fa_tensor() const { return tensor_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const {
    int64_t n = 1;
    for (int64_t s : shape_) n *= s;
    return n;
  }
  // By row-major position.
  T& operator[](int64_t i) const {
    int64_t offset = 0;
    for (size_t d = shape_.size(); d-- > 0;) {
      offset += i % shape_[d] * tensor_.strides[d];
      i /= shape_[d];
    }
    return static_cast<T*>(tensor_.data)[offset];
  }
  // By index.
  template <class... I>
  T& operator()(I... index) const {
    const int64_t at[] = {static_cast<int64_t>(index)...};
    int64_t offset = 0;
    for (size_t d = 0; d < sizeof...(I); ++d) offset += at[d] * tensor_.strides[d];
    return static_cast<T*>(tensor_.data)[offset];
  }
  Storage storage() const { return {block_.get(), bytes_}; }
  std::vector<double> values() const {
    std::vector<double> v;
    for (int64_t i = 0; i < size(); ++i) v.push_back(static_cast<double>((*this)[i]));
    return v;
  }

 private:
  Shape shape_;
  fa_tensor tensor_;
  std::shared_ptr<T> block_;
  size_t bytes_ = 0;
};

// got is expected within factor * eps(T) * max(1, scale), element by element; infinities and NaN must be the same.
// scale < 0: the largest finite |expected|.
template <class T>
bool close(Test& t, const std::string& what, const Array<T>& got, const std::vector<double>& expected, double factor,
           double scale = -1) {
  double largest = 1;
  for (double e : expected) {
    if (std::isfinite(e)) largest = std::max(largest, std::fabs(e));
  }
  const double tolerance = factor * epsilon<T>() * (scale < 0 ? largest : std::max(1.0, scale));
  for (int64_t i = 0; i < got.size(); ++i) {
    const double g = static_cast<double>(got[i]), e = expected[static_cast<size_t>(i)];
    const bool same = std::isfinite(e) ? std::fabs(g - e) <= tolerance : (g == e || (std::isnan(g) && std::isnan(e)));
    if (!same) {
      char line[160];
      std::snprintf(line, sizeof line, ": element %lld is %.9g, expected %.9g within %.2g", static_cast<long long>(i),
                    g, e, tolerance);
      return t.expect(false, what + line);
    }
  }
  return t.expect(true, what);
}

// Query, workspace of exactly what it says, run. reason, where given, receives the launch's.
template <class Params>
fa_status call(fa_status (*op)(const Params*, fa_launch*), const Params& p, int threads,
               std::string* reason = nullptr) {
  fa_launch launch = {};
  launch.size = sizeof launch;
  launch.query = 1;
  fa_status status = op(&p, &launch);
  if (status == FA_OK) {
    void* workspace = nullptr;
    if (launch.workspace_bytes > 0 && posix_memalign(&workspace, 64, launch.workspace_bytes) != 0) {
      return FA_OUT_OF_MEMORY;
    }
    if (workspace != nullptr) std::memset(workspace, 0xA5, launch.workspace_bytes);
    launch.query = 0;
    launch.workspace = workspace;
    launch.num_threads = threads;
    status = op(&p, &launch);
    std::free(workspace);
  }
  if (reason != nullptr) *reason = launch.reason;
  return status;
}

// Runs with one thread, then from the same start with three, and expects the same bits in outputs. A query must say how
// many bytes a workspace for three threads takes: set_num_threads(3) is in force. Returns the status.
template <class Params>
fa_status call_both(Test& t, const std::string& what, fa_status (*op)(const Params*, fa_launch*), const Params& p,
                    const std::vector<Storage>& outputs) {
  std::vector<std::vector<char>> before, first;
  auto copy = [&](std::vector<std::vector<char>>& to) {
    for (const Storage& s : outputs) {
      const char* from = static_cast<const char*>(s.data);
      to.emplace_back(from, from + s.bytes);
    }
  };
  copy(before);
  std::string reason;
  const fa_status status = call(op, p, 1, &reason);
  if (status == FA_UNSUPPORTED) {
    if (reason == "not written yet") {
      t.expect(false, what + ": " + reason);
    } else {
      t.decline(what + ": " + reason);
    }
    return status;
  }
  t.expect(status == FA_OK, what + ": " + reason);
  if (status != FA_OK) return status;
  copy(first);
  size_t k = 0;
  for (const Storage& s : outputs) {
    if (s.bytes > 0) std::memcpy(s.data, before[k].data(), s.bytes);
    ++k;
  }
  t.expect(call(op, p, 3) == FA_OK, what + ": three threads");
  k = 0;
  bool same = true;
  for (const Storage& s : outputs) {
    same = same && (s.bytes == 0 || std::memcmp(s.data, first[k].data(), s.bytes) == 0);
    ++k;
  }
  t.expect(same, what + ": three threads gave other bits than one");
  return status;
}

// Expects FA_INVALID with this text, and outputs untouched.
template <class Params>
void expect_invalid(Test& t, const std::string& what, fa_status (*op)(const Params*, fa_launch*), const Params& p,
                    Storage output, const std::string& text) {
  std::vector<char> before(static_cast<char*>(output.data), static_cast<char*>(output.data) + output.bytes);
  std::string reason;
  t.expect(call(op, p, 3, &reason) == FA_INVALID, what + ": expected FA_INVALID, reason '" + reason + "'");
  t.expect(reason.find(text) != std::string::npos, what + ": reason '" + reason + "' lacks '" + text + "'");
  t.expect(output.bytes == 0 || std::memcmp(before.data(), output.data, output.bytes) == 0, what + ": wrote something");
}

}  // namespace driver
