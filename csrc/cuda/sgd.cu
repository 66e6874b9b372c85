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

enum Lists { kBuffers = kOptimizerLists, kNumLists };

template <class T>
struct Sgd {
  static constexpr int kLists = kNumLists;
  float grad_scale, weight_decay, lr, momentum, rest;
  bool moves, first_step, nesterov, zero_grads;

  template <int kVec>
  __device__ void run(const TensorList<kLists>& list, const Chunk& chunk) const {
    for_each_pack<kVec>(chunk, [&](int64_t i) {
      ParamPack<T, kVec> at;
      at.load(list, chunk, i);
      float b[kVec] = {};
      if (moves && !first_step) load_pack(b, list.at<float>(kBuffers, chunk.tensor), i, chunk.end);
#pragma unroll
      for (int e = 0; e < kVec; ++e) {
        float g = at.g[e] * grad_scale;
        if (weight_decay != 0) g = fmaf(weight_decay, at.p[e], g);  // 0 * inf is NaN
        if (moves) {
          b[e] = first_step ? g : fmaf(momentum, b[e], rest * g);
          g = nesterov ? fmaf(momentum, b[e], g) : b[e];
        }
        at.p[e] = fmaf(-lr, g, at.p[e]);
      }
      if (moves) store_pack(list.at<float>(kBuffers, chunk.tensor), b, i, chunk.end);
      at.store(list, chunk, i, zero_grads);
    });
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
    return run_list<Sgd<T>>({p.params, p.grads, p.masters, moves ? p.momentum_buffers : nullptr}, p.num_tensors, sgd,
                            launch);
  });
}

}  // namespace fastattn::cuda
