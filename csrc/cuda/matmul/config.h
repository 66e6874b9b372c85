// Tiles of the matmul kernels, and which one a problem gets. The choice is about speed only: an element of the result
// is summed in the same order by all of them.
#pragma once

#include "cuda/types.h"

namespace fastattn::cuda {

struct MatmulConfig {
  int block_m, block_n, block_k;  // the tile of a block, and of one stage
  int units_m, units_n;           // that share the tile out: warps where tensor cores multiply, else threads
  int unit_threads;
  int stages;  // of cp.async
  constexpr int threads() const { return units_m * units_n * unit_threads; }
};

struct NamedMatmulConfig {
  const char* name;
  MatmulConfig config;
};

// None of these choices has been measured on a GPU.
// clang-format off
template <class T>
inline constexpr NamedMatmulConfig kMatmulConfigs[] = {  // 16 bits
    // Warps of 64x32: 64 sums and as many totals a thread, 24 registers of fragments; 4 stages of 16 KB.
    {"128x128", {128, 128, 32, 2, 4, 32, 4}},
    // Where the large tile would leave most of the device without a block.
    {"64x64", {64, 64, 32, 2, 2, 32, 4}},
    // Few rows: a stream of b, of which three stages of 8 KB are on their way.
    {"16x64", {16, 64, 64, 1, 4, 32, 4}},
    // Few columns, as many convolutions have: 32x32 a warp.
    {"128x32", {128, 32, 32, 4, 1, 32, 4}},
};
template <>
inline constexpr NamedMatmulConfig kMatmulConfigs<tf32>[] = {  // a float takes twice the room, so half of K a stage
    {"128x128", {128, 128, 16, 2, 4, 32, 4}},
    {"64x64", {64, 64, 16, 2, 2, 32, 4}},
    {"16x64", {16, 64, 32, 1, 4, 32, 4}},
};
template <>
inline constexpr NamedMatmulConfig kMatmulConfigs<float>[] = {
    // 8x8 elements a thread: 4 FMAs for each float read from shared memory.
    {"128x128", {128, 128, 16, 16, 16, 1, 3}},
    // 4x4 a thread, so that a small block has 8 warps too.
    {"64x64", {64, 64, 16, 16, 16, 1, 3}},
    // Few rows: 4x4 a thread; most of its FMAs may be of rows that are not there, and still take less than the reading.
    {"16x128", {16, 128, 32, 4, 32, 1, 3}},
    // Few columns: 8x4 a thread.
    {"128x32", {128, 32, 16, 16, 8, 1, 3}},
};
// clang-format on
enum MatmulTile { kLargeTile, kSmallTile, kFewTile, kTallTile };

inline constexpr int64_t kFewRows = 16;
inline constexpr int64_t kFewColumns = 32;

// K is cut into chunks of this length, each summed from 0; chunks are added in order. So a chunk can be a block's, or
// one of many of the same block, with the same bits.
inline constexpr int kMatmulChunk = 1024;

inline constexpr int64_t kMinLargeTiles = 64;   // half of the multiprocessors of an A100, or of an H100
inline constexpr int64_t kMaxSplitTiles = 128;  // from here on tiles alone are blocks enough
inline constexpr int64_t kSplitBlocks = 512;    // at a time; bounds the workspace to 8 MB

// How the elements of an operand lie, by its (rows, K) where the rows are those of out or its columns.
enum class Load {
  kAlongK,     // packs of 16 bytes along K
  kAlongRows,  // packs of 16 bytes along the rows
  kElements,   // any strides, one at a time
};

}  // namespace fastattn::cuda
