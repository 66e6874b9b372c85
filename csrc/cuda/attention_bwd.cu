// attention, backward: from query, key, value, out, lse, dout (and dlse, dweights) to the gradients of all inputs
//
//   P = exp(scores - lse)   dS = P * (Z * dO V^T + dW - delta)   delta = rowsum(dO * O) + rowsum(P * dW) - dlse
//   dC = dS * cap'(score)
//   dQ = scale * dC K       dK = scale * dC^T Q             dV = (Z * P)^T dO               (Z: dropout)
//
// Kernels, one after the other; each has one owner for every sum, so that nothing depends on the order of blocks:
//
//   dquery   a block of queries of a head, over tiles of keys. Leaves lse, what is missing from it, and delta of each
//            row in the workspace (12 bytes a row), and the block's part of the slope's gradient.
//   dkey     a block of keys of a key/value head, over the heads of its group and tiles of queries: dK and dV
//   dmask, dslopes, dsinks   where they are wanted (attention/backward_options.h)
//
// and where dweights comes in, before them, what finds a pair's (attention/backward_weights.h).
//
// Scores are computed twice, and a third time for a mask's gradient: 14 D flops a pair for the 10 D of one pass with
// atomics. Bound by the tensor cores (float: by FFMA). Source: Dao, "FlashAttention-2" (2023), algorithm 2.
#include "cuda/attention/backward_key.h"
#include "cuda/attention/backward_options.h"
#include "cuda/attention/backward_query.h"
#include "cuda/entries.h"
#include "cuda/launch.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {
namespace {

using namespace attention;

template <class T, int kDim>
constexpr KernelName kPlainName{"attention_bwd", kTypeName<T>, kDimName<kDim, false>};
template <class T, int kDim>
constexpr KernelName kGeneralName{"attention_bwd", kTypeName<T>, kDimName<kDim, true>};

template <class T>
void set_gradient(const fa_tensor& t, T*& data, int64_t (&strides)[3]) {
  data = static_cast<T*>(t.data);
  for (int d = 0; d < 3; ++d) strides[d] = t.strides[d];
}

template <class T, int kDim>
fa_status run(BackwardProblem<T>& problem, const fa_attention_bwd_params& g, fa_launch& launch) {
  using Tile = BackwardTiles<T, kDim>;
  const fa_attention_fwd_params& p = g.fwd;
  const int64_t B = p.query.shape[0], H = p.query.shape[1], Hkv = p.key.shape[1];
  const int64_t rows = B * H * p.query.shape[2];
  const bool general = problem.options.general() || problem.dweights.active();
  const int64_t m_blocks = (p.query.shape[2] + Tile::kBlockM - 1) / Tile::kBlockM;
  const int64_t n_blocks = (p.key.shape[2] + Tile::kBlockM - 1) / Tile::kBlockM;
  const int64_t query_blocks = B * H * m_blocks, key_blocks = B * Hkv * n_blocks;
  int64_t mask_blocks = g.dmask.data == nullptr ? 0 : 1;
  const int64_t sizes[4] = {B, H, m_blocks, (p.key.shape[2] + Tile::kBlockN - 1) / Tile::kBlockN};
  for (int d = 0; d < 4; ++d) mask_blocks *= g.dmask.strides[d] == 0 && sizes[d] > 0 ? 1 : sizes[d];
  launch.kernel = general ? kGeneralName<T, kDim>.text : kPlainName<T, kDim>.text;
  const int64_t words = 3 * rows + (g.dalibi_slopes.data != nullptr ? query_blocks : 0);
  launch.workspace_bytes =
      static_cast<size_t>(words + weights_gradient_words(problem.dweights, H, p.query.shape[2])) * 4;
  if (launch.query) return FA_OK;
  if (query_blocks > INT32_MAX || key_blocks > INT32_MAX || mask_blocks > INT32_MAX) {
    return fail(launch, FA_UNSUPPORTED, kTooManyTiles);
  }
  float* const workspace = static_cast<float*>(launch.workspace);
  problem.terms = {workspace, workspace + rows, workspace + 2 * rows};
  problem.slope_parts = g.dalibi_slopes.data != nullptr ? workspace + 3 * rows : nullptr;
  problem.m_blocks = static_cast<int>(m_blocks);
  problem.n_blocks = static_cast<int>(n_blocks);
  auto config = [&](int64_t blocks, int threads, size_t bytes) {
    return LaunchConfig{dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), bytes,
                        launch.stream};
  };
  const char* error =
      prepare_weights_gradient<T>(problem.dweights, H, p.query.shape[2], workspace + words, launch.stream);
  if (error == nullptr && query_blocks > 0) {
    auto kernel = general ? dquery_kernel<T, kDim, true> : dquery_kernel<T, kDim, false>;
    error = cuda::launch(kernel, config(query_blocks, Tile::kThreads, Tile::kBytes), problem);
  }
  if (error == nullptr && key_blocks > 0 && (g.dkey.data != nullptr || g.dvalue.data != nullptr)) {
    auto kernel = general ? dkey_kernel<T, kDim, true> : dkey_kernel<T, kDim, false>;
    error = cuda::launch(kernel, config(key_blocks, Tile::kThreads, Tile::kBytes), problem);
  }
  if (error == nullptr && mask_blocks > 0) {
    error =
        cuda::launch(dmask_kernel<T, kDim>, config(mask_blocks, MaskTiles<T, kDim>::kThreads, Tile::kBytes), problem);
  }
  const int num_batches = static_cast<int>(B), num_heads = static_cast<int>(H);
  if (error == nullptr && g.dalibi_slopes.data != nullptr && B * H > 0) {
    error = cuda::launch(dslopes_kernel, config((B * H + 127) / 128, 128, 0), g.dalibi_slopes, num_batches, num_heads,
                         problem.m_blocks, problem.slope_parts);
  }
  if (error == nullptr && g.dsinks.data != nullptr && H > 0) {
    error = cuda::launch(dsinks_kernel, config(g.dsinks.strides[0] == 0 ? 1 : H, kSinkThreads, 0), g.dsinks, p.sinks,
                         num_batches, num_heads, problem.options.seqlen_q, problem.terms);
  }
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace

fa_status attention_bwd(const fa_attention_bwd_params& g, fa_launch& launch) {
  const fa_attention_fwd_params& p = g.fwd;
  return visit_float(p.query.dtype, launch, [&]<class T>() {
    if (const char* why = missing(p)) return fail(launch, FA_UNSUPPORTED, why);
    const int64_t B = p.query.shape[0], H = p.query.shape[1], Hkv = p.key.shape[1];
    BackwardProblem<T> problem{Heads<T>(p.query),
                               Heads<T>(p.key),
                               Heads<T>(p.value),
                               Heads<T>(p.out),
                               Heads<T>(g.dout),
                               RowNumbers(p.lse),
                               RowNumbers(g.dlse),
                               nullptr,
                               nullptr,
                               nullptr,
                               {},
                               {},
                               {},
                               g.dmask,
                               WeightsGradient(g),
                               {},
                               nullptr,
                               static_cast<int>(B),
                               static_cast<int>(H),
                               static_cast<int>(Hkv),
                               Hkv > 0 ? static_cast<int>(H / Hkv) : 1,
                               0,
                               0,
                               Options(p)};
    set_gradient(g.dquery, problem.dquery, problem.dquery_strides);
    set_gradient(g.dkey, problem.dkey, problem.dkey_strides);
    set_gradient(g.dvalue, problem.dvalue, problem.dvalue_strides);
    const double q = static_cast<double>(B * H * p.query.shape[2]), k = static_cast<double>(B * Hkv * p.key.shape[2]);
    const double D = static_cast<double>(p.query.shape[3]), Dv = static_cast<double>(p.value.shape[3]);
    launch.flops = (6 * D + 4 * Dv) * static_cast<double>(B * H) * visible_pairs(problem.options);
    launch.bytes = (q * (2 * D + 2 * Dv) + k * (2 * D + 2 * Dv)) * sizeof(T) + 4 * q;
    return visit_dim(p.query.shape[3], p.value.shape[3], [&]<int kDim>() { return run<T, kDim>(problem, g, launch); });
  });
}

}  // namespace fastattn::cuda
