// The kernel: a block computes a tile of out over all chunks of K, or over one of them (where K is shared out).
#pragma once

#include "cuda/matmul/epilogue.h"
#include "cuda/matmul/sums.h"

namespace fastattn::cuda {

// A walk over the k blocks of chunks first..last - 1. Chunk c is part c % parts of K, of the sum's entry c / parts.
template <class T, MatmulConfig kConfig>
struct KWalk {
  int64_t chunk, last;
  int k = 0, length = 0;  // in the chunk
  const T *a, *b;         // of the chunk, from the block's rows and columns on

  __device__ KWalk(int64_t first, int64_t last_) : chunk(first), last(last_) {}
  __device__ bool done() const { return chunk >= last; }

  __device__ void begin(const MatmulProblem<T>& p, const T* a0, const T* b0) {
    int64_t at[2];
    row_offsets(p.sums, chunk / p.parts, at);
    begin_length(p);
    const int64_t k0 = chunk % p.parts * kMatmulChunk;
    a = a0 + at[0] + k0 * p.a_k;
    b = b0 + at[1] + k0 * p.b_k;
  }
  __device__ void begin_length(const MatmulProblem<T>& p) {
    k = 0;
    length = clamp_count(p.K - chunk % p.parts * kMatmulChunk, kMatmulChunk);
  }
  // Whether it was the chunk's last block.
  __device__ bool advance() {
    k += kConfig.block_k;
    if (k < length) return false;
    ++chunk;
    return true;
  }
};

// Tiles in groups of eight rows of them, column by column: the blocks that run at one time share rows of a and b in L2.
template <MatmulConfig kConfig>
__device__ inline void place_tile(int64_t tile, int64_t M, int64_t N, int64_t& m0, int64_t& n0) {
  constexpr int64_t kGroup = 8;
  const int64_t rows = (M + kConfig.block_m - 1) / kConfig.block_m,
                columns = (N + kConfig.block_n - 1) / kConfig.block_n;
  const int64_t first = tile / (kGroup * columns) * kGroup, within = tile % (kGroup * columns);
  const int64_t height = rows - first < kGroup ? rows - first : kGroup;
  m0 = (first + within % height) * kConfig.block_m;
  n0 = within / height * kConfig.block_n;
}

template <class T, MatmulConfig kConfig>
constexpr int kTileElements = tile_elements<T, kConfig>(kConfig.block_m) + tile_elements<T, kConfig>(kConfig.block_n);

template <class T, MatmulConfig kConfig>
constexpr size_t matmul_shared_bytes() {
  constexpr size_t kStages = sizeof(T) * kTileElements<T, kConfig> * kConfig.stages;
  constexpr size_t kSums = sizeof(float) * kConfig.block_m * kSumsLine<kConfig>;
  return kStages > kSums ? kStages : kSums;
}

// kTile: a configuration by its number, since nvcc 13 takes no struct as a kernel's template argument. One block a
// multiprocessor is enough: otherwise ptxas spills a few registers to fit more of them.
template <class T, int kTile, Load kA, Load kB>
__global__ void __launch_bounds__(kMatmulConfigs<T>[kTile].config.threads(), 1) matmul_kernel(MatmulProblem<T> p) {
  constexpr MatmulConfig kConfig = kMatmulConfigs<T>[kTile].config;
  constexpr int kThreads = kConfig.threads(), kStages = kConfig.stages;
  SHARED_DYN(unsigned char, sMemory);
  T* const sStages = reinterpret_cast<T*>(sMemory);

  const int64_t tiles =
      ((p.M + kConfig.block_m - 1) / kConfig.block_m) * ((p.N + kConfig.block_n - 1) / kConfig.block_n);
  const int64_t piece = blockIdx.x / tiles % p.pieces, entry = blockIdx.x / tiles / p.pieces;
  int64_t m0, n0, at[kNumMatTensors];
  place_tile<kConfig>(blockIdx.x % tiles, p.M, p.N, m0, n0);
  row_offsets(p.batch, entry, at);
  const T* a0 = p.a + at[kMatA] + m0 * p.a_m;
  const T* b0 = p.b + at[kMatB] + n0 * p.b_n;
  const int rows = clamp_count(p.M - m0, kConfig.block_m), columns = clamp_count(p.N - n0, kConfig.block_n);

  const bool shared_out = p.partial != nullptr;
  const int64_t first = shared_out ? p.first_chunk + piece : 0, last = shared_out ? first + 1 : p.chunks;
  KWalk<T, kConfig> ahead(first, last), here(first, last);
  int load_slot = 0, slot = 0;
  auto load_stage = [&] {
    if (!ahead.done()) {
      T* sTile = sStages + load_slot * kTileElements<T, kConfig>;
      const OperandTile<T> a{ahead.a + ahead.k * p.a_k, p.a_m, p.a_k, rows, ahead.length - ahead.k};
      const OperandTile<T> b{ahead.b + ahead.k * p.b_k, p.b_n, p.b_k, columns, ahead.length - ahead.k};
      load_tile<kConfig, kConfig.block_m, kA>(sTile, a);
      load_tile<kConfig, kConfig.block_n, kB>(sTile + tile_elements<T, kConfig>(kConfig.block_m), b);
      load_slot = load_slot + 1 == kStages ? 0 : load_slot + 1;
      if (ahead.advance() && !ahead.done()) ahead.begin(p, a0, b0);
    }
    ptx::cp_async_commit();  // an empty group too, so that the count of groups is that of k blocks
  };

  Sums<T, kConfig, kA, kB> sums, total;
  sums.clear();
  total.clear();
  if (!here.done()) {
    ahead.begin(p, a0, b0);
    here.begin_length(p);
  }
  for (int i = 0; i < kStages - 1; ++i) load_stage();
  while (!here.done()) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();  // the stage is there for all, and all have done with the one before
    load_stage();
    const T* sTile = sStages + slot * kTileElements<T, kConfig>;
    sums.add_product(sTile, sTile + tile_elements<T, kConfig>(kConfig.block_m));
    slot = slot + 1 == kStages ? 0 : slot + 1;
    if (here.advance()) {
      total.add(sums);
      sums.clear();
      if (!here.done()) here.begin_length(p);
    }
  }
  ptx::cp_async_wait<0>();
  __syncthreads();

  float* const sSums = reinterpret_cast<float*>(sMemory);
  total.store(sSums);
  __syncthreads();
  constexpr int kPacks = kConfig.block_n / 4;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kConfig.block_m * kPacks; i += kThreads) {
    const int row = i / kPacks, column = i % kPacks * 4;
    if (row >= rows || column >= columns) continue;
    float x[4];
    load_four(x, sSums + row * kSumsLine<kConfig>, column, kConfig.block_n, true);
    if (shared_out) {
      float* to = p.partial + ((piece * p.batch.size + entry) * p.M + m0 + row) * p.N;
      store_four(to, x, n0 + column, p.N, p.N % 4 == 0);
    } else {
      finish(p.epilogue, at, m0 + row, n0 + column, p.N, x);
    }
  }
}

}  // namespace fastattn::cuda
