// Element-wise loops over views of one shape: any strides, in parallel blocks of a fixed number of elements.
//
//   elementwise<float>(launch, {&p.x}, {&p.out}, AxisOrder::kAny,
//                      [](const float* const* in, float* const* out, const Run& run) { ... });
//
// The function gets runs of at most kElementwiseBlock elements that are contiguous in every view. A view whose
// innermost axis is contiguous, and long enough, is passed as it is; others go through a small buffer. Inputs may be
// broadcast (stride 0). An output may be one of the inputs; otherwise they do not overlap. An element's result may
// depend on its inputs and its index only: where runs begin is not promised.
#pragma once

#include "row.h"

namespace fastattn::cpu::FASTATTN_ISA {

struct Run {
  int64_t first;  // row-major index of its first element (with AxisOrder::kRowMajor)
  int64_t length;
  bool stream;  // whether results may go past the caches (store_row)
};

enum class AxisOrder {
  kAny,       // walk memory in the order of the last output's strides
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

  FASTATTN_INLINE int64_t innermost(int view) const { return strides[view][ndim - 1]; }

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

template <class T>
FASTATTN_INLINE void gather(const T* from, int64_t stride, T* to, int64_t n) {
  if (stride == 0) {  // a broadcast axis: the compiler makes whole vectors of this one
    const T value = *from;
    for (int64_t i = 0; i < n; ++i) to[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
  }
}
template <class T>
FASTATTN_INLINE void scatter(const T* from, T* to, int64_t stride, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i * stride] = from[i];
}

template <class In, class Out = In, int kInputs, int kOutputs, class F>
FASTATTN_INLINE void elementwise(const fa_launch& launch, const fa_tensor* const (&inputs)[kInputs],
                                 const fa_tensor* const (&outputs)[kOutputs], AxisOrder order, F&& function) {
  constexpr int kViews = kInputs + kOutputs;
  const fa_tensor* views[kViews];
  for (int v = 0; v < kViews; ++v) views[v] = v < kInputs ? inputs[v] : outputs[v - kInputs];
  const StridedShape<kViews> shape(views, order);
  // Short rows are gathered several at a time, of every view.
  const bool long_rows = shape.ndim == 1 || shape.shape[shape.ndim - 1] >= kShortestRun;
  bool buffered[kViews], any_buffered = false;
  for (int v = 0; v < kViews; ++v) any_buffered |= buffered[v] = !long_rows || shape.innermost(v) != 1;
  bool stream = !any_buffered;
  for (int o = 0; o < kOutputs; ++o) {
    for (int i = 0; i < kInputs; ++i) stream = stream && streams<Out>(*inputs[i], *outputs[o]);
  }

  parallel_for(launch, ceil_div(shape.size, kElementwiseBlock), [&](int64_t item, int) {
    int64_t first = item * kElementwiseBlock;
    const int64_t end = min_of(first + kElementwiseBlock, shape.size);
    StridedCursor<kViews> cursor(shape, first);
    const In* in[kInputs];
    Out* out[kOutputs];
    alignas(64) In in_buffer[kInputs][kElementwiseBuffer];
    alignas(64) Out out_buffer[kOutputs][kElementwiseBuffer];
    while (first < end) {
      int64_t n = end - first;
      if (any_buffered) n = min_of(n, kElementwiseBuffer);
      if (long_rows) n = min_of(n, cursor.left_in_row());
      StridedCursor<kViews> writer = cursor;
      for (int v = 0; v < kInputs; ++v) in[v] = buffered[v] ? in_buffer[v] : data<In>(*views[v]) + cursor.offset[v];
      for (int v = 0; v < kOutputs; ++v) {
        out[v] = buffered[kInputs + v] ? out_buffer[v] : data<Out>(*outputs[v]) + cursor.offset[kInputs + v];
      }
      for (int64_t at = 0; at < n;) {
        const int64_t run = min_of(n - at, cursor.left_in_row());
        for (int v = 0; v < kInputs; ++v) {
          if (!buffered[v]) continue;
          gather(data<In>(*views[v]) + cursor.offset[v], shape.innermost(v), in_buffer[v] + at, run);
        }
        cursor.advance(run);
        at += run;
      }
      function(in, out, Run{first, n, stream});
      first += n;
      if (!any_buffered) continue;
      for (int64_t at = 0; at < n;) {
        const int64_t run = min_of(n - at, writer.left_in_row());
        for (int v = 0; v < kOutputs; ++v) {
          if (!buffered[kInputs + v]) continue;
          scatter(out_buffer[v] + at, data<Out>(*outputs[v]) + writer.offset[kInputs + v], shape.innermost(kInputs + v),
                  run);
        }
        writer.advance(run);
        at += run;
      }
    }
    if (stream) stream_fence();
  });
}

// out[i] = f(in[i]...) over a run. Past the caches the inputs are called for ahead, for functions of so many operations
// that a core holds few elements in flight.
template <class T, class F, class... In>
FASTATTN_INLINE void map_vectors(T* out, const Run& run, F&& f, const In*... in) {
  constexpr int64_t kAhead = 4096 / sizeof(T);
  auto at = [&](int64_t i, int n) __attribute__((always_inline)) { return f(load_lanes(in + i, n)...); };
  if (!run.stream) return store_row(out, run.length, false, at);
  store_row(
      out, run.length, true, [&](int64_t i, int n) __attribute__((always_inline)) {
        (__builtin_prefetch(in + i + kAhead), ...);
        return at(i, n);
      });
}
template <class T, class F>
FASTATTN_INLINE void map_run(const T* in, T* out, const Run& run, F&& f) {
  map_vectors(out, run, f, in);
}
template <class T, class F>
FASTATTN_INLINE void map_run(const T* a, const T* b, T* out, const Run& run, F&& f) {
  map_vectors(out, run, f, a, b);
}

}  // namespace fastattn::cpu::FASTATTN_ISA
