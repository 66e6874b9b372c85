// attention, forward: out = dropout(softmax(cap(scale * Q K^T) + mask + alibi)) V, lse = log(sum(exp(scores)))
//
//   query (B, H, T, D)   key (B, Hkv, S, D)   value (B, Hkv, S, Dv)   out (B, H, T, Dv)   lse (B, H, T)
//
// A block owns kBlockM queries of a head, a warp 16 of them: their rows of S, P and O stay in its registers. The block
// goes over the tiles of kBlockN keys that its queries see:
//
//   K_j is there; V_j on its way (cp.async)      S = Q K_j^T, scores, online softmax: O and row_sum to the new maximum
//   V_j is there; K_j+1 on its way               O += P V_j
//
// so that either copy has a product to hide behind, and two barriers a tile are enough. D and Dv are padded to 64, 128
// or 256 by zeros in shared memory. Two kernels for each width: plain (bounds alone) and general (every option, by
// flags that are the same for the whole grid). Few queries go another way (attention/split.h). Weights, where they are
// asked for, are made from lse afterwards (attention/weights.h).
//
// Traffic: Q and O once, K and V once for each block of queries, mostly from L2. Work: 4 D flops a pair; bound by the
// tensor cores (float: by FFMA). Source: Dao, "FlashAttention-2" (2023), algorithm 1.
#include "cuda/attention/forward.h"
#include "cuda/attention/split.h"
#include "cuda/attention/weights.h"
#include "cuda/entries.h"
#include "cuda/launch.h"
#include "cuda/tile/row.h"

