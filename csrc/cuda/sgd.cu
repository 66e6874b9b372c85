// sgd_step: stochastic gradient descent with momentum over a list of tensors, in place, in one launch (ops/sgd.h).
//
//   g = sign * grad_scale * grad + weight_decay * p
//   momentum: b = g on the first step, else momentum * b + (1 - dampening) * g;   g = nesterov ? g + momentum * b : b
//   p -= lr * g
//
// Tiles: tile/tensor_list.h. Traffic: three reads and two writes, 20 bytes an element in f32 with momentum; DRAM's
// bandwidth is the roofline. Source: ops/sgd.h.
#include "cuda/entries.h"
#include "cuda/tile/tensor_list.h"

namespace fastattn::cuda {
namespace {

enum Lists { kParams, kGrads, kBuffers, kMasters, kNumLists };

template <class T>
struct Sgd {
  static constexpr int kLists = kNumLists;
  float grad_scale, weight_decay, lr, momentum, rest;
  bool moves, first_step, nesterov, zero_grads;

  __device__ bool skips() const { return false; }

  template <int kVec>
  __device__ void run(const TensorList<kLists>& list, int t, int64_t i, int64_t end) const {
    float* masters = list.at<float>(kMasters, t);
    float p[kVec], g[kVec], b[kVec] = {};
    if (masters != nullptr) {
      load_pack(p, masters, i, end);
    } else {
      load_pack(p, list.at<T>(kParams, t), i, end);
    }
    load_pack(g, list.at<T>(kGrads, t), i, end);
    if (moves && !first_step) load_pack(b, list.at<float>(kBuffers, t), i, end);
#pragma unroll
    for (int e = 0; e < kVec; ++e) {
      g[e] = fmaf(weight_decay, p[e], g[e] * grad_scale);
      if (moves) {
        b[e] = first_step ? g[e] : fmaf(momentum, b[e], rest * g[e]);
        g[e] = nesterov ? fmaf(momentum, b[e], g[e]) : b[e];
      }
      p[e] = fmaf(-lr, g[e], p[e]);
    }
    if (moves) store_pack(list.at<float>(kBuffers, t), b, i, end);
    if (masters != nullptr) store_pack(masters, p, i, end);
    store_pack(list.at<T>(kParams, t), p, i, end);
    if (zero_grads) {
      const float zero[kVec] = {};
      store_pack(list.at<T>(kGrads, t), zero, i, end);
    }
  }
};

template <class T>
constexpr KernelName kName{"sgd_step", kTypeName<T>};

}  // namespace

fa_status sgd_step(const fa_sgd_step_params& p, fa_launch& launch) {
  return visit_float(p.num_tensors > 0 ? p.params[0].dtype : int32_t{FA_F32}, launch, [&]<class T>() {
    const double n = static_cast<double>(total_elements(p.params, p.num_tensors));
    const bool moves = p.momentum != 0, masters = p.masters != nullptr;
    const double storage = (masters ? 2 : 3) + (p.zero_grads ? 1 : 0);
    const double state = (!moves ? 0 : p.first_step ? 1 : 2) + (masters ? 2 : 0);
    launch.kernel = kName<T>.text;
    launch.workspace_bytes = 0;
    launch.flops = 6 * n;
    launch.bytes = n * (storage * sizeof(T) + state * sizeof(float));
    if (launch.query) return FA_OK;
    auto f = [](double x) { return static_cast<float>(x); };
    const Sgd<T> sgd{f(p.maximize ? -p.grad_scale : p.grad_scale),
                     f(p.weight_decay),
                     f(p.lr),
                     f(p.momentum),
                     f(1 - p.dampening),
                     moves,
                     p.first_step != 0,
                     p.nesterov != 0,
                     p.zero_grads != 0};
    return run_list<Sgd<T>>({p.params, p.grads, moves ? p.momentum_buffers : nullptr, p.masters}, p.num_tensors, sgd,
                            launch);
  });
}

}  // namespace fastattn::cuda
