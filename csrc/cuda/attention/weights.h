// The softmax weights themselves: P = exp(score - lse), before dropout, for the heads and rows that are asked for,
// whole, as their mean over heads, or the largest K of each row.
//
//   lse_kernel       lse and rest (attention/recompute.h) of the chosen rows of the chosen heads, to the workspace
//   weights_kernel   A block owns kBlockM of the chosen rows, of one head or for their mean of all, and kChunk keys of
//                    them or for the largest all: it makes P by tiles of kBlockN keys and writes it.
//
// A pass of its own behind the forward, which stays as it is to the bit. The largest K: a row's list, falling, lies in
// the workspace (keys: in weights_keys); a warp merges what a tile has that is larger than its last into it.
//
// Work: 2 D flops a pair. Bound by writing P; the largest by the products.
#pragma once

#include "cuda/attention/chosen.h"
#include "cuda/attention/recompute.h"
#include "cuda/launch.h"

namespace fastattn::cuda::attention {

template <class T, int kDim>
struct WeightsTiles {
  static constexpr int kBlockM = kDim == 256 && sizeof(T) == 4 ? 32 : 64, kBlockN = 32, kChunk = 512;
  static constexpr int kThreads = kBlockM / 16 * 32;
  static constexpr int kBytes = (kBlockM + kBlockN) * kDim * static_cast<int>(sizeof(T));
  static constexpr int kTileRow = kBlockN + 1;  // of P in shared memory, which a warp reads by rows
  static_assert(kBytes + kBlockM * kTileRow * 4 <= 99 << 10 && kBlockN == 32);
};

template <class T>
struct WeightsProblem {
  Heads<T> query, key;
  RowNumbers lse;
  ChosenWeights chosen;
  T* weights;
  int64_t strides[3];
  int64_t* keys;
  int64_t keys_strides[3];
  float *lses, *rests;  // (B, chosen heads, chosen rows)
  float* best;          // (B, places, chosen rows, K)
  int group, places, m_blocks, chunks, num_keys;
  Options options;
};

// The rows of a block of chosen ones, into shared memory.
template <class T, int kDim>
__device__ inline void load_chosen(T* sQ, const WeightsProblem<T>& p, int batch, int head, int first) {
  using Tile = WeightsTiles<T, kDim>;
  const Matrix<T> query = p.query.of(batch, head);
  load_rows<Tile::kBlockM, kDim, Tile::kThreads>(sQ, query, [&](int r) -> const T* {
    return first + r < p.chosen.num_rows ? query.data + p.chosen.row(first + r) * query.row : nullptr;
  });
}

// This lane's two rows of the block's: seqlen_q, which sees nothing, for one that is not there.
template <class T>
__device__ inline void find_rows(int (&rows)[2], const WeightsProblem<T>& p, int first) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = first + static_cast<int>(threadIdx.x) / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4 + half * 8;
    rows[half] = at < p.chosen.num_rows ? p.chosen.row(at) : p.options.seqlen_q;
  }
}

template <class T, int kDim>
__global__ void __launch_bounds__(WeightsTiles<T, kDim>::kThreads, 1) lse_kernel(WeightsProblem<T> p) {
  using Tile = WeightsTiles<T, kDim>;
  SHARED_DYN(T, sQ);
  const int warp_idx = static_cast<int>(threadIdx.x) / 32, lane_idx = static_cast<int>(threadIdx.x) % 32;
  const int first = static_cast<int>(blockIdx.x) % p.m_blocks * Tile::kBlockM;
  const int place = static_cast<int>(blockIdx.x) / p.m_blocks % p.chosen.num_heads;
  const int batch = static_cast<int>(blockIdx.x) / p.m_blocks / p.chosen.num_heads, head = p.chosen.head(place);
  const Options& o = p.options;
  int rows[2];
  find_rows(rows, p, first);
  float lse[2], rest[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    lse[half] = rows[half] < o.seqlen_q ? lse_or_inf(p.lse, batch, head, rows[half]) : kInf;
  }
  load_chosen<T, kDim>(sQ, p, batch, head, first);
  ptx::cp_async_commit();
  const Head<T, true> view(o, batch, head);
  find_rest<Tile::kBlockN, kDim, Tile::kThreads>(lse, rest, sQ + warp_idx * 16 * kDim, sQ + Tile::kBlockM * kDim,
                                                 p.key.of(batch, head / p.group), view, head, rows, 0, o.seqlen_k);
  ptx::cp_async_wait<0>();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = first + warp_idx * 16 + lane_idx / 4 + half * 8;
    if (lane_idx % 4 != 0 || at >= p.chosen.num_rows) continue;
    const int64_t to = (int64_t{batch} * p.chosen.num_heads + place) * p.chosen.num_rows + at;
    p.lses[to] = lse[half];
    p.rests[to] = rest[half];
  }
}

// In a list a NaN counts as larger than all numbers.
__device__ inline float rank_of(float x) { return x == x ? x : kInf; }

