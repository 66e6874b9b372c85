// What the two directions of a recurrent layer share: the weights of the state in the order in which a step reads them,
// the product of a step, who does which part of it, and the copies around the large products.
#pragma once

#include "matmul_pack.h"
#include "recurrent_cell.h"
#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {

template <class T>
inline constexpr int32_t kDtype = sizeof(T) == 8            ? FA_F64
                                  : sizeof(T) == 4          ? FA_F32
                                  : std::is_same_v<T, bf16> ? FA_BF16
                                                            : FA_F16;

template <class T>
FASTATTN_INLINE fa_tensor matrix(T* data, int64_t rows, int64_t columns, int64_t row_stride) {
  return {
      const_cast<std::remove_const_t<T>*>(data), kDtype<std::remove_const_t<T>>, 2, {rows, columns}, {row_stride, 1}};
}
FASTATTN_INLINE fa_tensor transposed(fa_tensor t) {
  const int64_t rows = t.shape[0], row = t.strides[0];
  t.shape[0] = t.shape[1];
  t.strides[0] = t.strides[1];
  t.shape[1] = rows;
  t.strides[1] = row;
  return t;
}

// A group is what one tile computes of a step: kGates gates of the same vectors of units, so that what the cell makes
// of them follows while they are in L1. With one gate, the vectors of a tile.
//
// Tiles are matmul's, and of four vectors with AVX-512 a 6 x 4: 24 FMAs for 10 loads.
template <class T, int kGates>
struct Groups {
  using C = TileConfig<T>;
  static constexpr int kUnitVecs = kGates == 1 ? C::kVecs : 1;
  static constexpr int kVecs = kGates * kUnitVecs;
  static constexpr int kLanes = C::kLanes;
  static constexpr bool kWide = kVecs == 4 && C::kVecs == 3;
  static constexpr int kTileVecs = kWide ? kVecs : min_of(kVecs, C::kVecs);
  static constexpr int kTileRows = kWide ? 6 : C::kRows;

  int64_t H, K;
  int64_t num;
  EvenSplit vecs;  // of units

  Groups(int64_t H, int64_t K)
      : H(H),
        K(K),
        num(ceil_div(ceil_div(H, int64_t{kLanes}), int64_t{kUnitVecs})),
        vecs(ceil_div(H, int64_t{kLanes}), num) {}

  int64_t unit(int64_t group) const { return vecs.begin(group) * kLanes; }
  int64_t unit_vecs(int64_t group) const { return vecs.begin(group + 1) - vecs.begin(group); }
  int64_t packed_elements() const { return vecs.begin(num) * kGates * kLanes * K; }
  template <class P>
  P* of(P* packed, int64_t group) const {
    return packed + vecs.begin(group) * kGates * kLanes * K;
  }

  // packed: [sliver][k][vector of the sliver]. source(gate, unit): the element of k = 0; k is k_stride and a unit
  // n_stride away from it.
  template <class S, class F>
  void pack(T* packed, int64_t group, int64_t k_begin, int64_t k_len, int64_t k_stride, int64_t n_stride,
            F&& source) const {
    const int64_t all = unit_vecs(group) * kGates;
    for (int64_t v = 0; v < all; ++v) {
      const int64_t first = v / kTileVecs * kTileVecs, width = min_of(int64_t{kTileVecs}, all - first) * kLanes;
      const int64_t from = unit(group) + v / kGates * kLanes, lanes = min_of(int64_t{kLanes}, H - from);
      T* to = of(packed, group) + first * kLanes * K + k_begin * width + (v - first) * kLanes;
      const S* src = source(v % kGates, from);
      int64_t k = 0;
      if (n_stride == 1) {
        for (; k < k_len; ++k) load_lanes(src + k * k_stride, static_cast<int>(lanes)).store(to + k * width);
      } else if (k_stride == 1) {
        for (; k + kLanes <= k_len; k += kLanes) {
          transposed_steps(
              src + k, n_stride,
              lanes, [&](int64_t i, Vec<T> x) __attribute__((always_inline)) { x.store(to + (k + i) * width); });
        }
      }
      for (; k < k_len; ++k) {
        for (int64_t n = 0; n < kLanes; ++n)
          to[k * width + n] = n < lanes ? widen(src[k * k_stride + n * n_stride]) : T(0);
      }
    }
  }

