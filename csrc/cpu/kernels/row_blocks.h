// Sums over rows, column by column, in an order that is a function of the shape alone: rows are cut into blocks, a
// block sums its rows into its own part of the workspace, and the parts are added in block order.
#pragma once

#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {

constexpr int64_t kRowBlockElements = 16384;  // of a block, at least: some microseconds
constexpr int64_t kMaxRowBlocks = 64;         // bounds the workspace at 64 parts
constexpr int64_t kLineElements = 16;

// A part's length: whole cache lines, so that two threads never write to one.
FASTATTN_INLINE int64_t padded(int64_t C) { return round_up(C, kLineElements); }

struct RowBlocks {
  int64_t rows, count;
  FASTATTN_INLINE RowBlocks(int64_t R, int64_t C)
      : rows(
            max_of(max_of(ceil_div(R, kMaxRowBlocks), ceil_div(kRowBlockElements, max_of<int64_t>(1, C))), int64_t(1))),
        count(ceil_div(R, rows)) {}
};

// out[i] = scale * the sum over blocks of part[block][i], in order.
template <class T>
void add_parts(const fa_launch& launch, const compute_t<T>* part, int64_t num_blocks, int64_t part_stride,
               const fa_tensor& out, compute_t<T> scale = 1) {
  using A = compute_t<T>;
  using V = Vec<A>;
  const int64_t C = out.shape[0], stride = out.strides[0];
  T* to = data<T>(out);
  const int64_t columns = round_up(ceil_div(kRowBlockElements, max_of<int64_t>(1, num_blocks)), kLineElements);
  parallel_for(launch, ceil_div(C, columns), [&](int64_t item, int) {
    const int64_t begin = item * columns, end = min_of(C, begin + columns);
    map_row<A>(end - begin, [&](int64_t i, int n) {
      V sum = V::zero();
      for (int64_t b = 0; b < num_blocks; ++b) sum += load_lanes(part + b * part_stride + begin + i, n);
      sum *= V::set(scale);
      if (stride == 1) {
        store_lanes(sum, to + begin + i, n);
      } else {
        alignas(64) A lanes[V::kLanes];
        sum.store(lanes);
        for (int k = 0; k < n; ++k) to[(begin + i + k) * stride] = narrow<T>(lanes[k]);
      }
    });
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
