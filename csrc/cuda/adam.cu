// adam_step: Adam and AdamW over a list of tensors, in place, in one launch. The formula stands in ops/adam.h; here,
// per element, with constants that one thread of a block computes in double and rounds once:
//
//   g = sign * grad_scale * clip * grad       coupled decay: g += weight_decay * p;   decoupled: p *= keep
//   m = beta1 * m + (1 - beta1) * g           v = beta2 * v + (1 - beta2) * g * g
//   amsgrad: x = vmax = max(vmax, v)          p -= step_size * m / (sqrt(x) * root_scale + eps)
//
// Tiles: tile/tensor_list.h. Traffic: four reads and three writes, 28 bytes an element in f32; DRAM's bandwidth is the
// roofline. found_inf, norm, and lr, step and grad_scale where they are tensors, are read by every block where they
// are, so the host waits for nothing. 16-bit params: arithmetic and state are in float; with masters the params are
// only written, as roundings of them.
// Source: ops/adam.h.
#include "cuda/entries.h"
#include "cuda/tile/grad_norm.h"

namespace fastattn::cuda {
namespace {

enum Lists { kM = kOptimizerLists, kV, kVmax, kNumLists };

template <class T>
struct Adam {
  static constexpr int kLists = kNumLists;
  const float* found_inf;
  const double* norm;
  Number lr, step, grad_scale;
  double max_norm, weight_decay, beta1, beta2, eps;
  bool decoupled, amsgrad, maximize, zero_grads;

  struct Constants {
    float factor, weight_decay, keep, beta1, beta2, rest1, rest2, step_size, root_scale, eps;
  };

  __device__ bool skips() const {
    return (found_inf != nullptr && *found_inf != 0.0f) || (norm != nullptr && !(fabs(*norm) < __builtin_inf()));
  }

  // The clip scales the product, as on the CPU, not the gradient.
  __device__ Constants constants() const {
    const double rate = lr.load(), count = step.load(), sign = maximize ? -1 : 1;
    const double clip = norm == nullptr ? 1 : max_norm / (*norm + 1e-6);
    auto f = [](double x) { return static_cast<float>(x); };
    return {f(sign * grad_scale.load() * (clip < 1 ? clip : 1)),
            f(decoupled ? 0 : weight_decay),
            f(decoupled ? 1 - rate * weight_decay : 1),
            f(beta1),
            f(beta2),
            f(1 - beta1),
            f(1 - beta2),
            f(rate / (1 - pow(beta1, count))),
            f(1 / sqrt(1 - pow(beta2, count))),
            f(eps)};
  }

  template <int kVec>
  __device__ void run(const TensorList<kLists>& list, const Chunk& chunk) const {
    if (skips()) return;
    SHARED_ARRAY(Constants, sConstants, 16, 1);
    if (threadIdx.x == 0) *sConstants = constants();
    __syncthreads();
    const Constants c = *sConstants;
    for_each_pack<kVec>(chunk, [&](int64_t i) {
      ParamPack<T, kVec> at;
      at.load(list, chunk, i);
      float m[kVec], v[kVec], top[kVec];
      load_pack(m, list.at<float>(kM, chunk.tensor), i, chunk.end);
      load_pack(v, list.at<float>(kV, chunk.tensor), i, chunk.end);
      if (amsgrad) load_pack(top, list.at<float>(kVmax, chunk.tensor), i, chunk.end);
#pragma unroll
      for (int e = 0; e < kVec; ++e) {
        float g = at.g[e] * c.factor;
        if (c.weight_decay != 0) g = fmaf(c.weight_decay, at.p[e], g);  // 0 * inf is NaN
        m[e] = fmaf(c.beta1, m[e], c.rest1 * g);
        v[e] = fmaf(c.beta2, v[e], c.rest2 * g * g);
        top[e] = amsgrad && top[e] >= v[e] ? top[e] : v[e];
        at.p[e] = fmaf(-c.step_size, m[e] / fmaf(sqrtf(top[e]), c.root_scale, c.eps), at.p[e] * c.keep);
      }
      store_pack(list.at<float>(kM, chunk.tensor), m, i, chunk.end);
      store_pack(list.at<float>(kV, chunk.tensor), v, i, chunk.end);
      if (amsgrad) store_pack(list.at<float>(kVmax, chunk.tensor), top, i, chunk.end);
      at.store(list, chunk, i, zero_grads);
    });
  }
};

template <class T>
constexpr KernelName kName{"adam_step", kTypeName<T>};

}  // namespace

fa_status adam_step(const fa_adam_step_params& p, fa_launch& launch) {
  return visit_float(p.num_tensors > 0 ? p.params[0].dtype : int32_t{FA_F32}, launch, [&]<class T>() {
    const double n = static_cast<double>(total_elements(p.params, p.num_tensors));
    const bool masters = p.masters != nullptr, clips = p.norm != nullptr;
    const double storage = (masters ? 2 : 3) + (p.zero_grads ? 1 : 0) + (clips ? 1 : 0);
    const double state = 4 + (p.amsgrad ? 2 : 0) + (masters ? 2 : 0);
    launch.kernel = kName<T>.text;
    if (launch.query) launch.workspace_bytes = clips ? norm_workspace(p.grads, p.num_tensors) : 0;
    launch.flops = (clips ? 16 : 14) * n;
    launch.bytes = n * (storage * sizeof(T) + state * sizeof(float));
    if (launch.query) return FA_OK;
    const Number lr{p.lr, p.lr_tensor}, step{static_cast<double>(p.step), p.step_tensor};
    const Number grad_scale{p.grad_scale, p.grad_scale_tensor};
    if (clips) {
      const fa_status status = run_grad_norm<T>(p.grads, p.num_tensors, grad_scale, p.norm, launch);
      if (status != FA_OK) return status;
    }
    const Adam<T> adam{p.found_inf,     p.norm,           lr,      step,  grad_scale,       p.max_norm,
                       p.weight_decay,  p.beta1,          p.beta2, p.eps, p.decoupled != 0, p.amsgrad != 0,
                       p.maximize != 0, p.zero_grads != 0};
    return run_list<Adam<T>>(
        {p.params, p.grads, p.masters, p.exp_avgs, p.exp_avg_sqs, p.amsgrad ? p.max_exp_avg_sqs : nullptr},
        p.num_tensors, adam, launch);
  });
}

}  // namespace fastattn::cuda
