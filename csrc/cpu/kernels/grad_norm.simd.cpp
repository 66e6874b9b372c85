// grad_norm: total = sqrt(sum of g^2 over all elements of all tensors), in f64;   grad_scale: g *= scale, in place.
//
//   grads: contiguous tensors   total: ()
//
// Items are runs of kListItem elements over all tensors (tensor_list.h). grad_norm: an item adds up its squares in f64,
// kChains vectors side by side, and leaves one partial; the caller adds the partials in item order, so the sum is the
// same for any number of threads. Traffic: one read (grad_scale: and one write); DRAM's limit is the roofline.
// Squares of f32 are exact in f64 and cannot overflow there: no scaling pass.
#include "tensor_list.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

// VecD::kLanes elements as f64; n: the lanes that exist.
FASTATTN_INLINE VecD load_f64(const double* a) { return VecD::load(a); }
FASTATTN_INLINE VecD load_f64(const double* a, int n) { return VecD::load(a, n); }
FASTATTN_INLINE VecD load_f64(const float* a) {
#if defined(FASTATTN_ISA_IS_AVX512)
  return {_mm512_cvtps_pd(_mm256_loadu_ps(a))};
#elif defined(FASTATTN_ISA_IS_AVX2)
  return {_mm256_cvtps_pd(_mm_loadu_ps(a))};
#else
  return {static_cast<double>(*a)};
#endif
}
FASTATTN_INLINE VecD load_f64(const float* a, int n) {
  alignas(64) float lanes[VecD::kLanes] = {};
  for (int i = 0; i < n; ++i) lanes[i] = a[i];
  return load_f64(lanes);
}

template <class T, class = std::enable_if_t<kIsHalf<T>>>
FASTATTN_INLINE VecD load_f64(const T* a, int n = VecD::kLanes) {
  alignas(64) float lanes[VecF::kLanes];
  VecF::load(a, n).store(lanes);
  return load_f64(lanes);
}

// Enough chains to cover the latency of the fused multiply-add at two a cycle.
constexpr int kChains = 8;

struct SquareSum {
  VecD chain[kChains];
};

template <class T>
FASTATTN_INLINE void add_squares(SquareSum& s, const T* g, int64_t begin, int64_t end) {
  constexpr int kLanes = VecD::kLanes;
  int64_t i = begin;
  for (; i + kChains * kLanes <= end; i += kChains * kLanes) {
#pragma GCC unroll 8
    for (int c = 0; c < kChains; ++c) {
      const VecD x = load_f64(g + i + c * kLanes);
      s.chain[c] = fma(x, x, s.chain[c]);
    }
  }
  for (; i + kLanes <= end; i += kLanes) {
    const VecD x = load_f64(g + i);
    s.chain[0] = fma(x, x, s.chain[0]);
  }
  if (i < end) {
    const VecD x = load_f64(g + i, static_cast<int>(end - i));
    s.chain[0] = fma(x, x, s.chain[0]);
  }
}
FASTATTN_INLINE double total_of(SquareSum s) {
  for (int width = kChains / 2; width > 0; width /= 2) {
    for (int c = 0; c < width; ++c) s.chain[c] += s.chain[c + width];
  }
  return reduce_add(s.chain[0]);
}

template <class T>
FASTATTN_INLINE void scale_run(T* g, compute_t<T> scale, int64_t begin, int64_t end) {
  using V = Vec<compute_t<T>>;
  const V s = V::set(scale);
  int64_t i = begin;
  for (; i + V::kLanes <= end; i += V::kLanes) (V::load(g + i) * s).store(g + i);
  if (i < end) {
    const int n = static_cast<int>(end - i);
    (V::load(g + i, n) * s).store(g + i, n);
  }
}

}  // namespace

fa_status grad_norm(const fa_grad_norm_params& p, fa_launch& launch) {
  return visit_float(p.num_tensors > 0 ? p.grads[0].dtype : FA_F32, launch, [&]<class T>() {
    const ListSize size = list_size(p.grads, p.num_tensors);
    const double n = static_cast<double>(size.elements);
    const size_t table = list_workspace(p.num_tensors);
    describe<"grad_norm", T>(launch, {.workspace = table + static_cast<size_t>(size.num_items) * sizeof(double),
                                      .flops = 2 * n,
                                      .bytes = n * static_cast<double>(sizeof(T))});
    if (launch.query) return FA_OK;
    double* total = data<double>(p.total);
    *total = 0;
    if (size.elements == 0) return FA_OK;
    auto* start = static_cast<int64_t*>(launch.workspace);
    auto* partial = reinterpret_cast<double*>(static_cast<char*>(launch.workspace) + table);
    list_starts(p.grads, p.num_tensors, start);
    parallel_for(launch, size.num_items, [&](int64_t item, int) {
      SquareSum sum = {};
      for_each_run(p.grads, start, p.num_tensors, item, [&](int64_t t, int64_t begin, int64_t end) {
        add_squares(sum, data<const T>(p.grads[t]), begin, end);
      });
      partial[item] = total_of(sum);
    });
    double squares = 0;
    for (int64_t item = 0; item < size.num_items; ++item) squares += partial[item];
    *total = __builtin_sqrt(squares);
    return FA_OK;
  });
}

fa_status grad_scale(const fa_grad_scale_params& p, fa_launch& launch) {
  return visit_float(p.num_tensors > 0 ? p.grads[0].dtype : FA_F32, launch, [&]<class T>() {
    const ListSize size = list_size(p.grads, p.num_tensors);
    const double n = static_cast<double>(size.elements);
    describe<"grad_scale", T>(
        launch,
        {.workspace = list_workspace(p.num_tensors), .flops = n, .bytes = 2 * n * static_cast<double>(sizeof(T))});
    if (launch.query || size.elements == 0) return FA_OK;
    auto* start = static_cast<int64_t*>(launch.workspace);
    list_starts(p.grads, p.num_tensors, start);
    parallel_for(launch, size.num_items, [&](int64_t item, int) {
      for_each_run(p.grads, start, p.num_tensors, item, [&](int64_t t, int64_t begin, int64_t end) {
        scale_run(data<T>(p.grads[t]), static_cast<compute_t<T>>(p.scale), begin, end);
      });
    });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
