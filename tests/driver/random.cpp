// random_fill and dropout, against a Philox of the driver's own.
#include "../formulas.h"
#include "driver.h"

using namespace driver;

namespace {

using formulas::philox;
using formulas::Words;

template <class T>
double uniform(uint64_t seed, uint64_t offset, uint64_t k) {
  if (sizeof(T) == 4) return formulas::random_fraction(seed, offset, k);
  const uint64_t bits =
      uint64_t{formulas::random_word(seed, offset, 2 * k + 1)} << 32 | formulas::random_word(seed, offset, 2 * k);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

void known_answers(Test& t) {  // Random123, kat_vectors
  struct {
    Words counter;
    uint32_t k0, k1;
    Words answer;
  } const kAnswers[] = {
      {{{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
       0xffffffff,
       0xffffffff,
       {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       0xa4093822,
       0x299f31d0,
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
  };
  for (const auto& a : kAnswers) {
    const Words got = philox(a.counter, a.k0, a.k1);
    t.expect(std::memcmp(&got, &a.answer, sizeof got) == 0, "Random123's known answers");
  }
}

template <class T>
void random_case(Test& t, int64_t n, uint64_t seed, uint64_t offset) {
  const std::string what = "random " + std::to_string(n);
  Array<T> out(Shape{n});
  call_both(t, what, table().random_fill, fa_random_fill_params{out, 0, 1, seed, offset, FA_UNIFORM}, {out.storage()});
  std::vector<double> u, normal;
  for (uint64_t k = 0; k < 2 * static_cast<uint64_t>(n); ++k) u.push_back(uniform<T>(seed, offset, k));
  for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
    normal.push_back(3 + 2 * formulas::normal(u[2 * i], u[2 * i + 1]));
  }
  close(t, what + " uniform", out, u, 0);
  call_both(t, what, table().random_fill, fa_random_fill_params{out, 3, 2, seed, offset, FA_NORMAL}, {out.storage()});
  close(t, what + " normal", out, normal, 16);
}

template <class T>
void dropout_case(Test& t, const Shape& shape, Layout in, Layout to, double p, bool in_place) {
  const std::string what = "dropout " + text_of(shape);
  Random r(2);
  Array<T> x(shape, in), out = in_place ? x : Array<T>(shape, to);
  x.fill(r);
  const uint64_t seed = 0x0123456789abcdef, offset = 0xfedcba9876543210;
  std::vector<double> expected;
  for (int64_t i = 0; i < x.size(); ++i) {
    const double u = formulas::random_fraction(seed, offset, static_cast<uint64_t>(i));
    expected.push_back(u >= p ? static_cast<double>(x[i]) / (1 - p) : 0);
  }
  call_both(t, what, table().dropout, fa_dropout_params{x, out, p, seed, offset}, {out.storage()});
  close(t, what, out, expected, 2);
}

template <class T>
void all(Test& t) {
  for (int64_t n : {0, 1, 3, 4, 5, 127, 128, 129, 256, 257, 1000, 16384, 33001}) {
    random_case<T>(t, n, 0, 0);
    random_case<T>(t, std::min<int64_t>(n, 1000), 0xffffffffffffffff, 0xfffffffffffffffe);
  }
  for (double p : {0.0, 0.1, 0.5, 1.0}) {
    for (const Shape& s : {Shape{}, Shape{0}, Shape{1}, Shape{5}, Shape{257}, Shape{3, 0, 2}, Shape{7, 33},
                           Shape{3, 4, 35}, Shape{2, 1, 3, 300}}) {
      for (Layout l : kLayouts)
        dropout_case<T>(t, s, l, l == Layout::kReversed ? Layout::kStep : Layout::kContiguous, p, false);
      dropout_case<T>(t, s, Layout::kRowGap, Layout::kRowGap, p, true);
    }
  }
  dropout_case<T>(t, {3, 16385}, Layout::kContiguous, Layout::kRowGap, 0.3, false);
}

}  // namespace

FASTATTN_TEST(random_fill_and_dropout) {
  known_answers(t);
  all<float>(t);
  all<double>(t);
}