namespace fastattn::cuda {
namespace {

using namespace attention;

// Tiles of Q, K and V stay under 99 KB, what a block may have on any device from sm_80 on. Where a row of O would take
// too many registers, kSlices warps have the same queries (and compute the same S), each kOut columns of O.
template <class T, int kDim>
struct Tiles {
  static constexpr bool kFloat = sizeof(T) == 4;
  static constexpr int kBlockM = 64, kBlockN = kDim == 64 ? 64 : kDim == 256 && kFloat ? 16 : 32;
  static constexpr int kOut = kDim == 64 || (kDim == 128 && kFloat) ? 64 : 128, kSlices = kDim / kOut;
  static constexpr int kThreads = kBlockM / 16 * 32 * kSlices;
  static constexpr int kBytes = (kBlockM + 2 * kBlockN) * kDim * static_cast<int>(sizeof(T));
  static_assert(kBytes <= 99 << 10);
};

template <class T>
struct Problem {
  Heads<T> query, key, value, out;
  float* lse;  // or nullptr
  int64_t lse_strides[3];
  int num_heads, group, m_blocks;
  Options options;
};

template <class T, int kDim, bool kGeneral>
__global__ void __launch_bounds__(Tiles<T, kDim>::kThreads) attention_kernel(Problem<T> p) {
  using Tile = Tiles<T, kDim>;
  constexpr int kBlockM = Tile::kBlockM, kBlockN = Tile::kBlockN, kThreads = Tile::kThreads, kOut = Tile::kOut;
  SHARED_DYN(T, sQ);
  T* const sK = sQ + kBlockM * kDim;
  T* const sV = sK + kBlockN * kDim;
  const int warp_idx = static_cast<int>(threadIdx.x) / 32 % (kBlockM / 16),
            lane_idx = static_cast<int>(threadIdx.x) % 32;
  const int column0 = static_cast<int>(threadIdx.x) / (2 * kBlockM) * kOut;
  const Options& o = p.options;
  // The last block of queries, which sees most when causal, first.
  const int q0 = (p.m_blocks - 1 - static_cast<int>(blockIdx.x) % p.m_blocks) * kBlockM;
  const int batch = static_cast<int>(blockIdx.x) / p.m_blocks / p.num_heads;
  const int head = static_cast<int>(blockIdx.x) / p.m_blocks % p.num_heads;
  const int row0 = q0 + warp_idx * 16;
  const Matrix<T> key = p.key.of(batch, head / p.group), value = p.value.of(batch, head / p.group);
  const Head<T, kGeneral> view(o, batch, head);
  const int last = (q0 + kBlockM < o.seqlen_q ? q0 + kBlockM : o.seqlen_q) - 1;
  const int first_key = o.first_key(q0) / kBlockN * kBlockN, end_key = o.end_key(last);

  float rO[kOut / 8][4];
  set_zero(rO);
  SoftmaxState state[2] = {SoftmaxState::init(), SoftmaxState::init()};  // row_sum: of this lane's columns

  if (first_key < end_key) {
    load_tile<kBlockM, kDim, kThreads>(sQ, p.query.of(batch, head), q0);
    load_tile<kBlockN, kDim, kThreads>(sK, key, first_key);
  }
  ptx::cp_async_commit();
#pragma unroll 1
  for (int k0 = first_key; k0 < end_key; k0 += kBlockN) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // K is there for all, and all have done with V
    load_tile<kBlockN, kDim, kThreads>(sV, value, k0);
    ptx::cp_async_commit();

    float rS[kBlockN / 8][4];
    products<kBlockN, kDim>(rS, sQ + warp_idx * 16 * kDim, sK);
    const bool inside = o.sees_all(q0, q0 + kBlockM, k0, k0 + kBlockN);
    visit_tile<kBlockN>(
        [&](int n, int i, int row, int column) { rS[n][i] = view.score(row0 + row, k0 + column, rS[n][i], inside); });
    online_softmax<kBlockN, kOut>(rS, rO, state);
    if constexpr (kGeneral) {  // of what meets V, not of row_sum
      if (o.drops) {
        visit_tile<kBlockN>([&](int n, int i, int row, int column) { rS[n][i] *= view.kept(row0 + row, k0 + column); });
      }
    }
    ptx::cp_async_wait<0>();
    bool nonfinite = false;
    if (inside && !view.hides()) {
      __syncthreads();  // V is there for all, and all have done with K
    } else {
      nonfinite = __syncthreads_or(has_nonfinite<kBlockN, kDim, kThreads>(sV));
    }
    if (k0 + kBlockN < end_key) load_tile<kBlockN, kDim, kThreads>(sK, key, k0 + kBlockN);
    ptx::cp_async_commit();
    if (nonfinite) take_nonfinite<kBlockN, kDim, kOut, kThreads>(rO, rS, sV, column0);
    accumulate<kBlockN, kDim, kOut>(rO, rS, sV, column0);
  }
  ptx::cp_async_wait<0>();

  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    SoftmaxState& s = state[half];
    s.row_sum = reduce_lanes<4>(s.row_sum, SumOp());
    factor[half] = finish<kGeneral>(s, o, head);
    const int row = row0 + lane_idx / 4 + half * 8;
    if (p.lse != nullptr && lane_idx % 4 == 0 && column0 == 0 && row < o.seqlen_q) {
      p.lse[batch * p.lse_strides[0] + head * p.lse_strides[1] + row * p.lse_strides[2]] = s.lse();
    }
  }
  store_rows<kOut>(p.out.data + batch * p.out.batch + head * p.out.head, p.out.row, o.seqlen_q, p.out.columns, row0,
                   column0, rO, factor);
}

template <class T, int kDim>
constexpr KernelName kPlainName{"attention_fwd", kTypeName<T>, kDimName<kDim, false>};
template <class T, int kDim>
constexpr KernelName kGeneralName{"attention_fwd", kTypeName<T>, kDimName<kDim, true>};
template <class T, int kDim>
constexpr KernelName kSplitName{"attention_fwd", kTypeName<T>, kSplitDimName<kDim, false>};
template <class T, int kDim>
constexpr KernelName kGeneralSplitName{"attention_fwd", kTypeName<T>, kSplitDimName<kDim, true>};

