// The host's side of conv: what is copied first, which tile, and the launches.
#pragma once

#include "cuda/conv/conv.h"
#include "cuda/conv/copy.h"
#include "cuda/conv/direct.h"
#include "cuda/conv/source.h"
#include "cuda/entries.h"
#include "cuda/matmul/run.h"
#include "cuda/workspace.h"

namespace fastattn::cuda {

template <class T>
inline constexpr int64_t kConvPack = 16 / sizeof(T);

inline double elements_of(const fa_tensor& t) { return static_cast<double>(count_elements(t)); }

// The channels of a group, as a product counts them: of 16 bits in whole packs, so that cp.async copies 16 bytes.
template <class T>
int64_t counted_channels(int64_t channels) {
  return sizeof(T) == 4 ? channels : round_up(channels, kConvPack<T>);
}

// An image that a product reads: as it lies, or a copy with its channels in whole packs, next to each other.
template <class T>
struct ConvImages {
  const T* data;
  ImageStrides at;
  int64_t channels;    // of a group, as they are counted
  bool packs = false;  // channels can be read 16 bytes at a time
  bool copied = false;
  ImageCopy<T> copy;

  ConvImages(const fa_tensor& t, int64_t groups, bool direct, Carver& carver)
      : data(static_cast<const T*>(t.data)), at(t), channels(counted_channels<T>(t.shape[1] / groups)) {
    if (direct || channels == 0) return;
    const int64_t strides[] = {at.n, at.h, at.w}, lengths[] = {t.shape[0], t.shape[2], t.shape[3]};
    packs = at.c == 1 && t.shape[1] / groups % kConvPack<T> == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0;
    for (int d = 0; d < 3; ++d) packs = packs && (lengths[d] <= 1 || strides[d] % kConvPack<T> == 0);
    if (sizeof(T) == 4 || packs) return;
    packs = copied = true;
    const int64_t pixel = groups * channels, elements = t.shape[0] * t.shape[2] * t.shape[3] * pixel;
    copy = {data,       at,       carver.take<T>(elements), elements / kConvPack<T>,
            groups,     channels, t.shape[1] / groups,      t.shape[2],
            t.shape[3], at.c == 1};
    data = copy.to;
    at.c = 1;
    at.w = pixel;
    at.h = t.shape[3] * at.w;
    at.n = t.shape[2] * at.h;
  }
  const char* make(void* stream) const {
    if constexpr (sizeof(T) != 4) {
      if (!copied || copy.packs == 0) return nullptr;
      const int64_t blocks = (copy.packs + kCopyThreads - 1) / kCopyThreads;
      if (blocks > INT32_MAX) return kConvTooLong;
      return cuda::launch(conv_images_kernel<T>, {dim3(static_cast<unsigned>(blocks)), dim3(kCopyThreads), 0, stream},
                          copy);
    }
    return nullptr;
  }
};

// The large tile where it would give most of the device a block, and has an eighth more of columns at most.
template <class T>
MatmulPlan make_conv_plan(const ConvProduct& q, const MatmulChoice& choice) {
  auto tiles = [&](int tile) { return count_tiles(q.M, q.N, q.entries(), kMatmulConfigs<T>[tile].config); };
  auto columns = [&](int tile) { return round_up(q.N, kMatmulConfigs<T>[tile].config.block_n); };
  MatmulPlan plan{kSmallTile, false, 1, 1, 0};
  const int64_t more = columns(kLargeTile) - columns(kSmallTile);
  if (tiles(kLargeTile) >= kMinLargeTiles && 8 * more <= columns(kSmallTile)) plan.tile = kLargeTile;
  if (q.N <= kFewColumns) plan.tile = kTallTile;
  const int64_t shared_out = tiles(plan.tile == kLargeTile ? kSmallTile : plan.tile);
  if (choice.tile >= 0) plan.tile = choice.tile;
  share_out(plan, q, shared_out, choice);
  return plan;
}

template <Load kA, Load kB, class Problem>
const char* run_conv_plan(Problem& q, const MatmulPlan& plan, void* workspace, void* stream) {
  return run_plan(q, plan, workspace, stream, [&] {
    if (plan.tile == kLargeTile) return launch_matmul<kLargeTile, kA, kB>(q, stream);
    if (plan.tile == kTallTile) return launch_matmul<kTallTile, kA, kB>(q, stream);
    return launch_matmul<kSmallTile, kA, kB>(q, stream);
  });
}

template <class T, int kTile>
constexpr KernelName kConvNames[] = {{"conv_fwd", kTypeName<T>, kMatmulConfigs<T>[kTile].name},
                                     {"conv_bwd_input", kTypeName<T>, kMatmulConfigs<T>[kTile].name},
                                     {"conv_bwd_weight", kTypeName<T>, kMatmulConfigs<T>[kTile].name}};

template <class T>
const char* conv_name(int op, int tile) {
  if (tile == kLargeTile) return kConvNames<T, kLargeTile>[op].text;
  return tile == kTallTile ? kConvNames<T, kTallTile>[op].text : kConvNames<T, kSmallTile>[op].text;
}

// dst = the gather of src by the weight: forward src is x, backward dout.
struct GatherCall {
  const fa_tensor &src, &weight, &dst;
  fa_tensor bias;
  const fa_conv_geometry& geometry;
  bool backward;
  const fa_tensor& x() const { return backward ? dst : src; }
  const fa_tensor& out() const { return backward ? src : dst; }
};

template <class T>
const char* pack_weights(const GatherCall& call, const ConvGather<T>& q, T* packed, int64_t size, void* stream) {
  if (size == 0) return nullptr;
  const fa_tensor& weight = call.weight;
  const int k = call.backward ? 0 : 1, n = 1 - k;
  const int64_t groups = call.geometry.groups, taps_w = weight.shape[3], taps = weight.shape[2] * taps_w;
  const WeightCopy<T> copy{static_cast<const T*>(weight.data),
                           weight.shape[0] / groups * weight.strides[0],
                           weight.strides[k],
                           weight.strides[n],
                           weight.strides[2],
                           weight.strides[3],
                           packed,
                           size,
                           taps_w,
                           taps,
                           q.channels,
                           q.weight_line,
                           call.src.shape[1] / groups,
                           q.N};
  const int64_t blocks = (size + kCopyThreads - 1) / kCopyThreads;
  if (blocks > INT32_MAX) return kConvTooLong;
  return cuda::launch(conv_weights_kernel<T>, {dim3(static_cast<unsigned>(blocks)), dim3(kCopyThreads), 0, stream},
                      copy);
}

// All but the packed weights, with the axes there. False where ints do not count it.
template <class T>
bool make_conv_gather(const GatherCall& call, const ConvImages<T>& images, ConvGather<T>& q) {
  const auto& [src, weight, dst, bias, geometry, backward] = call;
  int64_t positions[2] = {}, taps[2] = {};  // of the phase that has most of them
  for (int axis = 0; axis < 2; ++axis) {
    const ConvAxis& a = axis == 0 ? q.h : q.w;
    for (int phase = 0; phase < a.phases(); ++phase) {
      const GatherAxis g = a.gather(phase);
      if (g.positions > positions[axis]) positions[axis] = g.positions;
      if (g.count > taps[axis]) taps[axis] = g.count;
    }
  }
  const int64_t K = taps[0] * taps[1] * images.channels;
  q.M = src.shape[0] * positions[0] * positions[1];
  q.N = dst.shape[1] / geometry.groups;
  q.count = geometry.groups * q.h.phases() * q.w.phases();
  q.chunks = (K + kMatmulChunk - 1) / kMatmulChunk;
  q.batch = static_cast<int>(src.shape[0]);
  q.src_h = static_cast<int>(src.shape[2]);
  q.src_w = static_cast<int>(src.shape[3]);
  q.channels = static_cast<int>(images.channels);
  q.by_channels = Divisor(static_cast<uint32_t>(images.channels > 0 ? images.channels : 1));
  q.src = images.data;
  q.src_at = images.at;
  q.weight_line = round_up(q.N, kConvPack<T>);
  q.dst = static_cast<T*>(dst.data);
  q.dst_at = ImageStrides(dst);
  q.bias = static_cast<const T*>(bias.data);
  q.bias_at = bias.data == nullptr ? 0 : bias.strides[0];
  q.channels_first = dst.strides[1] != 1 && dst.shape[1] > 1;
  q.packs = dst.strides[1] == 1 && q.N % 4 == 0 && reinterpret_cast<uintptr_t>(dst.data) % (4 * sizeof(T)) == 0;
  for (int d = 0; d < 4; ++d) q.packs = q.packs && (d == 1 || dst.shape[d] == 1 || dst.strides[d] % 4 == 0);
  return q.M <= INT32_MAX && K <= INT32_MAX && q.count <= INT32_MAX;
}

template <class T>
fa_status run_conv_gather(const GatherCall& call, fa_launch& launch, const MatmulChoice& choice) {
  const fa_tensor &x = call.x(), &out = call.out(), &weight = call.weight;
  const int64_t groups = call.geometry.groups, taps = weight.shape[2] * weight.shape[3];
  if (launch.query) {
    const double of_weight = elements_of(weight);
    launch.workspace_bytes = 0;
    launch.flops = 2 * static_cast<double>(out.shape[0] * out.shape[2] * out.shape[3]) * of_weight;
    launch.bytes = sizeof(T) * (elements_of(x) + of_weight + elements_of(out));
  }
  const bool direct = is_direct(groups, x.shape[1], out.shape[1]);
  ConvGather<T> q = {};
  q.pieces = 1;
  Carver carver(launch.workspace);
  const ConvImages<T> images(call.src, groups, direct, carver);
  const bool counted = conv_axis(call.geometry, 0, x.shape[2], out.shape[2], weight.shape[2], call.backward, q.h) &&
                       conv_axis(call.geometry, 1, x.shape[3], out.shape[3], weight.shape[3], call.backward, q.w) &&
                       make_conv_gather(call, images, q);
  if (!counted) return fail(launch, FA_UNSUPPORTED, kConvTooLong);
  if (direct) {
    launch.kernel = kDirectNames<T>[call.backward].text;
    return launch.query ? FA_OK : run_direct<T>(call.src, weight, call.dst, call.bias, groups, q.h, q.w, launch);
  }
  const int64_t weights = groups * taps * images.channels * q.weight_line;
  T* const packed = carver.take<T>(weights);
  q.weight = packed;
  const MatmulPlan plan = make_conv_plan<T>(q, choice);
  launch.kernel = conv_name<T>(call.backward, plan.tile);
  if (launch.query) {
    launch.workspace_bytes = carver.bytes + plan.workspace;
    return FA_OK;
  }
  if (q.M == 0 || q.N == 0) return FA_OK;
  const char* error = images.make(launch.stream);
  if (error == nullptr) error = pack_weights(call, q, packed, weights, launch.stream);
  constexpr Load kImages = sizeof(T) == 4 ? Load::kElements : Load::kAlongK;
  void* const sums = carver.rest();
  if (error == nullptr) error = run_conv_plan<kImages, Load::kAlongRows>(q, plan, sums, launch.stream);
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

template <class T>
fa_status run_conv_fwd(const fa_conv_fwd_params& p, fa_launch& launch, const MatmulChoice& choice) {
  return run_conv_gather<T>({p.x, p.weight, p.out, p.bias, p.geometry, false}, launch, choice);
}

template <class T>
fa_status run_conv_bwd_input(const fa_conv_bwd_input_params& p, fa_launch& launch, const MatmulChoice& choice) {
  return run_conv_gather<T>({p.dout, p.weight, p.dx, {}, p.geometry, true}, launch, choice);
}

// dbias as sum's: always over (N, P, Q) with the groups' channels last, so that the layout does not change the order.
template <class T>
fa_sum_params conv_bias_sum(const fa_conv_bwd_weight_params& p, const ConvImages<T>& dout) {
  const int64_t groups = p.geometry.groups, columns = p.dout.shape[1] / groups;
  const int64_t bias = p.dbias.data == nullptr ? 0 : p.dbias.strides[0];
  fa_sum_params sum = {};
  sum.x = {const_cast<T*>(dout.data),
           p.dout.dtype,
           5,
           {p.dout.shape[0], p.dout.shape[2], p.dout.shape[3], groups, columns},
           {dout.at.n, dout.at.h, dout.at.w, (dout.copied ? dout.channels : columns) * dout.at.c, dout.at.c}};
  sum.out = {p.dbias.data, p.dbias.dtype, 5, {1, 1, 1, groups, columns}, {0, 0, 0, columns * bias, bias}};
  sum.scale = 1;
  return sum;
}

// Fills in all but what lies in the workspace. False where ints do not count it.
template <class T>
bool make_conv_weight(const fa_conv_bwd_weight_params& p, const ConvImages<T>& x, const ConvImages<T>& dout,
                      ConvWeight<T>& q) {
  const int64_t taps_h = p.dweight.shape[2], taps_w = p.dweight.shape[3], P = p.dout.shape[2], Q = p.dout.shape[3];
  const bool counted = conv_axis(p.geometry, 0, p.x.shape[2], P, taps_h, false, q.h) &&
                       conv_axis(p.geometry, 1, p.x.shape[3], Q, taps_w, false, q.w);
  if (!counted) return false;
  auto of = [](int64_t n) { return Divisor(static_cast<uint32_t>(n > 0 ? n : 1)); };
  q.M = taps_h * taps_w * x.channels;
  q.N = p.dout.shape[1] / p.geometry.groups;
  q.K = p.dout.shape[0] * P * Q;
  q.count = p.geometry.groups;
  q.chunk = q.K <= kFewPixels ? kFewPixelsChunk : kMatmulChunk;
  q.chunks = (q.K + q.chunk - 1) / q.chunk;
  q.channels = static_cast<int>(x.channels);
  q.weight_channels = static_cast<int>(p.dweight.shape[1]);
  q.by_channels = of(x.channels);
  q.by_columns = of(taps_w);
  q.by_image = of(P * Q);
  q.by_row = of(Q);
  q.x = x.data;
  q.x_at = x.at;
  q.dout = dout.data;
  q.dout_at = dout.at;
  q.dout_group = dout.channels * dout.at.c;
  q.dweight = static_cast<T*>(p.dweight.data);
  q.dweight_at = ImageStrides(p.dweight);
  return q.M <= INT32_MAX && q.K <= INT32_MAX && q.count <= INT32_MAX;
}

template <class T>
fa_status run_conv_bwd_weight(const fa_conv_bwd_weight_params& p, fa_launch& launch, const MatmulChoice& choice) {
  const int64_t groups = p.geometry.groups;
  Carver carver(launch.workspace);
  const bool direct = is_direct(groups, p.x.shape[1], p.dout.shape[1]);
  const ConvImages<T> x(p.x, groups, direct, carver), dout(p.dout, groups, direct, carver);
  ConvWeight<T> q = {};
  q.pieces = 1;
  if (!make_conv_weight(p, x, dout, q)) return fail(launch, FA_UNSUPPORTED, kConvTooLong);
  const MatmulPlan plan = make_conv_plan<T>(q, choice);
  const DirectWeight<T> sums_of_products = make_direct_weight<T>(p, q);
  const size_t products = direct ? direct_workspace(sums_of_products) : plan.workspace;
  const fa_sum_params bias = conv_bias_sum(p, dout);
  // What comes last in the workspace is the sums' of one, and then of the other.
  fa_launch bias_launch = {};
  bias_launch.size = sizeof bias_launch;
  bias_launch.query = 1;
  bias_launch.stream = launch.stream;
  if (p.dbias.data != nullptr) {
    const fa_status status = sum(bias, bias_launch);
    if (status != FA_OK) return fail(launch, status, bias_launch.reason);
  }
  const size_t sums = products > bias_launch.workspace_bytes ? products : bias_launch.workspace_bytes;
  launch.kernel = direct ? kDirectNames<T>[2].text : conv_name<T>(2, plan.tile);
  if (launch.query) {
    const double of_weight = elements_of(p.dweight);
    launch.workspace_bytes = carver.bytes + sums;
    launch.flops = 2 * static_cast<double>(q.K) * of_weight;
    launch.bytes = sizeof(T) * (elements_of(p.x) + of_weight + elements_of(p.dout));
    return FA_OK;
  }
  void* const last = carver.rest();
  const char* error = dout.make(launch.stream);
  if (error != nullptr) return fail(launch, FA_UNSUPPORTED, error);
  if (p.dbias.data != nullptr) {
    bias_launch.query = 0;
    bias_launch.workspace = last;
    const fa_status status = sum(bias, bias_launch);
    if (status != FA_OK) return fail(launch, status, bias_launch.reason);
  }
  if (p.dweight.data == nullptr || q.M == 0 || q.N == 0) return FA_OK;
  if (direct) return run_direct_weight(sums_of_products, last, launch);
  error = x.make(launch.stream);
  if (error == nullptr) {
    constexpr Load kPacks = Load::kAlongRows, kSingles = sizeof(T) == 4 ? Load::kElements : kPacks;
    error = x.packs && dout.packs ? run_conv_plan<kPacks, kPacks>(q, plan, last, launch.stream)
                                  : run_conv_plan<kSingles, kSingles>(q, plan, last, launch.stream);
  }
  return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
}

}  // namespace fastattn::cuda
