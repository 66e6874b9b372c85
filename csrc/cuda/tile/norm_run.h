// The host side of the norms: which configuration, the workspace, the launches (tile/norm.h).
#pragma once

#include "cuda/tile/norm.h"

namespace fastattn::cuda {

// The names of a norm's kernels, by configuration.
struct NormNames {
  KernelName name[kNumNormConfigs];
  constexpr NormNames(const char* op, const char* dtype) {
    for (int i = 0; i < kNumNormConfigs; ++i) name[i] = KernelName(op, dtype, kNormConfigs[i].name);
  }
};

inline bool is_dense(const fa_tensor& t) { return t.data == nullptr || t.strides[0] == 1 || t.shape[0] <= 1; }

// f.operator()<kConfig>() of the first configuration that rows of C elements fit into.
template <int kConfig = 0, class F>
fa_status visit_norm_config(int64_t C, F&& f) {
  if constexpr (kConfig + 1 < kNumNormConfigs) {
    if (C > kNormConfigs[kConfig].max_columns()) return visit_norm_config<kConfig + 1>(C, f);
  }
  return f.template operator()<kConfig>();
}

template <class T>
bool is_aligned(const fa_tensor& t, const Rows<1>& rows) {
  return rows_aligned<T>(t.data, rows.strides[0], rows.ndim);
}

inline LaunchConfig row_launch(const RowConfig& c, int64_t rows, const fa_launch& launch) {
  return {dim3(static_cast<unsigned>((rows + c.rows() - 1) / c.rows())), dim3(c.threads), 0, launch.stream};
}

template <class T, bool kCentred>
fa_status norm_forward(const fa_layer_norm_fwd_params& p, const NormNames& names, fa_launch& launch) {
  const int axis = p.x.ndim - 1;
  const int64_t C = p.x.shape[axis];
  const NormForward<T> problem{static_cast<const T*>(p.x.data),
                               static_cast<const T*>(p.weight.data),
                               static_cast<const T*>(p.bias.data),
                               static_cast<T*>(p.out.data),
                               static_cast<float*>(p.mean.data),
                               static_cast<float*>(p.rstd.data),
                               p.mean.strides[0],
                               p.rstd.strides[0],
                               C,
                               static_cast<float>(p.eps),
                               Rows<1>({&p.x}, axis),
                               Rows<1>({&p.out}, p.out.ndim - 1)};
  const int64_t R = problem.x_rows.size;
  const double n = static_cast<double>(R) * static_cast<double>(C);
  launch.workspace_bytes = 0;
  launch.flops = 7 * n;
  launch.bytes = 2 * n * sizeof(T);
  if (!is_dense(p.weight) || !is_dense(p.bias)) return fail(launch, FA_UNSUPPORTED, "weight and bias with a stride");
  if (R > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more rows than a grid has blocks");
  const bool aligned = is_aligned<T>(p.x, problem.x_rows) && is_aligned<T>(p.out, problem.out_rows) &&
                       reinterpret_cast<uintptr_t>(p.weight.data) % 16 == 0 &&
                       reinterpret_cast<uintptr_t>(p.bias.data) % 16 == 0;
  return visit_norm_config(C, [&]<int kConfig>() {
    launch.kernel = names.name[kConfig].text;
    if (launch.query || R == 0) return FA_OK;
    constexpr RowConfig kThis = kNormConfigs[kConfig];
    auto kernel =
        aligned ? norm_forward_kernel<T, kCentred, true, kConfig> : norm_forward_kernel<T, kCentred, false, kConfig>;
    const char* error = cuda::launch(kernel, row_launch(kThis, R, launch), problem);
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

// Parts of the sums over rows: at most 128, of 32 rows at least.
struct NormParts {
  int64_t rows, count;
  explicit NormParts(int64_t R) : rows((R + 127) / 128 > 32 ? (R + 127) / 128 : 32), count((R + rows - 1) / rows) {}
};

template <class T, bool kCentred>
fa_status norm_backward(const fa_layer_norm_bwd_params& p, const NormNames& names, fa_launch& launch) {
  const int axis = p.x.ndim - 1;
  const int64_t C = p.x.shape[axis];
  const fa_tensor& dx = p.dx.data == nullptr ? p.x : p.dx;  // some strides
  NormBackward<T> problem{static_cast<const T*>(p.x.data),
                          static_cast<const T*>(p.weight.data),
                          static_cast<const T*>(p.dout.data),
                          static_cast<const float*>(p.mean.data),
                          static_cast<const float*>(p.rstd.data),
                          static_cast<T*>(p.dx.data),
                          static_cast<float*>(launch.workspace),
                          p.mean.strides[0],
                          p.rstd.strides[0],
                          C,
                          0,
                          Rows<1>({&p.x}, axis),
                          Rows<1>({&p.dout}, p.dout.ndim - 1),
                          Rows<1>({&dx}, dx.ndim - 1)};
  const int64_t R = problem.x_rows.size, stride = C * (kCentred ? 2 : 1);
  const NormParts parts(R);
  problem.part_rows = parts.rows;
  const bool sums = p.dweight.data != nullptr || p.dbias.data != nullptr;
  const double n = static_cast<double>(R) * static_cast<double>(C);
  if (launch.query) launch.workspace_bytes = sums ? static_cast<size_t>(parts.count * stride) * sizeof(float) : 0;
  launch.flops = 12 * n;
  launch.bytes = (p.dx.data != nullptr ? 3 : 2) * n * sizeof(T);
  if (!is_dense(p.weight) || !is_dense(p.dweight) || !is_dense(p.dbias)) {
    return fail(launch, FA_UNSUPPORTED, "weight and its gradient, or the bias's, with a stride");
  }
  if (R > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more rows than a grid has blocks");

  // Before dx is written, which may be dout.
  auto add = [&]() -> const char* {
    const auto columns = static_cast<unsigned>((C + kPartColumns - 1) / kPartColumns);
    const LaunchConfig grid{dim3(columns, static_cast<unsigned>(parts.count)), dim3(kPartColumns * kPartLanes), 0,
                            launch.stream};
    if (parts.count > 0) {
      if (const char* error = cuda::launch(norm_parts_kernel<T, kCentred>, grid, problem)) return error;
    }
    const LaunchConfig row{dim3(static_cast<unsigned>((C + 127) / 128)), dim3(128), 0, launch.stream};
    const float* from[] = {problem.part, problem.part + C};
    const fa_tensor* to[] = {&p.dweight, &p.dbias};
    for (int i = 0; i < (kCentred ? 2 : 1); ++i) {
      if (to[i]->data == nullptr) continue;
      const char* error =
          cuda::launch(add_parts_kernel<T>, row, from[i], parts.count, stride, static_cast<T*>(to[i]->data), C);
      if (error) return error;
    }
    return nullptr;
  };
  const bool aligned = is_aligned<T>(p.x, problem.x_rows) && is_aligned<T>(p.dout, problem.dout_rows) &&
                       is_aligned<T>(dx, problem.dx_rows) && reinterpret_cast<uintptr_t>(p.weight.data) % 16 == 0;
  return visit_norm_config(C, [&]<int kConfig>() {
    launch.kernel = names.name[kConfig].text;
    if (launch.query || C == 0) return FA_OK;
    const char* error = sums ? add() : nullptr;
    if (error == nullptr && p.dx.data != nullptr && R > 0) {
      constexpr RowConfig kThis = kNormConfigs[kConfig];
      auto kernel = aligned ? norm_backward_kernel<T, kCentred, true, kConfig>
                            : norm_backward_kernel<T, kCentred, false, kConfig>;
      error = cuda::launch(kernel, row_launch(kThis, R, launch), problem);
    }
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
