// What becomes of a product of query and key: the score, hidden or not, and what dropout leaves of its weight.
//
//   score = cap(scale * query . key) - slope * |position - key| + mask       cap(x) = softcap * tanh(x / softcap)
//
// Hidden is a score of -inf: its weight is 0, and neither NaN nor inf is left of it. Query i sees the keys
// [i + first_shift, i + end_shift) that there are and that the mask keeps.
#pragma once

#include "common/philox.h"
#include "cuda/attention/tile.h"
#include "cuda/host.h"
#include "cuda/tile/number.h"
#include "cuda/tile/softmax_state.h"
#include "ops/attention.h"

namespace fastattn::cuda::attention {

struct Options {
  float scale;
  int seqlen_q, seqlen_k, first_shift, end_shift;
  // Only of the general kernels:
  float cap, inverse_cap;  // 0 = none
  int position_shift;      // of a query's position against its index
  bool keeps, adds, slopes_used, sinks_used;
  fa_tensor mask, slopes, sinks;
  bool drops;
  uint32_t keep_from;  // a weight whose word's fraction is no less is kept,
  float keep_factor;   // times this
  uint64_t seed, offset;
  int num_heads;

  explicit Options(const fa_attention_fwd_params& p) {
    const int64_t T = p.query.shape[2], S = p.key.shape[2], far = T + S;
    const int64_t shift = p.causal_align == FA_ALIGN_BOTTOM_RIGHT ? S - T : 0;
    const int64_t left = p.window_left < 0 || p.window_left > far ? far : p.window_left;
    int64_t right = p.window_right < 0 || p.window_right > far ? far : p.window_right;
    if (p.is_causal) right = 0;
    scale = static_cast<float>(p.scale);
    seqlen_q = static_cast<int>(T);
    seqlen_k = static_cast<int>(S);
    first_shift = static_cast<int>(shift - left);
    end_shift = static_cast<int>(shift + right + 1);
    cap = p.softcap < __builtin_inf() ? static_cast<float>(p.softcap) : 0.0f;
    inverse_cap = cap != 0 ? 1 / cap : 0.0f;
    position_shift = static_cast<int>(shift);
    mask = p.mask;
    slopes = p.alibi_slopes;
    sinks = p.sinks;
    keeps = mask.data != nullptr && mask.dtype == FA_BOOL;
    adds = mask.data != nullptr && !keeps;
    slopes_used = slopes.data != nullptr;
    sinks_used = sinks.data != nullptr;
    drops = p.dropout_p > 0;
    keep_from = philox_threshold(p.dropout_p);
    keep_factor = p.dropout_p < 1 ? static_cast<float>(1 / (1 - p.dropout_p)) : 0.0f;
    seed = p.seed;
    offset = p.offset;
    num_heads = static_cast<int>(p.query.shape[1]);
  }
  bool general() const { return drops || cap != 0 || keeps || adds || slopes_used || sinks_used; }
  __device__ float sink(int head) const { return load_number<float>(sinks, head * sinks.strides[0]); }

  __host__ __device__ int clamped(int key) const { return key < 0 ? 0 : key > seqlen_k ? seqlen_k : key; }
  __host__ __device__ int first_key(int query) const { return clamped(query + first_shift); }
  __host__ __device__ int end_key(int query) const { return clamped(query + end_shift); }
  // The queries that see some of the keys [k0, k1).
  __host__ __device__ int first_query(int k0) const { return k0 - end_shift + 1 < 0 ? 0 : k0 - end_shift + 1; }
  __host__ __device__ int end_query(int k1) const {
    const int end = k1 - first_shift;
    return end < 0 ? 0 : end > seqlen_q ? seqlen_q : end;
  }
  // Whether all of the queries [q0, q1) are there and see all of the keys [k0, k1).
  __host__ __device__ bool sees_all(int q0, int q1, int k0, int k1) const {
    return q1 <= seqlen_q && k0 >= first_key(q1 - 1) && k1 <= end_key(q0);
  }
};

// The options of one batch and head.
template <class T, bool kGeneral>
struct Head {
  const Options& o;
  const void* mask;
  float slope;
  int batch, head;

  __device__ Head(const Options& options, int batch_, int head_)
      : o(options), mask(nullptr), slope(0), batch(batch_), head(head_) {
    if constexpr (kGeneral) {
      const int64_t at = batch * o.mask.strides[0] + head * o.mask.strides[1];
      if (o.keeps) mask = static_cast<const uint8_t*>(o.mask.data) + at;
      if (o.adds) mask = static_cast<const T*>(o.mask.data) + at;
      if (o.slopes_used) slope = load_number<float>(o.slopes, batch * o.slopes.strides[0] + head * o.slopes.strides[1]);
    }
  }

  // Whether a pair within the bounds may have no weight.
  __device__ bool hides() const { return kGeneral && (o.keeps || o.adds || o.drops); }

  __device__ float distance(int i, int j) const {
    const int d = i + o.position_shift - j;
    return static_cast<float>(d < 0 ? -d : d);
  }