// A list of the num_keys largest weights of a row's first k0 keys, falling, those of equal ones in the order of their
// keys; into it those of the n keys from k0 on, of which each lane has one. All lanes of the warp.
__device__ inline void merge_largest(float* best, int64_t* keys, int num_keys, int k0, int n, float x) {
  const int lane_idx = static_cast<int>(threadIdx.x) % 32;
  const int count = k0 < num_keys ? k0 : num_keys;
  const float rank = rank_of(x);
  const bool taken = lane_idx < n && (count < num_keys || rank > rank_of(best[count - 1]));
  const unsigned all = __ballot_sync(0xffffffff, taken);
  if (all == 0) return;
  int place = 0;  // behind the ones in the list that are no smaller,
  for (int end = count; place < end;) {
    const int middle = (place + end) / 2;
    if (rank_of(best[middle]) >= rank) {
      place = middle + 1;
    } else {
      end = middle;
    }
  }
  for (int other = 0; other < n; ++other) {  // and those that come with it
    const float its = __shfl_sync(0xffffffff, rank, other);
    if ((all >> other & 1) != 0 && (its > rank || (its == rank && other < lane_idx))) ++place;
  }
  __syncwarp();
  for (int base = (count - 1) / 32 * 32; count > 0 && base >= 0; base -= 32) {
    const int i = base + lane_idx;
    const float old = i < count ? best[i] : kInf;
    const int64_t key = i < count ? keys[i] : 0;
    int shift = 0;
    for (int other = 0; other < n; ++other) {
      const float its = __shfl_sync(0xffffffff, rank, other);
      if ((all >> other & 1) != 0 && its > rank_of(old)) ++shift;
    }
    __syncwarp();
    if (i < count && shift > 0 && i + shift < num_keys) {
      best[i + shift] = old;
      keys[i + shift] = key;
    }
    if (__ballot_sync(0xffffffff, shift > 0) == 0) break;  // nor is any of those before it moved
  }
  if (taken && place < num_keys) {
    best[place] = x;
    keys[place] = k0 + lane_idx;
  }
  __syncwarp();
}

template <class T, int kDim, bool kLargest>
__global__ void __launch_bounds__(WeightsTiles<T, kDim>::kThreads, 1) weights_kernel(WeightsProblem<T> p) {
  using Tile = WeightsTiles<T, kDim>;
  constexpr int kBlockM = Tile::kBlockM, kBlockN = Tile::kBlockN, kThreads = Tile::kThreads;
  SHARED_DYN(T, sQ);
  T* const sK = sQ + kBlockM * kDim;
  const int warp_idx = static_cast<int>(threadIdx.x) / 32, lane_idx = static_cast<int>(threadIdx.x) % 32;
  int block = static_cast<int>(blockIdx.x);
  const int chunk = block % p.chunks;
  block /= p.chunks;
  const int first = block % p.m_blocks * kBlockM, place = block / p.m_blocks % p.places,
            batch = block / p.m_blocks / p.places;
  const Options& o = p.options;
  const int first_key = kLargest ? 0 : chunk * Tile::kChunk;
  const int end_key = kLargest || first_key + Tile::kChunk > o.seqlen_k ? o.seqlen_k : first_key + Tile::kChunk;
  const int first_head = p.chosen.mean ? 0 : place, end_head = p.chosen.mean ? p.chosen.num_heads : place + 1;
  const float factor = p.chosen.mean ? 1.0f / static_cast<float>(p.chosen.num_heads) : 1.0f;
  const int rows_left = p.chosen.num_rows - first;
  int rows[2];
  find_rows(rows, p, first);
  // Of this warp's first row: its list, or where its weights go.
  const int64_t row0 = (int64_t{batch} * p.places + place) * p.chosen.num_rows + first + warp_idx * 16;
  T* const to = p.weights + batch * p.strides[0] + place * p.strides[1] + (first + warp_idx * 16) * p.strides[2];

#pragma unroll 1
  for (int k0 = first_key; k0 < end_key; k0 += kBlockN) {
    auto sees = [&](int row) { return row < o.seqlen_q && o.first_key(row) < k0 + kBlockN && o.end_key(row) > k0; };
    const bool seen = __syncthreads_or(sees(rows[0]) || sees(rows[1]));
    float acc[kBlockN / 8][4];
    set_zero(acc);
#pragma unroll 1
    for (int h = seen ? first_head : end_head; h < end_head; ++h) {
      const int head = p.chosen.head(h);
      const Head<T, true> view(o, batch, head);
      load_chosen<T, kDim>(sQ, p, batch, head, first);
      load_tile<kBlockN, kDim, kThreads>(sK, p.key.of(batch, head / p.group), k0);
      ptx::cp_async_commit();
      float lse[2], rest[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = warp_idx * 16 + lane_idx / 4 + half * 8;
        const int64_t at = (int64_t{batch} * p.chosen.num_heads + h) * p.chosen.num_rows + first + r;
        lse[half] = r < rows_left ? p.lses[at] : kInf;
        rest[half] = r < rows_left ? p.rests[at] : 0.0f;
      }
      ptx::cp_async_wait<0>();
      __syncthreads();
      float rS[kBlockN / 8][4];
      products<kBlockN, kDim>(rS, sQ + warp_idx * 16 * kDim, sK);
      visit_tile<kBlockN>([&](int n, int i, int, int column) {
        const float score = view.score(rows[i / 2], k0 + column, rS[n][i], false);
        acc[n][i] += exp_score(score - lse[i / 2] - rest[i / 2]);
      });
      __syncthreads();  // all have done with Q and K
    }
    if constexpr (!kLargest) {
      const float factors[2] = {factor, factor};
      store_rows<kBlockN>(to, p.strides[2], rows_left - warp_idx * 16, o.seqlen_k, 0, k0, acc, factors);
    } else {
      SHARED_ARRAY(float, sTile, 16, kBlockM* Tile::kTileRow);
      float* const sMine = sTile + warp_idx * 16 * Tile::kTileRow;
      __syncwarp();  // all lanes have read what the tile before left
      visit_tile<kBlockN>(
          [&](int n, int i, int row, int column) { sMine[row * Tile::kTileRow + column] = acc[n][i] * factor; });
      __syncwarp();
      const int n = end_key - k0 < kBlockN ? end_key - k0 : kBlockN;
#pragma unroll 1
      for (int r = 0; r < 16 && warp_idx * 16 + r < rows_left; ++r) {
        int64_t* const keys = p.keys + batch * p.keys_strides[0] + place * p.keys_strides[1] +
                              (first + warp_idx * 16 + r) * p.keys_strides[2];
        merge_largest(p.best + (row0 + r) * p.num_keys, keys, p.num_keys, k0, n, sMine[r * Tile::kTileRow + lane_idx]);
      }
    }
  }
  if constexpr (kLargest) {
    for (int r = 0; r < 16 && warp_idx * 16 + r < rows_left; ++r) {
      for (int k = lane_idx; k < p.num_keys; k += 32) {
        to[r * p.strides[2] + k] = from_float<T>(p.best[(row0 + r) * p.num_keys + k]);
      }
    }
  }
}

