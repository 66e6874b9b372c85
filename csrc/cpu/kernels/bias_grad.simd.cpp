// bias_grad: dbias (N) = sum of dout (..., N) over all axes but the last
//
// The rows (all axes but the last) are cut into blocks of kBlockRows. An item adds the rows of one block, for one chunk
// of columns, into a row of partial sums, kGroup rows a pass so that the partial sums are not most of the traffic; a
// second region adds the partial rows in block order. Each sum is one chain in row order per block, for any layout and
// any number of threads.
//
// Traffic: dout once (rows * N elements), and 2 / kBlockRows of it for the partial sums. Memory-bound.
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kBlockRows = 256;
constexpr int64_t kChunkCols = 2048;
constexpr int kGroup = 8;

// The rows of dout: axes outermost first, merged where one stride reaches through both.
struct Rows {
  int num_axes = 0;
  int64_t count = 1;
  int64_t size[FA_MAX_DIMS], stride[FA_MAX_DIMS];

  int64_t offset(int64_t row) const {
    if (num_axes == 1) return row * stride[0];
    int64_t at = 0;
    for (int i = num_axes - 1; i >= 0; --i) {
      at += row % size[i] * stride[i];
      row /= size[i];
    }
    return at;
  }
};

FASTATTN_INLINE Rows rows_of(const fa_tensor& t) {
  Rows r;
  for (int i = 0; i < t.ndim - 1; ++i) {
    const int64_t n = t.shape[i];
    r.count *= n;
    if (n == 1) continue;
    if (r.num_axes > 0 && r.stride[r.num_axes - 1] == n * t.strides[i]) {
      r.size[r.num_axes - 1] *= n;
      r.stride[r.num_axes - 1] = t.strides[i];
    } else {
      r.size[r.num_axes] = n;
      r.stride[r.num_axes++] = t.strides[i];
    }
  }
  return r;
}

// sums[n] (+)= rows[0][n] + ... + rows[kCount - 1][n], one after the other.
template <class T, int kCount>
FASTATTN_INLINE void add_rows(const T* const* rows, int64_t col_stride, int64_t cols, bool first, T* sums) {
  using V = Vec<T>;
  int64_t n = 0;
  if (col_stride == 1) {
    for (; n + V::kLanes <= cols; n += V::kLanes) {
      V x = first ? V::zero() : V::load(sums + n);
#pragma GCC unroll 8
      for (int r = 0; r < kCount; ++r) x = x + V::load(rows[r] + n);
      x.store(sums + n);
    }
  }
  for (; n < cols; ++n) {
    T x = first ? T(0) : sums[n];
#pragma GCC unroll 8
    for (int r = 0; r < kCount; ++r) x += rows[r][n * col_stride];
    sums[n] = x;
  }
}

template <class T>
inline void sum_rows(const T* src, const Rows& rows, int64_t col_stride, int64_t row_begin, int64_t row_end,
                     int64_t cols, T* sums) {
  const T* row[kGroup];
  int64_t r = row_begin;
  for (; r + kGroup <= row_end; r += kGroup) {
    for (int i = 0; i < kGroup; ++i) row[i] = src + rows.offset(r + i);
    add_rows<T, kGroup>(row, col_stride, cols, r == row_begin, sums);
  }
  for (; r < row_end; ++r) {
    row[0] = src + rows.offset(r);
    add_rows<T, 1>(row, col_stride, cols, r == row_begin, sums);
  }
  if (row_begin == row_end) {
    for (int64_t n = 0; n < cols; ++n) sums[n] = 0;
  }
}

}  // namespace

fa_status bias_grad(const fa_bias_grad_params& p, fa_launch& launch) {
  return visit_float(
      p.dout.dtype, launch, [&]<class T>() __attribute__((always_inline)) {
        const int64_t cols = p.dout.shape[p.dout.ndim - 1];
        const Rows rows = rows_of(p.dout);
        const int64_t blocks = max_of(ceil_div(rows.count, kBlockRows), int64_t{1});
        const int64_t col_stride = cols == 1 ? 1 : p.dout.strides[p.dout.ndim - 1];
        const int64_t dbias_stride = cols == 1 ? 1 : p.dbias.strides[0];
        const int64_t partial_rows = blocks > 1 ? blocks : 0, result_rows = dbias_stride == 1 ? 0 : 1;
        const double elements = static_cast<double>(rows.count) * static_cast<double>(cols);
        describe<"bias_grad", T>(launch,
                                 {.workspace = static_cast<size_t>((partial_rows + result_rows) * cols) * sizeof(T),
                                  .flops = elements,
                                  .bytes = sizeof(T) * (elements + static_cast<double>(cols))});
        if (launch.query || cols == 0) return FA_OK;

        T* const partial = static_cast<T*>(launch.workspace);  // (blocks, N)
        T* const dbias = data<T>(p.dbias);                     // (N)
        T* const result = dbias_stride == 1 ? dbias : partial + partial_rows * cols;
        const T* const dout = data<const T>(p.dout);
        const int64_t chunks = ceil_div(cols, kChunkCols);
        parallel_for(launch, blocks * chunks, [&](int64_t item, int) {
          const int64_t block = item / chunks, col = item % chunks * kChunkCols, begin = block * kBlockRows;
          sum_rows(dout + col * col_stride, rows, col_stride, begin, min_of(begin + kBlockRows, rows.count),
                   min_of(kChunkCols, cols - col), (blocks > 1 ? partial + block * cols : result) + col);
        });
        if (blocks > 1) {
          Rows partials;
          partials.num_axes = 1;
          partials.size[0] = partials.count = blocks;
          partials.stride[0] = cols;
          constexpr int64_t kChunk = 256;
          parallel_for(launch, ceil_div(cols, kChunk), [&](int64_t item, int) {
            const int64_t col = item * kChunk;
            sum_rows(partial + col, partials, 1, 0, blocks, min_of(kChunk, cols - col), result + col);
          });
        }
        if (result != dbias) {
          for (int64_t n = 0; n < cols; ++n) dbias[n * dbias_stride] = result[n];
        }
        return FA_OK;
      });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
