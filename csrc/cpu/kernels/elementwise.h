// Element-wise loops over views of one shape: any strides, in parallel blocks of a fixed number of elements.
//
//   elementwise<float>(launch, {&p.x}, p.out, AxisOrder::kAny, [](const float* const* in, float* out, int64_t first,
//                                                                 int64_t n) { ... });
//
// The function gets runs of at most kBlock elements that are contiguous in every view; first is the row-major index of
// the run's first element (with AxisOrder::kRowMajor). Views whose innermost axis is contiguous everywhere, and long
// enough, are passed as they are; others go through a small buffer. out may be one of the inputs; otherwise they do not
// overlap. An element's result may depend on its inputs and its index only: where runs begin is not promised.
#pragma once

#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {

enum class AxisOrder {
  kAny,       // walk memory in the order of out's strides
  kRowMajor,  // walk elements in index order: for what depends on the index
};

constexpr int64_t kElementwiseBlock = 16384;  // elements of an item: some microseconds, against 0.1 to claim it
constexpr int64_t kElementwiseBuffer = 256;   // elements gathered at a time
constexpr int64_t kShortestRun = 32;          // shorter runs are gathered, several at a time

// The shape that kViews views share, axes of size 1 dropped and axes merged where every view allows it.
template <int kViews>
struct StridedShape {
  int ndim = 0;
  int64_t size = 1;
  int64_t shape[FA_MAX_DIMS];
  int64_t strides[kViews][FA_MAX_DIMS];

  FASTATTN_INLINE StridedShape(const fa_tensor* const (&views)[kViews], AxisOrder order) {
    const fa_tensor& out = *views[kViews - 1];
    int axes[FA_MAX_DIMS];
    for (int axis = 0; axis < out.ndim; ++axis) {
      size *= out.shape[axis];
      if (out.shape[axis] == 1) continue;
      int at = ndim++;
      // Insertion by falling |stride| of out; equal strides keep their order.
      if (order == AxisOrder::kAny) {
        for (; at > 0 && magnitude(out.strides[axes[at - 1]]) < magnitude(out.strides[axis]); --at) {
          axes[at] = axes[at - 1];
        }
      }
      axes[at] = axis;
    }
    int kept = 0;
    for (int i = 0; i < ndim; ++i) {
      const int axis = axes[i];
      bool merges = kept > 0;
      for (int v = 0; v < kViews && merges; ++v) {
        merges = strides[v][kept - 1] == views[v]->strides[axis] * out.shape[axis];
      }
      if (merges) {
        shape[kept - 1] *= out.shape[axis];
      } else {
        shape[kept++] = out.shape[axis];
      }
      for (int v = 0; v < kViews; ++v) strides[v][kept - 1] = views[v]->strides[axis];
    }
    ndim = kept;
    if (ndim == 0) {
      ndim = 1;
      shape[0] = size;  // 1: a scalar
      for (int v = 0; v < kViews; ++v) strides[v][0] = 1;
    }
  }

  FASTATTN_INLINE bool innermost_is_contiguous() const {
    for (int v = 0; v < kViews; ++v) {
      if (strides[v][ndim - 1] != 1) return false;
    }
    return true;
  }

 private:
  static FASTATTN_INLINE int64_t magnitude(int64_t x) { return x < 0 ? -x : x; }
};

// A position in a StridedShape: the offset of every view, and how much of the innermost axis is left.
template <int kViews>
struct StridedCursor {
  const StridedShape<kViews>& shape;
  int64_t index[FA_MAX_DIMS];
  int64_t offset[kViews] = {};

