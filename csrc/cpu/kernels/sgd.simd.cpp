// sgd_step: stochastic gradient descent with momentum over a list of tensors, in place (formula: ops/sgd.h).
//
// Items are runs of kListItem elements over all tensors (tensor_list.h); elements are independent, so cuts change no
// bit. Traffic, f32: 12 bytes an element without momentum, 20 with it (16 on the first step, which writes the buffer
// without reading it), 4 more for zero_grads. DRAM's limit is the roofline. 16-bit params: arithmetic and momentum are
// in f32; with masters the params are only written, as roundings of them. Source: Sutskever et al. (2013), in
// torch.optim.SGD's form.
#include "tensor_list.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

enum class Momentum { kNone, kFirstStep, kPlain };

template <class T>
struct Constants {
  Vec<T> grad_scale, weight_decay, lr, momentum, rest;
  bool decays, nesterov, zero_grads;

  explicit Constants(const fa_sgd_step_params& p) {
    auto set = [](double x) { return Vec<T>::set(static_cast<T>(x)); };
    grad_scale = set(p.maximize ? -p.grad_scale : p.grad_scale);
    weight_decay = set(p.weight_decay);
    lr = set(p.lr);
    momentum = set(p.momentum);
    rest = set(1 - p.dampening);
    decays = p.weight_decay != 0;
    nesterov = p.nesterov != 0;
    zero_grads = p.zero_grads != 0;
  }
};

template <class T, Momentum kMomentum>
FASTATTN_INLINE void update_run(const Constants<compute_t<T>>& c, T* params, T* grads, compute_t<T>* buffers,
                                compute_t<T>* masters, int64_t begin, int64_t end) {
  using V = Vec<compute_t<T>>;
  auto update = [&](auto load, auto store, int64_t i) __attribute__((always_inline)) {
    V p;
    if constexpr (kIsHalf<T>) {
      p = masters != nullptr ? load(masters + i) : load(params + i);
    } else {
      p = load(params + i);
    }
    V g = load(grads + i) * c.grad_scale;
    if (c.decays) g = fma(c.weight_decay, p, g);
    if constexpr (kMomentum != Momentum::kNone) {
      const V b = kMomentum == Momentum::kFirstStep ? g : fma(c.momentum, load(buffers + i), c.rest * g);
      store(b, buffers + i);
      g = c.nesterov ? fma(c.momentum, b, g) : b;
    }
    p = fnma(c.lr, g, p);
    store(p, params + i);
    if constexpr (kIsHalf<T>) {
      if (masters != nullptr) store(p, masters + i);
    }
    if (c.zero_grads) store(V::zero(), grads + i);
  };
  int64_t i = begin;
  for (; i + V::kLanes <= end; i += V::kLanes) {
    update([](const auto* a) { return V::load(a); }, [](V x, auto* a) { x.store(a); }, i);
  }
  if (i < end) {
    const int n = static_cast<int>(end - i);
    update([n](const auto* a) { return V::load(a, n); }, [n](V x, auto* a) { x.store(a, n); }, i);
  }
}

template <class T, Momentum kMomentum>
void update_item(const fa_sgd_step_params& p, const Constants<compute_t<T>>& c, const int64_t* start, int64_t item) {
  using A = compute_t<T>;
  for_each_run(p.params, start, p.num_tensors, item, [&](int64_t t, int64_t begin, int64_t end) {
    update_run<T, kMomentum>(c, data<T>(p.params[t]), data<T>(p.grads[t]),
                             kMomentum == Momentum::kNone ? nullptr : data<A>(p.momentum_buffers[t]),
                             p.masters != nullptr ? data<A>(p.masters[t]) : nullptr, begin, end);
  });
}

}  // namespace

fa_status sgd_step(const fa_sgd_step_params& p, fa_launch& launch) {
  return visit_float(p.num_tensors > 0 ? p.params[0].dtype : FA_F32, launch, [&]<class T>() {
    const ListSize size = list_size(p.params, p.num_tensors);
    const double n = static_cast<double>(size.elements);
    const Momentum momentum = p.momentum == 0 ? Momentum::kNone
                              : p.first_step  ? Momentum::kFirstStep
                                              : Momentum::kPlain;
    const bool masters = p.masters != nullptr;
    const double storage = (masters ? 2 : 3) + (p.zero_grads ? 1 : 0);  // streams of params and grads
    const double state = (momentum == Momentum::kNone        ? 0
                          : momentum == Momentum::kFirstStep ? 1
                                                             : 2) +
                         (masters ? 2 : 0);
    describe<"sgd_step", T>(launch, {.workspace = list_workspace(p.num_tensors),
                                     .flops = 6 * n,
                                     .bytes = n * (storage * sizeof(T) + state * sizeof(compute_t<T>))});
    if (launch.query || size.elements == 0) return FA_OK;
    auto* start = static_cast<int64_t*>(launch.workspace);
    list_starts(p.params, p.num_tensors, start);
    const Constants<compute_t<T>> c(p);
    parallel_for(launch, size.num_items, [&](int64_t item, int) {
      switch (momentum) {
        case Momentum::kNone: return update_item<T, Momentum::kNone>(p, c, start, item);
        case Momentum::kFirstStep: return update_item<T, Momentum::kFirstStep>(p, c, start, item);
        case Momentum::kPlain: return update_item<T, Momentum::kPlain>(p, c, start, item);
      }
    });
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
