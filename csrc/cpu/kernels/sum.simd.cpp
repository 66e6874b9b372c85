// sum: out = scale * the sum of x over some axes, in an order that is a function of the logical shape alone.
//
//   x as (outer, R) where its last axis is summed, as (outer, R, C) where it is kept: R elements, in row-major order,
//   are added to one
//
// Rows (the last axis is summed): an output's R elements are cut into chunks of kChunk. A chunk is summed as row.h sums
// a row, and so are the sums of the chunks, which go through the workspace. An item is one chunk, or several short
// rows. Columns (the last axis is kept): R is cut into blocks (row_blocks.h). An item is a block of a tile of columns,
// walks its rows in order and keeps kTile vectors of column sums in registers; blocks are added in order.
//
// Traffic: x once. A vector reads what is contiguous along the last axis; other strides are gathered, to the same bits.
#include "elementwise.h"
#include "row_blocks.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kChunk = 2048;
constexpr int64_t kItemElements = 16384;  // of an item, at least: some microseconds
constexpr int64_t kLeastRows = 64;        // of a block: the workspace is at most this part of x
constexpr int kTile = 4;                  // vectors of columns: 4 lines of a row at a time, 4 sums in flight

// The axes of x that are kept, beside out's, and those that are summed, both in row-major order.
struct Axes {
  fa_tensor x = {}, out = {}, summed = {};
  bool last_is_summed = false;

  Axes(const fa_tensor& from, const fa_tensor& to) {
    for (int i = 0; i < from.ndim; ++i) {
      if (from.shape[i] == 1) continue;
      last_is_summed = to.strides[i] == 0;
      if (last_is_summed) {
        append(summed, from, i);
      } else {
        append(x, from, i);
        append(out, to, i);
      }
    }
  }

 private:
  static void append(fa_tensor& t, const fa_tensor& from, int axis) {
    t.shape[t.ndim] = from.shape[axis];
    t.strides[t.ndim++] = from.strides[axis];
  }
};

// Rows ----------------------------------------------------------------------------------------------------------------

// The sum of elements begin..end of a row that starts at x.
template <class T>
compute_t<T> sum_chunk(const T* x, const StridedShape<1>& row, int64_t begin, int64_t end) {
  const int64_t n = end - begin;
  if (n == 0) return 0;
  StridedCursor<1> cursor(row, begin);
  alignas(64) T buffer[kChunk];
  const T* from = x + cursor.offset[0];
  if (row.innermost(0) != 1 || cursor.left_in_row() < n) {
    from = buffer;
    for (int64_t at = 0; at < n;) {
      const int64_t run = min_of(n - at, cursor.left_in_row());
      gather(x + cursor.offset[0], row.innermost(0), buffer + at, run);
      cursor.advance(run);
      at += run;
    }
  }
  return sum_row<compute_t<T>>(n, [&](int64_t i, int lanes) { return load_lanes(from + i, lanes); });
}

// f(i, offset of x, offset of out) for every output, at least `elements` of x an item.
template <class F>
FASTATTN_INLINE void for_outputs(const fa_launch& launch, const StridedShape<2>& kept, int64_t elements, F&& f) {
  const int64_t per_item = max_of<int64_t>(1, kItemElements / max_of<int64_t>(1, elements));
  parallel_for(launch, ceil_div(kept.size, per_item), [&](int64_t item, int) {
    const int64_t begin = item * per_item, end = min_of(kept.size, begin + per_item);
    StridedCursor<2> cursor(kept, begin);
    for (int64_t i = begin; i < end; ++i) {
      f(i, cursor.offset[0], cursor.offset[1]);
      cursor.advance(1);
    }
  });
}

template <class T>
void sum_rows(const T* x, T* out, const StridedShape<2>& kept, const StridedShape<1>& row, compute_t<T> scale,
              const fa_launch& launch) {
  using A = compute_t<T>;
  const int64_t R = row.size, chunks = ceil_div(R, kChunk);
  if (chunks <= 1) {
    for_outputs(launch, kept, R, [&](int64_t, int64_t from, int64_t to) {
      out[to] = narrow<T>(scale * sum_chunk(x + from, row, 0, R));
    });
    return;
  }
  A* parts = static_cast<A*>(launch.workspace);
  parallel_for(launch, kept.size * chunks, [&](int64_t item, int) {
    const StridedCursor<2> cursor(kept, item / chunks);
    const int64_t begin = item % chunks * kChunk;
    parts[item] = sum_chunk(x + cursor.offset[0], row, begin, min_of(R, begin + kChunk));
  });
  for_outputs(launch, kept, chunks, [&](int64_t i, int64_t, int64_t to) {
    const A* part = parts + i * chunks;
    const A total = sum_row<A>(chunks, [&](int64_t k, int n) { return load_lanes(part + k, n); });
    out[to] = narrow<T>(scale * total);
  });
}

// Columns -------------------------------------------------------------------------------------------------------------

