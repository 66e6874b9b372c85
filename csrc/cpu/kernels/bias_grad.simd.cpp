// bias_grad: dbias (N) = sum of dout (rows..., N) over rows.
//
// Rows are cut into blocks (row_blocks.h); a block belongs to one thread, which walks its rows in order and keeps kTile
// vectors of column sums in registers. Traffic: dout once; a block's columns are whole cache lines of each row.
#include "row_blocks.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int kTile = 4;  // vectors of columns: 4 lines of a row at a time, 4 sums in flight

// sums[j] = sum over rows of the block of dout[row, column + j], for the n columns of a tile.
template <class T>
FASTATTN_INLINE void sum_columns(const fa_tensor& dout, int64_t begin, int64_t end, int64_t column, int64_t n,
                                 compute_t<T>* sums) {
  using V = Vec<compute_t<T>>;
  constexpr int kLanes = V::kLanes;
  const int64_t stride = dout.strides[dout.ndim - 1];
  const T* base = data<T>(dout) + column * stride;
  if (stride == 1 && n == kTile * kLanes) {
    V total[kTile];
    for (int t = 0; t < kTile; ++t) total[t] = V::zero();
    for (int64_t r = begin; r < end; ++r) {
      const T* row = base + row_offset(dout, 1, r);
      for (int t = 0; t < kTile; ++t) total[t] += V::load(row + t * kLanes);
    }
    for (int t = 0; t < kTile; ++t) total[t].store(sums + t * kLanes);
    return;
  }
  for (int64_t j = 0; j < n; ++j) sums[j] = 0;
  for (int64_t r = begin; r < end; ++r) {
    const T* row = base + row_offset(dout, 1, r);
    for (int64_t j = 0; j < n; ++j) sums[j] += widen(row[j * stride]);
  }
}

}  // namespace

fa_status bias_grad(const fa_bias_grad_params& p, fa_launch& launch) {
  return visit_float(p.dout.dtype, launch, [&]<class T>() {
    const int64_t R = num_rows(p.dout, 1), C = row_length(p.dout);
    const RowBlocks blocks(R, C);
    const int64_t part_stride = padded(C);
    const double n = static_cast<double>(num_elements(p.dout));
    using A = compute_t<T>;
    describe<"bias_grad", T>(launch, {.workspace = size_t(max_of<int64_t>(1, blocks.count) * part_stride) * sizeof(A),
                                      .flops = n,
                                      .bytes = sizeof(T) * n});
    if (launch.query) return FA_OK;
    A* parts = static_cast<A*>(launch.workspace);
    constexpr int64_t kColumns = kTile * Vec<A>::kLanes;
    parallel_for(launch, blocks.count, [&](int64_t block, int) {
      const int64_t begin = block * blocks.rows, end = min_of(R, begin + blocks.rows);
      for (int64_t c = 0; c < C; c += kColumns) {
        sum_columns<T>(p.dout, begin, end, c, min_of(kColumns, C - c), parts + block * part_stride + c);
      }
    });
    add_parts<T>(launch, parts, blocks.count, part_stride, p.dbias);
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
