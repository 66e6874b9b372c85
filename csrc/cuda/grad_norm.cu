// grad_norm: total = sqrt(sum of g^2 over all elements of all tensors), in double;   grad_scale: g *= scale, in place.
//
//   grads: contiguous tensors   total: (), on the device
//
// A block sums the squares of its chunk (tile/tensor_list.h) in double and leaves one part in the workspace; one more
// block adds the parts, each thread those of its own in order, then a fixed tree: the bits do not depend on the device.
// Traffic: one read (grad_scale: and one write); DRAM's bandwidth is the roofline. Squares of float are exact in double
// and cannot overflow there.
// Source: ops/grad_norm.h.
#include "cuda/tile/grad_norm.h"

#include "cuda/entries.h"

namespace fastattn::cuda {
namespace {

template <class T>
struct Scale {
  static constexpr int kLists = 1;
  float scale;

  template <int kVec>
  __device__ void run(const TensorList<1>& list, const Chunk& chunk) const {
    T* grads = list.at<T>(0, chunk.tensor);
    for_each_pack<kVec>(chunk, [&](int64_t i) {
      float g[kVec];
      load_pack(g, grads, i, chunk.end, 0.0f, scale);
      store_pack(grads, g, i, chunk.end);
    });
  }
};

template <class T>
constexpr KernelName kNormName{"grad_norm", kTypeName<T>};
template <class T>
constexpr KernelName kScaleName{"grad_scale", kTypeName<T>};

int32_t dtype_of(const fa_tensor* tensors, int64_t count) { return count > 0 ? tensors[0].dtype : int32_t{FA_F32}; }

}  // namespace

fa_status grad_norm(const fa_grad_norm_params& p, fa_launch& launch) {
  return visit_float(dtype_of(p.grads, p.num_tensors), launch, [&]<class T>() {
    const double n = static_cast<double>(total_elements(p.grads, p.num_tensors));
    launch.kernel = kNormName<T>.text;
    if (launch.query) launch.workspace_bytes = norm_workspace(p.grads, p.num_tensors);
    launch.flops = 2 * n;
    launch.bytes = n * sizeof(T);
    if (launch.query) return FA_OK;
    return run_grad_norm<T>(p.grads, p.num_tensors, {1, {}}, static_cast<double*>(p.total.data), launch);
  });
}

fa_status grad_scale(const fa_grad_scale_params& p, fa_launch& launch) {
  return visit_float(dtype_of(p.grads, p.num_tensors), launch, [&]<class T>() {
    const double n = static_cast<double>(total_elements(p.grads, p.num_tensors));
    launch.kernel = kScaleName<T>.text;
    launch.workspace_bytes = 0;
    launch.flops = n;
    launch.bytes = 2 * n * sizeof(T);
    if (launch.query) return FA_OK;
    return run_list<Scale<T>>({p.grads}, p.num_tensors, {static_cast<float>(p.scale)}, launch);
  });
}

}  // namespace fastattn::cuda
