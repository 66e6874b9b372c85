// csrc/cuda/embedding.cu: rows gathered and gradients added in the order of i, and ids out of range.
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;

template <class T>
void check(Test& t, int64_t N, int64_t V, int64_t D, int64_t gap) {
  Random random(fastattn::emulator::options().seed + 71);
  Array<T> weight(V, D, D + gap), out(N, D, D), dout(N, D, D + gap), dweight(V, D, D);
  for (int64_t c = 0; c < D; ++c) {
    for (int64_t v = 0; v < V; ++v) set(weight.at(v, c), random.symmetric());
    for (int64_t i = 0; i < N; ++i) set(dout.at(i, c), random.symmetric());
  }
  std::vector<int32_t> ids(static_cast<size_t>(2 * N));  // every second one
  for (int64_t i = 0; i < N; ++i)
    ids[static_cast<size_t>(2 * i)] = random.below(3) ? 1 : random.below(static_cast<int>(V));
  ids[4] = static_cast<int32_t>(V);
  ids[6] = -1;
  const fa_tensor index = {ids.data(), FA_I32, 1, {N}, {2}};
  const fa_embedding_fwd_params f = {weight.view(false), index, out.view(false)};
  fa_launch launch = {};
  t.expect(fastattn::cuda::embedding_fwd(f, launch) == FA_OK, launch.reason);
  const int64_t padding = V - 1;
  const fa_embedding_bwd_params b = {index, dout.view(false), dweight.view(false), padding};
  launch.query = 1;
  t.expect(fastattn::cuda::embedding_bwd(b, launch) == FA_OK, launch.reason);
  std::vector<int32_t> workspace(launch.workspace_bytes / sizeof(int32_t), -1);
  launch.query = 0;
  launch.workspace = workspace.data();
  t.expect(fastattn::cuda::embedding_bwd(b, launch) == FA_OK, launch.reason);
  for (int64_t c = 0; c < D; ++c) {
    std::vector<float> sums(static_cast<size_t>(V));
    for (int64_t i = 0; i < N; ++i) {
      const int32_t v = ids[static_cast<size_t>(2 * i)];
      const float got = value(out.at(i, c));
      const bool inside = v >= 0 && v < V;
      t.expect(inside ? got == value(weight.at(v, c)) : std::isnan(got), "a row of the table");
      if (inside && v != padding) sums[static_cast<size_t>(v)] += value(dout.at(i, c));  // the kernel's own order
    }
    for (int64_t v = 0; v < V; ++v) {
      T want;
      set(want, sums[static_cast<size_t>(v)]);
      t.expect(value(dweight.at(v, c)) == value(want), "a gradient, to the bit");
    }
  }
}

}  // namespace

EMULATOR_TEST(embedding) {
  check<float>(t, 300, 7, 12, 4);
  check<float>(t, 20, 1100, 3, 0);
  check<bf16>(t, 40, 9, 16, 8);
  check<f16>(t, 40, 9, 10, 0);
}
