// adam_step: Adam and AdamW over a list of tensors, in place, in one launch. The formula stands in ops/adam.h; here,
// per element, with the constants of csrc/cpu/kernels/adam.simd.cpp, computed once in double and rounded once:
//
//   g = sign * grad_scale * clip * grad       coupled decay: g += weight_decay * p;   decoupled: p *= keep
//   m = beta1 * m + (1 - beta1) * g           v = beta2 * v + (1 - beta2) * g * g
//   amsgrad: x = vmax = max(vmax, v)          p -= step_size * m / (sqrt(x) * root_scale + eps)
//
// Tiles: tile/tensor_list.h. Traffic: four reads and three writes, 28 bytes an element in f32; DRAM's bandwidth is the
// roofline. found_inf and norm are read by every block where they are, so the host waits for nothing. 16-bit params:
// arithmetic and state are in float; with masters the params are only written, as roundings of them.
// Source: ops/adam.h.
#include <cmath>

#include "cuda/entries.h"
#include "cuda/tile/grad_norm.h"

namespace fastattn::cuda {
namespace {

enum Lists { kParams, kGrads, kM, kV, kVmax, kMasters, kNumLists };

template <class T>
struct Adam {
  static constexpr int kLists = kNumLists;
  const float* found_inf;
  const double* norm;
  double max_norm, grad_scale;
  float weight_decay, keep, beta1, beta2, rest1, rest2, step_size, root_scale, eps;
  bool amsgrad, zero_grads;

  __device__ bool skips() const {
    return (found_inf != nullptr && *found_inf != 0.0f) || (norm != nullptr && !(fabs(*norm) < __builtin_inf()));
  }

  // The factor of the clip, as the CPU has it: of the product, not of the gradient.
  __device__ float scale() const {
    const double clip = norm == nullptr ? 1 : max_norm / (*norm + 1e-6);
    return static_cast<float>(clip < 1 ? grad_scale * clip : grad_scale);
  }

  template <int kVec>
  __device__ void run(const TensorList<kLists>& list, int t, int64_t i, int64_t end) const {
    float* masters = list.at<float>(kMasters, t);
    float p[kVec], g[kVec], m[kVec], v[kVec], top[kVec];
    if (masters != nullptr) {
      load_pack(p, masters, i, end);
    } else {
      load_pack(p, list.at<T>(kParams, t), i, end);
    }
    load_pack(g, list.at<T>(kGrads, t), i, end);
    load_pack(m, list.at<float>(kM, t), i, end);
    load_pack(v, list.at<float>(kV, t), i, end);
    if (amsgrad) load_pack(top, list.at<float>(kVmax, t), i, end);
    const float factor = scale();
#pragma unroll
    for (int e = 0; e < kVec; ++e) {
      g[e] = fmaf(weight_decay, p[e], g[e] * factor);
      p[e] *= keep;
      m[e] = fmaf(beta1, m[e], rest1 * g[e]);
      v[e] = fmaf(beta2, v[e], rest2 * g[e] * g[e]);
      top[e] = amsgrad ? fmaxf(top[e], v[e]) : v[e];
      p[e] = fmaf(-step_size, m[e] / fmaf(sqrtf(top[e]), root_scale, eps), p[e]);
    }
    store_pack(list.at<float>(kM, t), m, i, end);
    store_pack(list.at<float>(kV, t), v, i, end);
    if (amsgrad) store_pack(list.at<float>(kVmax, t), top, i, end);
    if (masters != nullptr) store_pack(masters, p, i, end);
    store_pack(list.at<T>(kParams, t), p, i, end);
    if (zero_grads) {
      const float zero[kVec] = {};
      store_pack(list.at<T>(kGrads, t), zero, i, end);
    }
  }
};

template <class T>
constexpr KernelName kName{"adam_step", kTypeName<T>};

template <class T>
Adam<T> adam(const fa_adam_step_params& p) {
  const double step = static_cast<double>(p.step);
  auto f = [](double x) { return static_cast<float>(x); };
  return {p.found_inf,
          p.norm,
          p.max_norm,
          p.maximize ? -p.grad_scale : p.grad_scale,
          f(p.decoupled ? 0 : p.weight_decay),
          f(p.decoupled ? 1 - p.lr * p.weight_decay : 1),
          f(p.beta1),
          f(p.beta2),
          f(1 - p.beta1),
          f(1 - p.beta2),
          f(p.lr / (1 - std::pow(p.beta1, step))),
          f(1 / std::sqrt(1 - std::pow(p.beta2, step))),
          f(p.eps),
          p.amsgrad != 0,
          p.zero_grads != 0};
}

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
    if (clips) {
      const fa_status status = run_grad_norm<T>(p.grads, p.num_tensors, std::fabs(p.grad_scale), p.norm, launch);
      if (status != FA_OK) return status;
    }
    return run_list<Adam<T>>(
        {p.params, p.grads, p.exp_avgs, p.exp_avg_sqs, p.amsgrad ? p.max_exp_avg_sqs : nullptr, p.masters},
        p.num_tensors, adam<T>(p), launch);
  });
}

}  // namespace fastattn::cuda