  FASTATTN_INLINE StridedCursor(const StridedShape<kViews>& s, int64_t element) : shape(s) {
    for (int axis = s.ndim - 1; axis >= 0; --axis) {
      index[axis] = element % s.shape[axis];
      element /= s.shape[axis];
      for (int v = 0; v < kViews; ++v) offset[v] += index[axis] * s.strides[v][axis];
    }
  }
  FASTATTN_INLINE int64_t left_in_row() const { return shape.shape[shape.ndim - 1] - index[shape.ndim - 1]; }
  // n <= left_in_row()
  FASTATTN_INLINE void advance(int64_t n) {
    int axis = shape.ndim - 1;
    index[axis] += n;
    for (int v = 0; v < kViews; ++v) offset[v] += n * shape.strides[v][axis];
    for (; axis > 0 && index[axis] == shape.shape[axis]; --axis) {
      index[axis] = 0;
      ++index[axis - 1];
      for (int v = 0; v < kViews; ++v) {
        offset[v] += shape.strides[v][axis - 1] - shape.shape[axis] * shape.strides[v][axis];
      }
    }
  }
};

template <class T, int kInputs, class F>
FASTATTN_INLINE void elementwise(const fa_launch& launch, const fa_tensor* const (&inputs)[kInputs],
                                 const fa_tensor& out, AxisOrder order, F&& function) {
  constexpr int kViews = kInputs + 1;
  const fa_tensor* views[kViews];
  T* base[kViews];
  for (int v = 0; v < kViews; ++v) {
    views[v] = v < kInputs ? inputs[v] : &out;
    base[v] = data<T>(*views[v]);
  }
  const StridedShape<kViews> shape(views, order);
  const bool direct =
      shape.innermost_is_contiguous() && (shape.ndim == 1 || shape.shape[shape.ndim - 1] >= kShortestRun);

  parallel_for(launch, ceil_div(shape.size, kElementwiseBlock), [&](int64_t item, int) {
    int64_t first = item * kElementwiseBlock;
    const int64_t end = min_of(first + kElementwiseBlock, shape.size);
    StridedCursor<kViews> cursor(shape, first);
    const T* in[kInputs];
    alignas(64) T buffer[kViews][kElementwiseBuffer];
    while (first < end) {
      if (direct) {
        const int64_t n = min_of(end - first, cursor.left_in_row());
        for (int v = 0; v < kInputs; ++v) in[v] = base[v] + cursor.offset[v];
        function(in, base[kInputs] + cursor.offset[kInputs], first, n);
        cursor.advance(n);
        first += n;
        continue;
      }
      const int64_t n = min_of(end - first, kElementwiseBuffer);
      StridedCursor<kViews> writer = cursor;
      for (int64_t at = 0; at < n;) {
        const int64_t run = min_of(n - at, cursor.left_in_row());
        for (int v = 0; v < kInputs; ++v) {
          const int64_t stride = shape.strides[v][shape.ndim - 1];
          const T* source = base[v] + cursor.offset[v];
          for (int64_t i = 0; i < run; ++i) buffer[v][at + i] = source[i * stride];
        }
        cursor.advance(run);
        at += run;
      }
      for (int v = 0; v < kInputs; ++v) in[v] = buffer[v];
      function(in, buffer[kInputs], first, n);
      for (int64_t at = 0; at < n;) {
        const int64_t run = min_of(n - at, writer.left_in_row());
        const int64_t stride = shape.strides[kInputs][shape.ndim - 1];
        T* target = base[kInputs] + writer.offset[kInputs];
        for (int64_t i = 0; i < run; ++i) target[i * stride] = buffer[kInputs][at + i];
        writer.advance(run);
        at += run;
      }
      first += n;
    }
  });
}

// out[i] = f(in[i]) and out[i] = f(a[i], b[i]) over a contiguous run.
template <class T, class F>
FASTATTN_INLINE void map_run(const T* in, T* out, int64_t n, F&& f) {
  using V = Vec<compute_t<T>>;
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) f(V::load(in + i)).store(out + i);
  if (i < n) f(V::load(in + i, int(n - i))).store(out + i, int(n - i));
}
template <class T, class F>
FASTATTN_INLINE void map_run(const T* a, const T* b, T* out, int64_t n, F&& f) {
  using V = Vec<compute_t<T>>;
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) f(V::load(a + i), V::load(b + i)).store(out + i);
  if (i < n) {
    const int rest = int(n - i);
    f(V::load(a + i, rest), V::load(b + i, rest)).store(out + i, rest);
  }
}

}  // namespace fastattn::cpu::FASTATTN_ISA
