// dropout: out_i = keep_i * x_i / (1 - p), keep_i = uniform(seed, offset, i) >= p, i the row-major index.
//
//   x, out: one shape, any strides, out may be x
//
// elementwise.h walks the views in index order; for each run the random words are made a window at a time, in L1, and
// applied. Traffic: one read, one write. Ten rounds of Philox for four words take about as long as two cores need to
// move four floats through DRAM, so with more cores the op is at the memory roofline.
// Source: Srivastava et al., "Dropout" (2014); the generator is in common/philox.h.
#include "cpu/simd/philox.h"
#include "elementwise.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

// A dropped element is 0 whatever x is, NaN included. ivdep: out may be x itself, and then each element is read before
// it is written.
template <class T>
FASTATTN_INLINE void drop(const T* x, T* out, const uint32_t* word, int64_t n, uint32_t threshold, compute_t<T> scale) {
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) {
    out[j] = philox_fraction(word[j]) >= threshold ? narrow<T>(widen(x[j]) * scale) : T{0};
  }
}

}  // namespace

fa_status dropout(const fa_dropout_params& p, fa_launch& launch) {
  return visit_float(p.x.dtype, launch, [&]<class T>() {
    const double n = static_cast<double>(num_elements(p.x));
    describe<"dropout", T>(launch, {.flops = n, .bytes = 2 * n * static_cast<double>(sizeof(T))});
    if (launch.query) return FA_OK;
    const uint32_t threshold = philox_threshold(p.p);
    using A = compute_t<T>;
    const A scale = p.p < 1 ? static_cast<A>(1 / (1 - p.p)) : A(0);
    elementwise<T>(launch, {&p.x}, {&p.out}, AxisOrder::kRowMajor,
                   [&](const T* const* in, T* const* out, const Run& all) {
                     const int64_t first = all.first, count = all.length;
                     PhiloxWindow window;
                     for (int64_t i = 0; i < count;) {
                       window.fill(p.seed, p.offset, first + i, first + count);
                       const int64_t skip = first + i - window.begin;
                       const int64_t run = min_of(count - i, PhiloxWindow::kWords - skip);
                       drop(in[0] + i, out[0] + i, window.word + skip, run, threshold, scale);
                       i += run;
                     }
                   });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
