// embedding: out[i, :] = weight[index[i], :], and its gradient dweight[v, :] = sum over i with index[i] == v of dout[i,
// :].
//
//   weight, dweight (V, D)   index (N), any stride   out, dout (N, D)
//
// Forward: an item copies a group of rows; traffic is one read and one write of N rows.
// Backward: the positions of each v are first linked into a list in the order of i (one pass over index), then an item
// owns some rows of dweight, or where there are few rows some columns of one. It walks a row's list with the sums in
// registers and writes each element once, so a row without positions costs its zeros and nothing is added twice.
// Traffic: N rows read, V rows written, plus 8 bytes an entry for the lists; with a large vocabulary the zeros are the
// roofline. The order of a sum is that of i for any number of threads.
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kItemElements = 16 * 1024;  // what an item moves, about: 64 KB of f32

FASTATTN_INLINE int64_t index_at(const fa_tensor& index, int64_t i) {
  const int64_t at = i * index.strides[0];
  return index.dtype == FA_I32 ? data<const int32_t>(index)[at] : data<const int64_t>(index)[at];
}

// A message made by hand: the kernels of an ISA call no library that could bring code of another into the link.
struct Message {
  char text[FA_REASON_SIZE];
  int n = 0;
  FASTATTN_INLINE void add(const char* s) {
    while (*s != 0) text[n++] = *s++;
    text[n] = 0;
  }
  FASTATTN_INLINE void add(int64_t x) {
    char digits[20];
    int count = 0;
    uint64_t rest = x < 0 ? 0 - static_cast<uint64_t>(x) : static_cast<uint64_t>(x);
    do {
      digits[count++] = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    if (x < 0) text[n++] = '-';
    while (count > 0) text[n++] = digits[--count];
    text[n] = 0;
  }
};

// FA_OK where every index is a row of the table.
fa_status check_index(const fa_tensor& index, int64_t rows, fa_launch& launch) {
  for (int64_t i = 0; i < index.shape[0]; ++i) {
    const int64_t v = index_at(index, i);
    if (v >= 0 && v < rows) continue;
    Message m;
    m.add("index ");
    m.add(v);
    m.add(" at position ");
    m.add(i);
    if (rows > 0) {
      m.add(" is outside 0..");
      m.add(rows - 1);
    } else {
      m.add(" has no row: weight is empty");
    }
    return fail(launch, FA_INVALID, m.text);
  }
  return FA_OK;
}

// Columns [begin, begin + n) of one row of dweight: n <= kSums vectors, their sums in registers for the whole list.
constexpr int kSums = 8;

template <class T>
FASTATTN_INLINE void sum_columns(const fa_tensor& dout, const int64_t* next, int64_t first, int64_t column, T* row) {
  using V = Vec<compute_t<T>>;
  V sum[kSums];
#pragma GCC unroll 8
  for (int k = 0; k < kSums; ++k) sum[k] = V::zero();
  for (int64_t i = first; i >= 0; i = next[i]) {
    const T* from = data<const T>(dout) + i * dout.strides[0] + column;
#pragma GCC unroll 8
    for (int k = 0; k < kSums; ++k) sum[k] += V::load(from + k * V::kLanes);
  }
#pragma GCC unroll 8
  for (int k = 0; k < kSums; ++k) sum[k].store(row + column + k * V::kLanes);
}
template <class T>
FASTATTN_INLINE void sum_columns(const fa_tensor& dout, const int64_t* next, int64_t first, int64_t column, T* row,
                                 int n) {
  using V = Vec<compute_t<T>>;
  V sum = V::zero();
  for (int64_t i = first; i >= 0; i = next[i]) {
    sum += V::load(data<const T>(dout) + i * dout.strides[0] + column, n);
  }
  sum.store(row + column, n);
}

template <class T>
void sum_row(const fa_tensor& dout, const int64_t* next, int64_t first, T* row, int64_t begin, int64_t end) {
  constexpr int kLanes = Vec<compute_t<T>>::kLanes;
  if (first < 0) {
    __builtin_memset(row + begin, 0, static_cast<size_t>(end - begin) * sizeof(T));
    return;
  }
  int64_t c = begin;
  for (; c + kSums * kLanes <= end; c += kSums * kLanes) sum_columns(dout, next, first, c, row);
  for (; c < end; c += kLanes) {
    sum_columns(dout, next, first, c, row, static_cast<int>(min_of<int64_t>(end - c, kLanes)));
  }
}

// How dweight is cut: by rows, and where an item would be less than a row, by columns too.
struct Cut {
  int64_t rows, columns;  // of an item
};
template <class T>
Cut cut_of(int64_t vocabulary, int64_t dim, int64_t positions) {
  const double per_row = static_cast<double>(vocabulary + positions) * static_cast<double>(dim) /
                         static_cast<double>(vocabulary);  // elements moved for a row, on average
  const auto rows = static_cast<int64_t>(kItemElements / per_row);
  const int64_t block = kSums * Vec<compute_t<T>>::kLanes;
  if (rows >= 1) return {min_of(rows, vocabulary), dim};
  const auto columns = static_cast<int64_t>(kItemElements / per_row * static_cast<double>(dim));
  return {1, min_of(dim, round_up(max_of<int64_t>(columns, 1), block))};
}

}  // namespace

