// The host's side: which kernel, how K is shared out, and the launches.
#pragma once

#include "cuda/launch.h"
#include "cuda/matmul/kernel.h"
#include "cuda/matmul/matmul.h"

namespace fastattn::cuda {

template <class T, int kTile>
constexpr KernelName kMatmulName{"matmul", kTypeName<T>, kMatmulConfigs<T>[kTile].name};

inline int64_t count_tiles(int64_t M, int64_t N, int64_t batch, const MatmulConfig& c) {
  return batch * ((M + c.block_m - 1) / c.block_m) * ((N + c.block_n - 1) / c.block_n);
}

// What a call does, by its shape alone.
struct MatmulPlan {
  int tile;
  bool split;
  int64_t pieces, rounds;  // chunks at a time, and how often
  size_t workspace;
};

// Of a problem whose tile is chosen.
template <class Problem>
void share_out(MatmulPlan& plan, const Problem& q, int64_t tiles, const MatmulChoice& choice) {
  plan.split = q.chunks > 1 && tiles > 0 && tiles < kMaxSplitTiles;
  if (choice.split >= 0) plan.split = choice.split && q.chunks > 0;
  if (!plan.split) return;
  const int64_t most = tiles < kSplitBlocks ? kSplitBlocks / tiles : 1;
  plan.pieces = q.chunks < most ? q.chunks : most;
  if (choice.pieces > 0) plan.pieces = choice.pieces;
  plan.rounds = (q.chunks + plan.pieces - 1) / plan.pieces;
  const int64_t arrays = plan.pieces + (plan.rounds > 1 ? 1 : 0);
  plan.workspace = static_cast<size_t>(arrays * q.entries() * q.M * q.N) * sizeof(float);
}

template <class T>
MatmulPlan make_matmul_plan(const MatmulProblem<T>& q, const MatmulChoice& choice) {
  const auto& large = kMatmulConfigs<T>[kLargeTile].config;
  const auto& small = kMatmulConfigs<T>[kSmallTile].config;
  const int64_t batch = q.batch.size;
  MatmulPlan plan{count_tiles(q.M, q.N, batch, large) >= kMinLargeTiles ? kLargeTile : kSmallTile, false, 1, 1, 0};
  // Of 16 bits its lines are along K: there are too few rows for a swizzle.
  if (q.M <= kFewRows && (sizeof(T) == 4 || load_of(q, kMatA) != Load::kAlongRows)) plan.tile = kFewTile;
  if (choice.tile >= 0) plan.tile = choice.tile;
  share_out(plan, q, count_tiles(q.M, q.N, batch, small), choice);
  return plan;
}

template <int kTile, Load kA, Load kB, class Problem>
const char* launch_matmul(const Problem& q, void* stream) {
  using T = typename Problem::Element;
  constexpr MatmulConfig kConfig = kMatmulConfigs<T>[kTile].config;
  const int64_t blocks = count_tiles(q.M, q.N, q.entries(), kConfig) * q.pieces;
  if (blocks > INT32_MAX) return "more tiles than a grid has blocks";
  return cuda::launch(
      matmul_kernel<Problem, kTile, kA, kB>,
      {dim3(static_cast<unsigned>(blocks)), dim3(kConfig.threads()), matmul_shared_bytes<T, kConfig>(), stream}, q);
}

// Launches of multiply(), all at once or, where blocks share K out, in rounds whose pieces are added.
template <class Problem, class F>
const char* run_plan(Problem& q, const MatmulPlan& plan, void* workspace, void* stream, F&& multiply) {
  if (!plan.split) return multiply();
  const int64_t rows = q.entries() * q.M, packs = rows * ((q.N + 3) / 4);
  q.partial = static_cast<float*>(workspace);
  float* total = q.partial + plan.pieces * rows * q.N;
  const LaunchConfig grid{dim3(static_cast<unsigned>((packs + kAddThreads - 1) / kAddThreads)), dim3(kAddThreads), 0,
                          stream};
  for (q.first_chunk = 0; q.first_chunk < q.chunks; q.first_chunk += plan.pieces) {
    const int64_t left = q.chunks - q.first_chunk;
    q.pieces = left < plan.pieces ? left : plan.pieces;
    const char* error = multiply();
    if (error == nullptr) error = cuda::launch(matmul_add_kernel<Problem>, grid, q, total, left == q.pieces);
    if (error) return error;
  }
  return nullptr;
}

// f<kA, kB>(). Of 16 bits, where one operand has to be read by elements the other is as well: so much is lost already.
// Of float, whose elements cp.async can copy too, along K is by elements.
template <class T, class F>
auto visit_loads(Load a, Load b, F&& f) {
  constexpr Load kRows = Load::kAlongRows, kK = sizeof(T) == 4 ? Load::kElements : Load::kAlongK;
  constexpr bool kFloat = sizeof(T) == 4;
  if (!kFloat && (a == Load::kElements || b == Load::kElements)) {
    return f.template operator()<Load::kElements, Load::kElements>();
  }
  if (a == kRows) return b == kRows ? f.template operator()<kRows, kRows>() : f.template operator()<kRows, kK>();
  return b == kRows ? f.template operator()<kK, kRows>() : f.template operator()<kK, kK>();
}

template <class T>
fa_status run_matmul(const fa_matmul_params& params, fa_launch& launch, const MatmulChoice& choice) {
  MatmulProblem<T> q = make_matmul_problem<T>(params);
  const bool empty = q.batch.size == 0 || q.M == 0 || q.N == 0;
  const MatmulPlan plan = make_matmul_plan(q, choice);
  constexpr const char* kNames[] = {kMatmulName<T, kLargeTile>.text, kMatmulName<T, kSmallTile>.text,
                                    kMatmulName<T, kFewTile>.text};
  launch.kernel = kNames[plan.tile];
  if (launch.query) {
    const double m = static_cast<double>(q.M), n = static_cast<double>(q.N), k = static_cast<double>(q.K);
    const double batch = static_cast<double>(q.batch.size * q.sums.size);
    const double outs = 1 + (params.residual.data != nullptr) + (params.preact.data != nullptr) + q.epilogue.accumulate;
    launch.workspace_bytes = plan.workspace;
    launch.flops = empty ? 0 : 2 * batch * m * n * k;
    launch.bytes = sizeof(T) * batch * (m * k + k * n + outs * m * n);
    return FA_OK;
  }
  if (empty) return FA_OK;
  const Load a = load_of(q, kMatA), b = load_of(q, kMatB);
  auto multiply = [&]() -> const char* {
    return visit_loads<T>(a, b, [&]<Load kA, Load kB>() {
      if (plan.tile == kLargeTile) return launch_matmul<kLargeTile, kA, kB>(q, launch.stream);
      if constexpr (sizeof(T) == 4 || kA != Load::kAlongRows) {
        if (plan.tile == kFewTile) return launch_matmul<kFewTile, kA, kB>(q, launch.stream);
      }
      return launch_matmul<kSmallTile, kA, kB>(q, launch.stream);
    });
  };
  const char* error = run_plan(q, plan, launch.workspace, launch.stream, multiply);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace fastattn::cuda
