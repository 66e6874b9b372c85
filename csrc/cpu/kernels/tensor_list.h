// A list of contiguous tensors as one row of elements, cut into items of kListItem elements: the optimizers run over a
// whole model in one parallel region, however its parameters are split, and a small model is one item.
//
// A tensor's start is rounded up to kListAlign elements, so that the cuts inside a tensor keep its own alignment. The
// starts, a prefix sum of num_tensors + 1 positions, stand in the workspace; an item finds its first tensor by binary
// search and walks on from there.
#pragma once

#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

inline constexpr int64_t kListItem = 32 * 1024;  // elements: 128 KB a stream in f32, so four of them fit L2
inline constexpr int64_t kListAlign = 64;

struct ListSize {
  int64_t elements = 0;   // of all tensors
  int64_t num_items = 0;  // depends on the shapes only
};
FASTATTN_INLINE ListSize list_size(const fa_tensor* tensors, int64_t num_tensors) {
  ListSize s;
  int64_t end = 0;
  for (int64_t i = 0; i < num_tensors; ++i) {
    const int64_t n = num_elements(tensors[i]);
    s.elements += n;
    end += round_up(n, kListAlign);
  }
  s.num_items = ceil_div(end, kListItem);
  return s;
}
FASTATTN_INLINE size_t list_workspace(int64_t num_tensors) {
  return static_cast<size_t>(round_up((num_tensors + 1) * static_cast<int64_t>(sizeof(int64_t)), 64));
}
// Fills start[0 .. num_tensors].
FASTATTN_INLINE void list_starts(const fa_tensor* tensors, int64_t num_tensors, int64_t* start) {
  start[0] = 0;
  for (int64_t i = 0; i < num_tensors; ++i) start[i + 1] = start[i] + round_up(num_elements(tensors[i]), kListAlign);
}

// f(tensor, begin, end) for each run of elements that item covers, in order.
template <class F>
FASTATTN_INLINE void for_each_run(const fa_tensor* tensors, const int64_t* start, int64_t num_tensors, int64_t item,
                                  F&& f) {
  const int64_t first = item * kListItem, last = min_of(start[num_tensors], first + kListItem);
  int64_t low = 0, high = num_tensors;  // start[low] <= first < start[high]
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (start[middle] <= first) {
      low = middle;
    } else {
      high = middle;
    }
  }
  for (int64_t t = low; t < num_tensors && start[t] < last; ++t) {
    const int64_t begin = max_of<int64_t>(first - start[t], 0);
    const int64_t end = min_of(num_elements(tensors[t]), last - start[t]);
    if (begin < end) f(t, begin, end);
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