// to[j] = the sum over rows begin..end of x[row, j], for n columns, at most kTile vectors.
template <class T>
FASTATTN_INLINE void sum_columns(const T* x, int64_t stride, const StridedShape<1>& rows, int64_t begin, int64_t end,
                                 int64_t n, compute_t<T>* to) {
  using V = Vec<compute_t<T>>;
  constexpr int kLanes = V::kLanes;
  StridedCursor<1> cursor(rows, begin);
  if (stride == 1 && n == kTile * kLanes) {
    V total[kTile];
    for (int t = 0; t < kTile; ++t) total[t] = V::zero();
    for (int64_t r = begin; r < end; ++r) {
      for (int t = 0; t < kTile; ++t) total[t] += V::load(x + cursor.offset[0] + t * kLanes);
      cursor.advance(1);
    }
    for (int t = 0; t < kTile; ++t) total[t].store(to + t * kLanes);
    return;
  }
  for (int64_t j = 0; j < n; j += kLanes) {
    const int lanes = int(min_of<int64_t>(kLanes, n - j));
    V total = V::zero();
    StridedCursor<1> row = cursor;
    for (int64_t r = begin; r < end; ++r) {
      const T* from = x + row.offset[0] + j * stride;
      alignas(64) T buffer[kLanes] = {};
      if (stride != 1) gather(from, stride, buffer, lanes);
      total += load_lanes(stride == 1 ? from : buffer, lanes);
      row.advance(1);
    }
    store_lanes(total, to + j, lanes);
  }
}

// The rows of a block: as row_blocks.h has them, but at least kLeastRows.
struct Blocks {
  int64_t rows, count;
  Blocks(int64_t R, int64_t C)
      : rows(max_of(RowBlocks(R, C).rows, kLeastRows)), count(max_of<int64_t>(1, ceil_div(R, rows))) {}
};

template <class T>
void sum_blocks(const T* x, T* out, const StridedShape<2>& kept, const StridedShape<1>& rows, const Blocks& blocks,
                compute_t<T> scale, const fa_launch& launch) {
  using A = compute_t<T>;
  constexpr int64_t kColumns = kTile * Vec<A>::kLanes;
  const int last = kept.ndim - 1;
  const int64_t C = kept.shape[last], outer = kept.size / C;
  const int64_t x_stride = kept.strides[0][last], out_stride = kept.strides[1][last];
  const int64_t tile = min_of(C, round_up(ceil_div(kItemElements, min_of(rows.size, blocks.rows)), kColumns));
  const int64_t tiles = ceil_div(C, tile), part_stride = padded(C);
  A* parts = static_cast<A*>(launch.workspace);
  // Short and narrow ones share an item.
  const int64_t work = max_of<int64_t>(1, tile * min_of(rows.size, blocks.rows));
  const int64_t units = outer * blocks.count * tiles, per_item = max_of<int64_t>(1, kItemElements / work);
  parallel_for(launch, ceil_div(units, per_item), [&](int64_t item, int) {
    for (int64_t unit = item * per_item; unit < min_of(units, (item + 1) * per_item); ++unit) {
      const int64_t block = unit / tiles % blocks.count, o = unit / tiles / blocks.count;
      const StridedCursor<2> at(kept, o * C);
      const int64_t begin = block * blocks.rows, end = min_of(rows.size, begin + blocks.rows);
      const int64_t last_column = min_of(C, (unit % tiles + 1) * tile);
      for (int64_t c = unit % tiles * tile; c < last_column; c += kColumns) {
        const int64_t n = min_of(kColumns, last_column - c);
        alignas(64) A sums[kColumns];
        A* to = blocks.count == 1 ? sums : parts + (o * blocks.count + block) * part_stride + c;
        sum_columns(x + at.offset[0] + c * x_stride, x_stride, rows, begin, end, n, to);
        if (blocks.count > 1) continue;
        for (int64_t j = 0; j < n; ++j) out[at.offset[1] + (c + j) * out_stride] = narrow<T>(scale * sums[j]);
      }
    }
  });
  if (blocks.count == 1) return;
  for (int64_t o = 0; o < outer; ++o) {
    const StridedCursor<2> at(kept, o * C);
    fa_tensor row = {};
    row.data = out + at.offset[1];
    row.ndim = 1;
    row.shape[0] = C;
    row.strides[0] = out_stride;
    add_parts<T>(launch, parts + o * blocks.count * part_stride, blocks.count, part_stride, row, scale);
  }
}

}  // namespace

fa_status sum(const fa_sum_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const Axes axes(p.x, p.out);
    const StridedShape<2> kept({&axes.x, &axes.out}, AxisOrder::kRowMajor);
    const StridedShape<1> summed({&axes.summed}, AxisOrder::kRowMajor);
    // The columns of a block are all of the kept axes at the end, whether or not they are one axis in memory.
    int64_t C = 1;
    for (int i = p.x.ndim - 1; i >= 0 && (p.x.shape[i] == 1 || p.out.strides[i] != 0); --i) C *= p.x.shape[i];
    const Blocks blocks(summed.size, C);
    const bool by_rows = axes.last_is_summed || summed.size == 0;
    const int64_t run = kept.shape[kept.ndim - 1];
    const int64_t parts = by_rows             ? kept.size * ceil_div(summed.size, kChunk)
                          : blocks.count == 1 ? 0
                                              : kept.size / max_of<int64_t>(1, run) * blocks.count * padded(run);
    const double n = static_cast<double>(num_elements(p.x));
    describe<"sum", T>(launch, {.workspace = size_t(parts) * sizeof(compute_t<T>), .flops = n, .bytes = sizeof(T) * n});
    if (launch.query || kept.size == 0) return FA_OK;
    const auto scale = static_cast<compute_t<T>>(p.scale);
    if (by_rows) {
      sum_rows(data<T>(p.x), data<T>(p.out), kept, summed, scale, launch);
    } else {
      sum_blocks(data<T>(p.x), data<T>(p.out), kept, summed, blocks, scale, launch);
    }
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