  template <int kR, int kV>
  static FASTATTN_INLINE void run_rows(const Tile<T>& t, int64_t rows) {
    if constexpr (kR > 1) {
      if (rows < kR) return run_rows<kR - 1, kV>(t, rows);
    }
    compute_tile<T, kR, kV, true>(t);
  }

  // Of a part's rows, which a points to, in tiles; one is left out where its bit of `active` is not set. Scratch: sums
  // and state, kPartRows rows of kVecs vectors each.
  //
  // A piece of k goes through all tiles before the next one, so that the weights come from L2 once for a part.
  struct Product {
    const T* a;
    int64_t a_stride;
    EvenSplit tiles;
    int64_t num_tiles;
    uint32_t active;
    T *sums, *state;
  };
  FASTATTN_INLINE void product(const T* packed, int64_t group, const Product& p) const {
    constexpr int64_t kPieceBytes = 24576, kRow = kVecs * kLanes;
    const int64_t all = unit_vecs(group) * kGates;
    Tile<T> t;
    t.a_stride = p.a_stride * int64_t{sizeof(T)};
    t.a_ahead = 0;
    t.init_stride = t.add_stride = t.dst_stride = kRow;
    t.tail = kLanes;
    for (int64_t first = 0; first < all; first += kTileVecs) {
      const int64_t width = min_of(int64_t{kTileVecs}, all - first);
      const T* b = of(packed, group) + first * kLanes * K;
      t.b_stride = width * kLanes;
      // Blocks as in matmul, so that long sums do not drift.
      for (int64_t block = 0; block < K; block += C::kBlockK) {
        const int64_t block_len = min_of(C::kBlockK, K - block);
        const int64_t pieces = ceil_div(block_len * t.b_stride * int64_t{sizeof(T)}, kPieceBytes);
        const int64_t piece = round_up(ceil_div(block_len, pieces), int64_t{4});
        for (int64_t k = 0; k < block_len; k += piece) {
          const bool last = k + piece >= block_len;
          t.k_len = min_of(piece, block_len - k);
          t.b = b + (block + k) * t.b_stride;
          t.fetch_ahead(8);
          for (int64_t i = 0; i < p.num_tiles; ++i) {
            if ((p.active >> i & 1) == 0) continue;
            const int64_t row = p.tiles.begin(i), rows = p.tiles.begin(i + 1) - row;
            T* const sums = p.sums + row * kRow + first * kLanes;
            T* const state = p.state + row * kRow + first * kLanes;
            t.a = p.a + row * p.a_stride + block + k;
            t.init = k > 0 ? state : nullptr;
            t.dst = last ? sums : state;
            t.add = last && block > 0 ? sums : nullptr;
            if constexpr (kWide) {
              run_rows<kTileRows, kVecs>(t, rows);
            } else {
              run_tile(t, rows, width, true);
            }
          }
        }
      }
    }
  }
};

inline constexpr int64_t kPartRows = 32;  // at most

// Who does what: rows of the batch go through all steps by themselves, without a barrier; of small batches, whose rows
// cannot be shared out, a step is shared out by units, with one barrier.
struct Parts {
  int64_t row_parts = 1, unit_parts = 1;
  Parts(int64_t B, int64_t groups, int64_t group_columns, int64_t K) {
    constexpr int64_t kItemWork = 65536;
    if (B >= kPartRows) {
      row_parts = 2;
      while (row_parts * kPartRows < B) row_parts *= 2;
    } else {
      unit_parts = max_of(int64_t{1}, min_of(groups, B * groups * group_columns * K / kItemWork));
    }
  }
};

// f(step, row_begin, row_end, group_begin, group_end), steps in order.
template <class F>
FASTATTN_INLINE void for_steps(const fa_launch& launch, const Parts& parts, int64_t steps, int64_t B, int64_t groups,
                               F&& f) {
  if (B == 0) return;
  if (parts.unit_parts == 1) {
    const EvenSplit rows(B, parts.row_parts);
    parallel_for(launch, parts.row_parts, [&](int64_t part, int) {
      for (int64_t s = 0; s < steps; ++s) f(s, rows.begin(part), rows.begin(part + 1), 0, groups);
    });
  } else {
    const EvenSplit units(groups, parts.unit_parts);
    for (int64_t s = 0; s < steps; ++s) {
      parallel_for(launch, parts.unit_parts,
                   [&](int64_t part, int) { f(s, 0, B, units.begin(part), units.begin(part + 1)); });
    }
  }
}