  // Dropout's factor for the weight of a pair: that of element ((b H + h) T + i) S + j of the Philox stream.
  __device__ float kept(int i, int j) const {
    if constexpr (kGeneral) {
      if (o.drops) {
        const int64_t row = (int64_t{batch} * o.num_heads + head) * o.seqlen_q + i;
        const uint64_t at = static_cast<uint64_t>(row * o.seqlen_k + j);
        const PhiloxBlock block = philox(o.seed, o.offset, at / 4);
        const uint32_t low = at % 2 ? block.word[1] : block.word[0], high = at % 2 ? block.word[3] : block.word[2];
        return philox_fraction(at % 4 < 2 ? low : high) >= o.keep_from ? o.keep_factor : 0.0f;
      }
    }
    return 1.0f;
  }

  // derivative: of the cap there.
  __device__ float score(int i, int j, float product, bool inside, float* derivative = nullptr) const {
    if (!inside) {
      if (i >= o.seqlen_q || j >= o.seqlen_k || j < i + o.first_shift || j >= i + o.end_shift) return -kInf;
    }
    float s = product * o.scale;
    if constexpr (kGeneral) {
      if (o.keeps && !static_cast<const uint8_t*>(mask)[i * o.mask.strides[2] + j * o.mask.strides[3]]) return -kInf;
      if (o.cap != 0) {
        const float u = tanhf(s * o.inverse_cap);
        s = o.cap * u;
        if (derivative != nullptr) *derivative = fmaxf(fmaf(-u, u, 1.0f), 0.0f);
      }
      if (o.slopes_used) s = fmaf(-slope, distance(i, j), s);
      if (o.adds) {
        const float added = to_float(static_cast<const T*>(mask)[i * o.mask.strides[2] + j * o.mask.strides[3]]);
        s = added == -kInf ? -kInf : s + added;
      }
    }
    return s;
  }
};

// A tensor (batch, heads, rows, columns) as kernels see it.
template <class T>
struct Heads {
  T* data;
  int64_t batch, head, row, column;
  int rows, columns;
  bool in_chunks;

  explicit Heads(const fa_tensor& t)
      : data(static_cast<T*>(t.data)),
        batch(t.strides[0]),
        head(t.strides[1]),
        row(t.strides[2]),
        column(t.strides[3]),
        rows(static_cast<int>(t.shape[2])),
        columns(static_cast<int>(t.shape[3])) {
    in_chunks = (column == 1 || columns <= 1) && reinterpret_cast<uintptr_t>(data) % 16 == 0;
    for (int d = 0; d < 3; ++d) {
      in_chunks = in_chunks && (t.shape[d] <= 1 || t.strides[d] * static_cast<int64_t>(sizeof(T)) % 16 == 0);
    }
  }
  __device__ Matrix<T> of(int b, int h) const {
    return {data + b * batch + h * head, row, column, rows, columns, in_chunks};
  }
};

// Writes a warp's accumulators, times factor[0] (row group) and factor[1] (row group + 8), to rows row0..., columns
// column0... of x.
template <int kOut, class T>
__device__ inline void store_rows(T* x, int64_t row, int rows, int columns, int row0, int column0,
                                  const float (&acc)[kOut / 8][4], const float (&factor)[2]) {
  const int lane_idx = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row0 + lane_idx / 4 + half * 8;
    if (r >= rows) continue;
    T* to = x + r * row;
    const bool pairs = reinterpret_cast<uintptr_t>(to) % (2 * sizeof(T)) == 0;
#pragma unroll
    for (int d = 0; d < kOut / 8; ++d) {
      const int c = column0 + d * 8 + lane_idx % 4 * 2;
      const T first = from_float<T>(acc[d][half * 2] * factor[half]);
      const T second = from_float<T>(acc[d][half * 2 + 1] * factor[half]);
      if (pairs && c + 1 < columns) {
        *reinterpret_cast<Packed<T, 2>*>(to + c) = {first, second};
      } else {
        if (c < columns) to[c] = first;
        if (c + 1 < columns) to[c + 1] = second;
      }
    }
  }
}

// The width that a tile is padded to: f.operator()<kDim>().
template <class F>
fa_status visit_dim(int64_t D, int64_t Dv, F&& f) {
  const int64_t widest = D > Dv ? D : Dv;
  return widest <= 64    ? f.template operator()<64>()
         : widest <= 128 ? f.template operator()<128>()
                         : f.template operator()<256>();
}

inline constexpr const char* kTooManyTiles = "more tiles than a grid has blocks";

// What no kernel takes, or nullptr.
inline const char* missing(const fa_attention_fwd_params& p) {
  if (p.query.shape[2] > INT32_MAX / 4 || p.key.shape[2] > INT32_MAX / 4) return "attention on CUDA: sequence too long";
  return nullptr;
}

// The part of a kernel's name that tells it from those of other widths.
template <int kDim, bool kGeneral>
inline constexpr const char* kDimName = kDim == 64    ? (kGeneral ? "general_d64" : "d64")
                                        : kDim == 128 ? (kGeneral ? "general_d128" : "d128")
                                                      : (kGeneral ? "general_d256" : "d256");

// Pairs that the bounds let through, for one head.
inline double visible_pairs(const Options& o) {
  double pairs = 0;
  for (int i = 0; i < o.seqlen_q; ++i) {
    const int n = o.end_key(i) - o.first_key(i);
    pairs += n > 0 ? n : 0;
  }
  return pairs;
}

}  // namespace fastattn::cuda::attention
