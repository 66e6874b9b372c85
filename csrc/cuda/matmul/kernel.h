// The kernel: a block computes a tile of out over all chunks of K, or over one of them (where K is shared out).
#pragma once

#include "cuda/matmul/epilogue.h"
#include "cuda/matmul/sums.h"

namespace fastattn::cuda {

// What a problem has beside M, N, chunks and the rest that the kernel reads of it: where the tiles of a block's
// operands come from, and where sums go to (epilogue.h). An entry is one of its products (a batch entry, a group).
template <class Problem, MatmulConfig kConfig>
struct TileSource;

// Chunk c is part c % parts of K, of the sum's entry c / parts.
template <class T, MatmulConfig kConfig>
struct TileSource<MatmulProblem<T>, kConfig> {
  const T *a0, *b0;  // of the block's rows and columns
  int rows, columns;
  const T *a, *b;  // of the chunk

  __device__ TileSource(const MatmulProblem<T>& p, int64_t entry, int64_t m0, int64_t n0)
      : rows(clamp_count(p.M - m0, kConfig.block_m)), columns(clamp_count(p.N - n0, kConfig.block_n)) {
    int64_t at[kNumMatTensors];
    row_offsets(p.batch, entry, at);
    a0 = p.a + at[kMatA] + m0 * p.a_m;
    b0 = p.b + at[kMatB] + n0 * p.b_n;
  }
  __device__ int length(const MatmulProblem<T>& p, int64_t chunk) const {
    return clamp_count(p.K - chunk % p.parts * kMatmulChunk, kMatmulChunk);
  }
  __device__ void begin(const MatmulProblem<T>& p, int64_t chunk) {
    int64_t at[2];
    row_offsets(p.sums, chunk / p.parts, at);
    const int64_t k0 = chunk % p.parts * kMatmulChunk;
    a = a0 + at[0] + k0 * p.a_k;
    b = b0 + at[1] + k0 * p.b_k;
  }
  // From k of the chunk on, of which `left` are left.
  template <Load kA, Load kB>
  __device__ void load(const MatmulProblem<T>& p, T* sA, T* sB, int k, int left) const {
    load_tile<kConfig, kConfig.block_m, kA>(sA, OperandTile<T>{a + k * p.a_k, p.a_m, p.a_k, rows, left});
    load_tile<kConfig, kConfig.block_n, kB>(sB, OperandTile<T>{b + k * p.b_k, p.b_n, p.b_k, columns, left});
  }
};

// A walk over the k blocks of chunks first..last - 1.
template <MatmulConfig kConfig>
struct KWalk {
  int64_t chunk, last;
  int k = 0, length = 0;  // in the chunk

  __device__ KWalk(int64_t first, int64_t last_) : chunk(first), last(last_) {}
  __device__ bool done() const { return chunk >= last; }

  __device__ void begin(int length_) {
    k = 0;
    length = length_;
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
template <class Problem, int kTile, Load kA, Load kB>
__global__ void __launch_bounds__(kMatmulConfigs<typename Problem::Element>[kTile].config.threads(), 1)
    matmul_kernel(Problem p) {
  using T = typename Problem::Element;
  constexpr MatmulConfig kConfig = kMatmulConfigs<T>[kTile].config;
  constexpr int kThreads = kConfig.threads(), kStages = kConfig.stages;
  SHARED_DYN(unsigned char, sMemory);
  T* const sStages = reinterpret_cast<T*>(sMemory);

  const int64_t tiles =
      ((p.M + kConfig.block_m - 1) / kConfig.block_m) * ((p.N + kConfig.block_n - 1) / kConfig.block_n);
  const int64_t piece = blockIdx.x / tiles % p.pieces, entry = blockIdx.x / tiles / p.pieces;
  int64_t m0, n0;
  place_tile<kConfig>(blockIdx.x % tiles, p.M, p.N, m0, n0);
  TileSource<Problem, kConfig> source(p, entry, m0, n0);

  const bool shared_out = p.partial != nullptr;
  const int64_t first = shared_out ? p.first_chunk + piece : 0, last = shared_out ? first + 1 : p.chunks;
  KWalk<kConfig> ahead(first, last), here(first, last);
  int load_slot = 0, slot = 0;
  auto load_stage = [&] {
    if (!ahead.done()) {
      T* sTile = sStages + load_slot * kTileElements<T, kConfig>;
      source.template load<kA, kB>(p, sTile, sTile + tile_elements<T, kConfig>(kConfig.block_m), ahead.k,
                                   ahead.length - ahead.k);
      load_slot = load_slot + 1 == kStages ? 0 : load_slot + 1;
      if (ahead.advance() && !ahead.done()) {
        source.begin(p, ahead.chunk);
        ahead.begin(source.length(p, ahead.chunk));
      }
    }
    ptx::cp_async_commit();  // an empty group too, so that the count of groups is that of k blocks
  };

  Sums<T, kConfig, kA, kB> sums, total;
  sums.clear();
  total.clear();
  if (!here.done()) {
    source.begin(p, first);
    ahead.begin(source.length(p, first));
    here.begin(source.length(p, first));
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
      if (!here.done()) here.begin(source.length(p, here.chunk));
    }
  }
  ptx::cp_async_wait<0>();
  __syncthreads();

  float* const sSums = reinterpret_cast<float*>(sMemory);
  total.store(sSums);
  __syncthreads();
  const SumTarget<Problem> target(p, entry);
  const bool rows_first = !shared_out && target.rows_first(p);
  constexpr int kPacks = kConfig.block_n / 4;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kConfig.block_m * kPacks; i += kThreads) {
    const int row = rows_first ? i % kConfig.block_m : i / kPacks;
    const int column = (rows_first ? i / kConfig.block_m : i % kPacks) * 4;
    if (row >= source.rows || column >= source.columns) continue;
    float x[4];
    load_four(x, sSums + row * kSumsLine<kConfig>, column, kConfig.block_n, true);
    if (shared_out) {
      float* to = p.partial + ((piece * p.entries() + entry) * p.M + m0 + row) * p.N;
      store_four(to, x, n0 + column, p.N, p.N % 4 == 0);
    } else {
      target.finish(p, m0 + row, n0 + column, x);
    }
  }
}

}  // namespace fastattn::cuda