// to[r] = *row(r), C elements that are `stride` apart, converted; 0 where that is nullptr.
template <class To, class F>
inline void copy_rows(const fa_launch& launch, int64_t R, int64_t C, int64_t stride, To* to, F&& row) {
  using A = compute_t<To>;
  const int64_t per_item = max_of<int64_t>(1, 16384 / max_of<int64_t>(1, C));
  parallel_for(launch, ceil_div(R, per_item), [&](int64_t item, int) {
    for (int64_t r = item * per_item; r < min_of(R, (item + 1) * per_item); ++r) {
      To* out = to + r * C;
      const auto* in = row(r);
      if (in == nullptr || stride == 1) {
        map_row<A>(C, [&](int64_t i, int n) {
          store_lanes(in == nullptr ? Vec<A>::zero() : load_lanes(in + i, n), out + i, n);
        });
      } else {
        for (int64_t i = 0; i < C; ++i) out[i] = narrow<To>(widen(in[i * stride]));
      }
    }
  });
}
// The same of a matrix of any strides; zeros of an absent one.
template <class From, class To>
inline void copy_matrix(const fa_launch& launch, const fa_tensor& from, int64_t R, int64_t C, To* to) {
  const From* const in = data<const From>(from);
  copy_rows(launch, R, C, in == nullptr ? 1 : from.strides[1], to,
            [&](int64_t r) { return in == nullptr ? nullptr : in + r * from.strides[0]; });
}

// Steps whose gates stay in the caches between what writes and what reads them, with rows enough for a product, and few
// enough for sums over them that do not drift: the weights' gradients are added block by block.
inline int64_t block_steps(int64_t T, int64_t B, int64_t row_bytes) {
  constexpr int64_t kBytes = 2 << 20, kLeastRows = 256, kMostRows = 512;
  const int64_t rows = max_of(kLeastRows, min_of(kMostRows, kBytes / row_bytes));
  return max_of<int64_t>(1, min_of(T, ceil_div(rows, max_of<int64_t>(1, B))));
}

// x (T, B, I) as a matrix (T B, I), if its strides allow it.
inline bool fold_steps(const fa_tensor& x, fa_tensor& folded) {
  const int64_t T = x.shape[0], B = x.shape[1];
  folded = {x.data, x.dtype, 2, {T * B, x.shape[2]}, {B == 1 ? x.strides[0] : x.strides[1], x.strides[2]}};
  return T == 1 || B == 1 || x.strides[0] == B * x.strides[1];
}
// Its steps that count, as a contiguous (T, B, I) of another dtype, 0 elsewhere.
template <class From, class To>
inline void copy_steps(const fa_launch& launch, const fa_tensor& x, const int64_t* lengths, To* to) {
  const int64_t T = x.shape[0], B = x.shape[1];
  const From* const in = data<const From>(x);
  copy_rows(launch, T * B, x.shape[2], x.strides[2], to, [&](int64_t r) {
    const int64_t t = r / B, b = r % B;
    return t < lengths[b] ? in + t * x.strides[0] + b * x.strides[1] : nullptr;
  });
}

// Writes lengths (B), or T where there are none, and returns whether each is one of 0 to T.
inline bool read_lengths(const fa_tensor& lengths, int64_t B, int64_t T, fa_launch& launch, int64_t* to) {
  for (int64_t b = 0; b < B; ++b) {
    to[b] = T;
    if (lengths.data == nullptr) continue;
    const int64_t at = b * lengths.strides[0];
    to[b] = lengths.dtype == FA_I64 ? data<int64_t>(lengths)[at] : data<int32_t>(lengths)[at];
    if (to[b] < 0 || to[b] > T) {
      fail(launch, FA_INVALID, "a length is negative or more than there are steps in x");
      return false;
    }
  }
  return true;
}

}  // namespace fastattn::cpu::FASTATTN_ISA
