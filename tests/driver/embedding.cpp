#include "driver.h"

using namespace driver;

namespace {

template <class T, class I>
void embedding_case(Test& t, int64_t rows, int64_t dim, int64_t n, Layout layout, int64_t padding) {
  const std::string what = "embedding " + text_of({rows, dim, n});
  Random r(9);
  Array<T> weight(Shape{rows, dim}, layout == Layout::kRowGap ? layout : Layout::kContiguous);
  weight.fill(r);
  Array<I> index(Shape{n}, layout);
  index.fill([&] { return static_cast<double>(std::min(r.below(rows), r.below(rows))); });
  Array<T> out(Shape{n, dim}, Layout::kRowGap);
  call_both(t, what, table().embedding_fwd, fa_embedding_fwd_params{weight, index, out}, {out.storage()});
  std::vector<double> expected;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c < dim; ++c) expected.push_back(weight(index[i], c));
  }
  close(t, what, out, expected, 0);

  Array<T> dout(Shape{n, dim}, Layout::kRowGap), dweight(Shape{rows, dim});
  dout.fill(r);
  call_both(t, what + " bwd", table().embedding_bwd, fa_embedding_bwd_params{index, dout, dweight, padding},
            {dweight.storage()});
  std::vector<Accumulator<T>> sums(static_cast<size_t>(rows * dim), T(0));  // in order: the bits are promised
  for (int64_t i = 0; i < n; ++i) {
    if (index[i] == padding) continue;
    for (int64_t c = 0; c < dim; ++c) sums[static_cast<size_t>(index[i] * dim + c)] += dout(i, c);
  }
  std::vector<double> rounded;
  for (auto sum : sums) rounded.push_back(static_cast<double>(static_cast<T>(sum)));
  close(t, what + " bwd", dweight, rounded, 0);
}

template <class T>
void embedding(Test& t) {
  for (Layout layout : kLayouts) {
    embedding_case<T, int64_t>(t, 65, 7, 33, layout, -1);
    embedding_case<T, int32_t>(t, 5, 131, 300, layout, 2);
  }
  embedding_case<T, int64_t>(t, 1, 1, 1, Layout::kContiguous, 0);
  embedding_case<T, int64_t>(t, 3, 0, 4, Layout::kContiguous, -1);
  embedding_case<T, int32_t>(t, 17, 128, 0, Layout::kContiguous, -1);
  embedding_case<T, int64_t>(t, 2, 513, 900, Layout::kContiguous, -1);    // a row is cut by columns
  embedding_case<T, int64_t>(t, 1000, 129, 50, Layout::kContiguous, -1);  // most rows are zeros

  Array<T> weight(Shape{65, 4}), out(Shape{5, 4}), dout(Shape{5, 4});
  weight.fill([] { return 1; });
  out.fill([] { return 2; });
  dout.fill([] { return 3; });
  Array<int64_t> index(Shape{5});
  index.fill([] { return 64; });
  index[3] = 70;
  expect_invalid(t, "id 70", table().embedding_fwd, fa_embedding_fwd_params{weight, index, out}, out.storage(),
                 "index 70 at position 3 is outside 0..64");
  expect_invalid(t, "id 70 bwd", table().embedding_bwd, fa_embedding_bwd_params{index, dout, weight, -1},
                 weight.storage(), "index 70 at position 3 is outside 0..64");
  index[3] = std::numeric_limits<int64_t>::min();
  expect_invalid(t, "least id", table().embedding_fwd, fa_embedding_fwd_params{weight, index, out}, out.storage(),
                 "index -9223372036854775808 at position 3");
}

}  // namespace

FASTATTN_TEST(embedding) {
  embedding<float>(t);
  embedding<double>(t);
  embedding<Bf16>(t);
}
