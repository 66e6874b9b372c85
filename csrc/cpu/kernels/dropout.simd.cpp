// dropout: out_i = keep_i * x_i / (1 - p), keep_i = uniform(seed, offset, i) >= p, i the row-major index.
//
//   x, out: one shape, any strides, out may be x
//
// Items are runs of kItem elements in row-major order. A worker makes the random words of a window in L1 and applies
// them to as much of a row as lies in it, so a strided view costs its own memory accesses and nothing else.
// Traffic: one read, one write; 4 words of Philox (ten rounds) cost about as much as moving 4 floats through DRAM on
// two cores, so the op is at the memory roofline once there are more. Source: Srivastava et al., "Dropout" (2014); the
// generator is in common/philox.h.
#include "cpu/simd/philox.h"
#include "kernel.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kItem = 16 * 1024;  // elements; a multiple of the window

// x and out with axes of length 1 dropped and those merged that lie in memory as one.
struct Axes {
  int ndim = 0;
  int64_t shape[FA_MAX_DIMS];
  int64_t x_stride[FA_MAX_DIMS];
  int64_t out_stride[FA_MAX_DIMS];
};

Axes merge_axes(const fa_tensor& x, const fa_tensor& out) {
  Axes a;
  for (int d = 0; d < x.ndim; ++d) {
    if (x.shape[d] == 1) continue;
    const int last = a.ndim - 1;
    if (last >= 0 && a.x_stride[last] == x.shape[d] * x.strides[d] &&
        a.out_stride[last] == x.shape[d] * out.strides[d]) {
      a.shape[last] *= x.shape[d];
      a.x_stride[last] = x.strides[d];
      a.out_stride[last] = out.strides[d];
      continue;
    }
    a.shape[a.ndim] = x.shape[d];
    a.x_stride[a.ndim] = x.strides[d];
    a.out_stride[a.ndim] = out.strides[d];
    ++a.ndim;
  }
  if (a.ndim == 0) {
    a.ndim = 1;
    a.shape[0] = 1;
    a.x_stride[0] = a.out_stride[0] = 1;
  }
  return a;
}

// A dropped element is 0 whatever x is, NaN included. ivdep: out may be x itself, and then each element is read before
// it is written.
template <class T>
FASTATTN_INLINE void drop_run(const T* x, T* out, const uint32_t* word, int64_t n, uint32_t threshold, T scale) {
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) out[j] = philox_fraction(word[j]) >= threshold ? x[j] * scale : T(0);
}
template <class T>
FASTATTN_INLINE void drop_run(const T* x, int64_t x_stride, T* out, int64_t out_stride, const uint32_t* word, int64_t n,
                              uint32_t threshold, T scale) {
  for (int64_t j = 0; j < n; ++j) {
    out[j * out_stride] = philox_fraction(word[j]) >= threshold ? x[j * x_stride] * scale : T(0);
  }
}

template <class T>
void drop_item(const fa_dropout_params& p, const Axes& axes, int64_t begin, int64_t end) {
  const int inner = axes.ndim - 1;
  const int64_t row = axes.shape[inner], x_stride = axes.x_stride[inner], out_stride = axes.out_stride[inner];
  const uint32_t threshold = philox_threshold(p.p);
  const T scale = p.p < 1 ? static_cast<T>(1 / (1 - p.p)) : T(0);

  int64_t index[FA_MAX_DIMS];
  const T* x = data<const T>(p.x);  // of the row's first element
  T* out = data<T>(p.out);
  int64_t rest = begin;
  for (int d = inner; d >= 0; --d) {
    index[d] = rest % axes.shape[d];
    rest /= axes.shape[d];
    if (d == inner) continue;
    x += index[d] * axes.x_stride[d];
    out += index[d] * axes.out_stride[d];
  }

  PhiloxWindow window;
  window.begin = begin - PhiloxWindow::kWords;
  for (int64_t e = begin; e < end;) {
    if (e >= window.begin + PhiloxWindow::kWords) window.fill(p.seed, p.offset, e, end);
    const int64_t column = index[inner];
    const int64_t n = min_of(min_of(row - column, end - e), window.begin + PhiloxWindow::kWords - e);
    const uint32_t* word = window.word + (e - window.begin);
    if (x_stride == 1 && out_stride == 1) {
      drop_run(x + column, out + column, word, n, threshold, scale);
    } else {
      drop_run(x + column * x_stride, x_stride, out + column * out_stride, out_stride, word, n, threshold, scale);
    }
    e += n;
    index[inner] += n;
    for (int d = inner; d > 0 && index[d] == axes.shape[d]; --d) {
      index[d] = 0;
      if (d < inner) {
        x -= axes.shape[d] * axes.x_stride[d];
        out -= axes.shape[d] * axes.out_stride[d];
      }
      ++index[d - 1];
      x += axes.x_stride[d - 1];
      out += axes.out_stride[d - 1];
    }
  }
}

}  // namespace

fa_status dropout(const fa_dropout_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const int64_t n = num_elements(p.x);
    describe<"dropout", T>(launch, {.flops = static_cast<double>(n),
                                    .bytes = 2.0 * static_cast<double>(n) * static_cast<double>(sizeof(T))});
    if (launch.query || n == 0) return FA_OK;
    const Axes axes = merge_axes(p.x, p.out);
    parallel_for(launch, ceil_div(n, kItem),
                 [&](int64_t item, int) { drop_item<T>(p, axes, item * kItem, min_of(n, (item + 1) * kItem)); });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