fa_status embedding_fwd(const fa_embedding_fwd_params& p, fa_launch& launch) {
  return visit_float(p.weight.dtype, launch, [&]<class T>() {
    const int64_t n = p.index.shape[0], dim = p.weight.shape[1];
    const double bytes = 2.0 * static_cast<double>(n) * static_cast<double>(dim) * static_cast<double>(sizeof(T));
    describe<"embedding_fwd", T>(launch, {.bytes = bytes});
    if (launch.query) return FA_OK;
    if (fa_status status = check_index(p.index, p.weight.shape[0], launch); status != FA_OK) return status;
    if (dim == 0) return FA_OK;
    const int64_t rows = max_of<int64_t>(1, kItemElements / dim);
    parallel_for(launch, ceil_div(n, rows), [&](int64_t item, int) {
      for (int64_t i = item * rows; i < min_of(n, (item + 1) * rows); ++i) {
        __builtin_memcpy(data<T>(p.out) + i * p.out.strides[0],
                         data<const T>(p.weight) + index_at(p.index, i) * p.weight.strides[0],
                         static_cast<size_t>(dim) * sizeof(T));
      }
    });
    return FA_OK;
  });
}

fa_status embedding_bwd(const fa_embedding_bwd_params& p, fa_launch& launch) {
  return visit_float(p.dweight.dtype, launch, [&]<class T>() {
    const int64_t n = p.index.shape[0], rows = p.dweight.shape[0], dim = p.dweight.shape[1];
    const double elements = static_cast<double>(n + rows) * static_cast<double>(dim);
    describe<"embedding_bwd", T>(launch, {.workspace = static_cast<size_t>(n + rows) * sizeof(int64_t),
                                          .flops = static_cast<double>(n) * static_cast<double>(dim),
                                          .bytes = elements * static_cast<double>(sizeof(T))});
    if (launch.query) return FA_OK;
    if (fa_status status = check_index(p.index, rows, launch); status != FA_OK) return status;
    if (rows == 0 || dim == 0) return FA_OK;

    // first[v]: the smallest i with index[i] == v, or -1; next[i]: the next one with the same v. Built from the back.
    auto* first = static_cast<int64_t*>(launch.workspace);
    int64_t* next = first + rows;
    for (int64_t v = 0; v < rows; ++v) first[v] = -1;
    for (int64_t i = n - 1; i >= 0; --i) {
      const int64_t v = index_at(p.index, i);
      if (v == p.padding_idx) continue;
      next[i] = first[v];
      first[v] = i;
    }

    const Cut cut = cut_of<T>(rows, dim, n);
    const int64_t column_items = ceil_div(dim, cut.columns);
    parallel_for(launch, ceil_div(rows, cut.rows) * column_items, [&](int64_t item, int) {
      const int64_t row = item / column_items * cut.rows, column = item % column_items * cut.columns;
      for (int64_t v = row; v < min_of(rows, row + cut.rows); ++v) {
        sum_row(p.dout, next, first[v], data<T>(p.dweight) + v * p.dweight.strides[0], column,
                min_of(dim, column + cut.columns));
      }
    });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
