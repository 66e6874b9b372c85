// adam_step: Adam and AdamW over a list of tensors, in place. The formula stands in ops/adam.h; here, per element:
//
//   g = sign * grad_scale * grad             coupled decay: g += weight_decay * p;   decoupled: p *= 1 - lr *
//   weight_decay m = beta1 * m + (1 - beta1) * g          v = beta2 * v + (1 - beta2) * g * g      amsgrad: x = vmax =
//   max(vmax, v) p = p - step_size * m / (sqrt(x) * root_scale + eps),   step_size = lr / (1 - beta1^t), root_scale = 1
//   / sqrt(1 - beta2^t)
//
// The constants are computed once in double and rounded once to T; arithmetic is in T.
// Items are runs of kListItem elements over all tensors (tensor_list.h); elements are independent, so cuts change no
// bit. Traffic: four reads and three writes (amsgrad: five and four; zero_grads: one write more), each stream once: 28
// bytes an element in f32. The aim is DRAM's limit; a square root and a division an element (about 20 cycles for 16
// lanes) hide below it. Writes hit lines that were just read, so there is nothing for non-temporal stores to save.
// Clipping by norm is a pass of grad_norm before: one read more, where scaling the gradients is one read and one write
// on top of that.
// 16-bit params: arithmetic and state are in f32; with masters the params are only written, as roundings of them.
// Source: see ops/adam.h.
#include "number.h"
#include "tensor_list.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

template <class T>
struct Constants {
  Vec<T> grad_scale, weight_decay, keep, beta1, beta2, rest1, rest2, step_size, root_scale, eps;

  Constants(const fa_adam_step_params& p, double scale) {
    auto set = [](double x) { return Vec<T>::set(static_cast<T>(x)); };
    const double step = number(static_cast<double>(p.step), p.step_tensor), lr = number(p.lr, p.lr_tensor);
    grad_scale = set(p.maximize ? -scale : scale);
    weight_decay = set(p.weight_decay);
    keep = set(p.decoupled ? 1 - lr * p.weight_decay : 1);
    beta1 = set(p.beta1);
    beta2 = set(p.beta2);
    rest1 = set(1 - p.beta1);
    rest2 = set(1 - p.beta2);
    step_size = set(lr / (1 - __builtin_pow(p.beta1, step)));
    root_scale = set(1 / __builtin_sqrt(1 - __builtin_pow(p.beta2, step)));
    eps = set(p.eps);
  }
};

// One run of one tensor. vmax is read where kAmsgrad only. n: lanes of this vector, kLanes but at the end.
template <class T, bool kAmsgrad, bool kCoupled>
FASTATTN_INLINE void update_run(const Constants<compute_t<T>>& c, T* params, T* grads, compute_t<T>* ms,
                                compute_t<T>* vs, compute_t<T>* vmaxs, compute_t<T>* masters, bool zero_grads,
                                int64_t begin, int64_t end) {
  using V = Vec<compute_t<T>>;
  auto update = [&](auto load, auto store, int64_t i) __attribute__((always_inline)) {
    V p;
    if constexpr (kIsHalf<T>) {
      p = masters != nullptr ? load(masters + i) : load(params + i);
    } else {
      p = load(params + i);
    }
    V g = load(grads + i) * c.grad_scale;
    if constexpr (kCoupled) {
      g = fma(c.weight_decay, p, g);
    } else {
      p = p * c.keep;
    }
    const V m = fma(c.beta1, load(ms + i), c.rest1 * g);
    V v = fma(c.beta2, load(vs + i), c.rest2 * g * g);
    store(m, ms + i);
    store(v, vs + i);
    if constexpr (kAmsgrad) {
      v = max(load(vmaxs + i), v);
      store(v, vmaxs + i);
    }
    p = fnma(c.step_size, m / fma(sqrt(v), c.root_scale, c.eps), p);
    store(p, params + i);
    if constexpr (kIsHalf<T>) {
      if (masters != nullptr) store(p, masters + i);
    }
    if (zero_grads) store(V::zero(), grads + i);
  };
  constexpr int64_t kAhead = 256;  // elements of each stream; hardware alone does not keep so many going
  auto load = [](const auto* a) __attribute__((always_inline)) {
    __builtin_prefetch(a + kAhead);
    return V::load(a);
  };
  int64_t i = begin;
  for (; i + V::kLanes <= end; i += V::kLanes) update(load, [](V x, auto* a) { x.store(a); }, i);
  if (i < end) {
    const int n = static_cast<int>(end - i);
    update([n](const auto* a) { return V::load(a, n); }, [n](V x, auto* a) { x.store(a, n); }, i);
  }
}