// Behind a forward that has written lse. Its workspace is used again.
template <class T, int kDim>
fa_status run_weights(const fa_attention_fwd_params& p, const Options& options, fa_launch& launch) {
  using Tile = WeightsTiles<T, kDim>;
  const ChosenWeights chosen(p);
  const int64_t B = p.query.shape[0], H = p.query.shape[1], Hkv = p.key.shape[1], K = p.weights.shape[3];
  const bool largest = p.weights_keys.data != nullptr;
  const int64_t lses = B * chosen.num_heads * chosen.num_rows, rows = B * chosen.places() * chosen.num_rows;
  const size_t bytes = static_cast<size_t>(2 * lses + (largest ? rows * K : 0)) * 4;
  if (bytes > launch.workspace_bytes) launch.workspace_bytes = bytes;
  const double all_rows = static_cast<double>(H * p.query.shape[2]);
  if (lses > 0) {
    launch.flops += 2.0 * static_cast<double>(p.query.shape[3] * lses * H) * visible_pairs(options) / all_rows;
  }
  launch.bytes += static_cast<double>(rows * K) * (sizeof(T) + (largest ? 8 : 0));
  if (launch.query || rows * K == 0) return FA_OK;
  const int64_t m_blocks = (chosen.num_rows + Tile::kBlockM - 1) / Tile::kBlockM;
  const int64_t chunks = largest ? 1 : (p.key.shape[2] + Tile::kChunk - 1) / Tile::kChunk;
  const int64_t lse_blocks = B * chosen.num_heads * m_blocks, blocks = B * chosen.places() * m_blocks * chunks;
  if (lse_blocks > INT32_MAX || blocks > INT32_MAX) return fail(launch, FA_UNSUPPORTED, kTooManyTiles);
  float* const workspace = static_cast<float*>(launch.workspace);
  const WeightsProblem<T> problem{Heads<T>(p.query),
                                  Heads<T>(p.key),
                                  RowNumbers(p.lse),
                                  chosen,
                                  static_cast<T*>(p.weights.data),
                                  {p.weights.strides[0], p.weights.strides[1], p.weights.strides[2]},
                                  static_cast<int64_t*>(p.weights_keys.data),
                                  {p.weights_keys.strides[0], p.weights_keys.strides[1], p.weights_keys.strides[2]},
                                  workspace,
                                  workspace + lses,
                                  workspace + 2 * lses,
                                  Hkv > 0 ? static_cast<int>(H / Hkv) : 1,
                                  chosen.places(),
                                  static_cast<int>(m_blocks),
                                  static_cast<int>(chunks),
                                  static_cast<int>(K),
                                  options};
  LaunchConfig config{dim3(static_cast<unsigned>(lse_blocks)), dim3(Tile::kThreads), Tile::kBytes, launch.stream};
  const char* error = cuda::launch(lse_kernel<T, kDim>, config, problem);
  config.grid = dim3(static_cast<unsigned>(blocks));
  auto kernel = largest ? weights_kernel<T, kDim, true> : weights_kernel<T, kDim, false>;
  if (error == nullptr) error = cuda::launch(kernel, config, problem);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace fastattn::cuda::attention