template <class T, int kDim>
fa_status run_blocks(const fa_attention_fwd_params& p, const Options& options, fa_launch& launch) {
  using Tile = Tiles<T, kDim>;
  const bool general = options.general();
  launch.kernel = general ? kGeneralName<T, kDim>.text : kPlainName<T, kDim>.text;
  const int64_t H = p.query.shape[1], Hkv = p.key.shape[1];
  const int64_t m_blocks = (p.query.shape[2] + Tile::kBlockM - 1) / Tile::kBlockM;
  const int64_t blocks = p.query.shape[0] * H * m_blocks;
  if (launch.query || blocks == 0) return FA_OK;
  if (blocks > INT32_MAX) return fail(launch, FA_UNSUPPORTED, kTooManyTiles);
  const Problem<T> problem{Heads<T>(p.query),
                           Heads<T>(p.key),
                           Heads<T>(p.value),
                           Heads<T>(p.out),
                           static_cast<float*>(p.lse.data),
                           {p.lse.strides[0], p.lse.strides[1], p.lse.strides[2]},
                           static_cast<int>(H),
                           Hkv > 0 ? static_cast<int>(H / Hkv) : 1,
                           static_cast<int>(m_blocks),
                           options};
  const LaunchConfig config{dim3(static_cast<unsigned>(blocks)), dim3(Tile::kThreads), Tile::kBytes, launch.stream};
  auto kernel = general ? attention_kernel<T, kDim, true> : attention_kernel<T, kDim, false>;
  const char* error = cuda::launch(kernel, config, problem);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

template <class T, int kDim>
fa_status run_splits(const fa_attention_fwd_params& p, const Options& options, fa_launch& launch) {
  using Tile = SplitTiles<T, kDim>;
  const bool general = options.general();
  launch.kernel = general ? kGeneralSplitName<T, kDim>.text : kSplitName<T, kDim>.text;
  const int64_t B = p.query.shape[0], H = p.query.shape[1], Hkv = p.key.shape[1], rows = B * H * p.query.shape[2];
  const int64_t splits = (p.key.shape[2] + kSplit - 1) / kSplit, columns = p.value.shape[3];
  const int64_t group = Hkv > 0 ? H / Hkv : 1, row_tiles = (group * p.query.shape[2] + Tile::kRows - 1) / Tile::kRows;
  const int64_t blocks = B * Hkv * row_tiles * splits, parts = rows * splits * columns;
  launch.workspace_bytes += static_cast<size_t>(parts + 2 * rows * splits) * 4;
  if (launch.query || rows == 0) return FA_OK;
  if (blocks > INT32_MAX || rows > INT32_MAX) return fail(launch, FA_UNSUPPORTED, kTooManyTiles);
  float* const workspace = static_cast<float*>(launch.workspace);
  const SplitProblem<T> problem{Heads<T>(p.query),
                                Heads<T>(p.key),
                                Heads<T>(p.value),
                                Heads<T>(p.out),
                                static_cast<float*>(p.lse.data),
                                {p.lse.strides[0], p.lse.strides[1], p.lse.strides[2]},
                                static_cast<int>(Hkv),
                                static_cast<int>(group),
                                static_cast<int>(row_tiles),
                                static_cast<int>(splits),
                                workspace + 2 * rows * splits,
                                reinterpret_cast<SoftmaxState*>(workspace),
                                options};
  const char* error = nullptr;
  if (blocks > 0) {
    const LaunchConfig config{dim3(static_cast<unsigned>(blocks)), dim3(Tile::kThreads), Tile::kBytes, launch.stream};
    error = cuda::launch(general ? split_kernel<T, kDim, true> : split_kernel<T, kDim, false>, config, problem);
  }
  if (error == nullptr) {
    error = cuda::launch(combine_kernel<T>,
                         {dim3(static_cast<unsigned>(rows)), dim3(kCombineThreads), 0, launch.stream}, problem);
  }
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace

fa_status attention_fwd(const fa_attention_fwd_params& p, fa_launch& launch) {
  return visit_float(p.query.dtype, launch, [&]<class T>() {
    if (const char* why = missing(p)) return fail(launch, FA_UNSUPPORTED, why);
    const Options options(p);
    const int64_t B = p.query.shape[0], H = p.query.shape[1], Hkv = p.key.shape[1];
    const double q = static_cast<double>(B * H * p.query.shape[2]), k = static_cast<double>(B * Hkv * p.key.shape[2]);
    const double D = static_cast<double>(p.query.shape[3]), Dv = static_cast<double>(p.value.shape[3]);
    launch.workspace_bytes = 0;
    launch.flops = 2 * (D + Dv) * static_cast<double>(B * H) * visible_pairs(options);
    launch.bytes = (q + k) * (D + Dv) * sizeof(T) + (p.lse.data != nullptr ? 4 * q : 0);
    return visit_dim(p.query.shape[3], p.value.shape[3], [&]<int kDim>() {
      const bool few = p.query.shape[2] <= kMaxSplitQueries;
      const fa_status status = few ? run_splits<T, kDim>(p, options, launch) : run_blocks<T, kDim>(p, options, launch);
      if (status != FA_OK || p.weights.data == nullptr) return status;
      return run_weights<T, kDim>(p, options, launch);
    });
  });
}

}  // namespace fastattn::cuda