template <class T, bool kAmsgrad, bool kCoupled>
void update_item(const fa_adam_step_params& p, const Constants<compute_t<T>>& c, const int64_t* start, int64_t item) {
  using A = compute_t<T>;
  for_each_run(p.params, start, p.num_tensors, item, [&](int64_t t, int64_t begin, int64_t end) {
    update_run<T, kAmsgrad, kCoupled>(c, data<T>(p.params[t]), data<T>(p.grads[t]), data<A>(p.exp_avgs[t]),
                                      data<A>(p.exp_avg_sqs[t]), kAmsgrad ? data<A>(p.max_exp_avg_sqs[t]) : nullptr,
                                      p.masters != nullptr ? data<A>(p.masters[t]) : nullptr, p.zero_grads != 0, begin,
                                      end);
  });
}

// The factor of the clip; NaN where the norm, which is noted, is not finite. On a query: what that takes.
double clip_factor(const fa_adam_step_params& p, double grad_scale, fa_launch& launch) {
  double norm = 0;
  const fa_tensor total = {&norm, FA_F64, 0, {}, {}};
  grad_norm(fa_grad_norm_params{p.num_tensors, p.grads, total}, launch);
  if (launch.query) return 1;
  norm *= __builtin_fabs(grad_scale);
  *p.norm = norm;
  if (norm - norm != 0) return kNaN<double>;
  const double factor = p.max_norm / (norm + 1e-6);
  return factor < 1 ? factor : 1;
}

}  // namespace

fa_status adam_step(const fa_adam_step_params& p, fa_launch& launch) {
  return visit_float(p.num_tensors > 0 ? p.params[0].dtype : FA_F32, launch, [&]<class T>() {
    const ListSize size = list_size(p.params, p.num_tensors);
    const double n = static_cast<double>(size.elements);
    const bool masters = p.masters != nullptr;
    const double storage = (masters ? 2 : 3) + (p.zero_grads ? 1 : 0);  // streams of params and grads
    const double state = 4 + (p.amsgrad ? 2 : 0) + (masters ? 2 : 0);
    Work work = {.workspace = list_workspace(p.num_tensors),
                 .flops = 14 * n,
                 .bytes = n * (storage * sizeof(T) + state * sizeof(compute_t<T>))};
    if (launch.query && p.norm != nullptr) {
      fa_launch query = launch;
      clip_factor(p, 1, query);
      work.workspace = max_of(work.workspace, query.workspace_bytes);
      work.flops += query.flops;
      work.bytes += query.bytes;
    }
    describe<"adam_step", T>(launch, work);
    if (launch.query) return FA_OK;
    if (p.found_inf != nullptr && *p.found_inf != 0) return FA_OK;
    const double grad_scale = number(p.grad_scale, p.grad_scale_tensor);
    double clip = 1;
    if (p.norm != nullptr) {
      fa_launch norm = launch;
      clip = clip_factor(p, grad_scale, norm);
    }
    if (size.elements == 0 || clip != clip) return FA_OK;
    auto* start = static_cast<int64_t*>(launch.workspace);
    list_starts(p.params, p.num_tensors, start);
    const Constants<compute_t<T>> c(p, grad_scale * clip);
    const bool amsgrad = p.amsgrad != 0, coupled = p.decoupled == 0 && p.weight_decay != 0;
    // Threads that claim in turns each walk a long way along the tensors: memory reads ahead for them.
    const int64_t walks = min_of(int64_t{num_threads()}, size.num_items), walk = ceil_div(size.num_items, walks);
    parallel_for(launch, walks * walk, [&](int64_t claim, int) {
      const int64_t item = claim % walks * walk + claim / walks;
      if (item >= size.num_items) return;
      if (amsgrad) {
        coupled ? update_item<T, true, true>(p, c, start, item) : update_item<T, true, false>(p, c, start, item);
      } else {
        coupled ? update_item<T, false, true>(p, c, start, item) : update_item<T, false, false>(p, c, start, item);
      }
    });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
