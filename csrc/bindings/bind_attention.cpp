#include <pybind11/stl.h>

#include <cmath>
#include <optional>
#include <utility>

#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "scaled_dot_product_attention";
constexpr int64_t kMaxHeadDim = 256;

// (T, D), (H, T, D) or (B, H, T, D) (with bthd: (T, D), (T, H, D), (B, T, H, D)) as (B, H, T, D).
fa_tensor as_heads(const fa_tensor& t, bool bthd) {
  fa_tensor r = t;
  r.ndim = 4;
  for (int i = 0; i < 4; ++i) {
    const int j = i - (4 - t.ndim);
    r.shape[i] = j < 0 ? 1 : t.shape[j];
    r.strides[i] = j < 0 ? 0 : t.strides[j];
  }
  if (bthd && t.ndim >= 3) {
    std::swap(r.shape[1], r.shape[2]);
    std::swap(r.strides[1], r.strides[2]);
  }
  return r;
}

struct Options {
  bool bthd;
  double dropout_p;
  uint64_t seed, offset;
  bool is_causal;
  std::optional<double> scale;
  bool enable_gqa;
  int causal_align;
  int64_t window_left, window_right;
  double softcap;
  // Which weights: (n) i64 or None, without repeats and in range; Python has seen to that.
  py::object weights_heads, weights_rows;
  bool weights_mean;
};

// The arguments that both passes share, read and checked.
class Attention {
 public:
  Attention(Call& call, const Options& o) : call_(call), o_(o) {}

  void read(fa_attention_fwd_params& p, py::handle query, py::handle key, py::handle value, py::handle mask,
            py::handle alibi_slopes, py::handle sinks) {
    p.query = call_.input(query, "query");
    p.key = call_.input(key, "key");
    p.value = call_.input(value, "value");
    mask_ = call_.optional(mask, "attn_mask");
    p.alibi_slopes = call_.optional(alibi_slopes, "alibi_slopes");
    p.sinks = call_.optional(sinks, "sinks");
    const int32_t dtype = call_.same_float({"query", "key", "value"});
    const int ndim = p.query.ndim;
    if (ndim < 2 || ndim > 4 || p.key.ndim != ndim || p.value.ndim != ndim) {
      call_.value_error("query, key and value need 2, 3 or 4 axes, all the same number; " + shapes());
    }
    p.query = as_heads(p.query, o_.bthd);
    p.key = as_heads(p.key, o_.bthd);
    p.value = as_heads(p.value, o_.bthd);
    batch = p.query.shape[0];
    heads = p.query.shape[1];
    rows = p.query.shape[2];
    keys = p.key.shape[2];
    const int64_t kv_heads = p.key.shape[1], dim = p.query.shape[3], value_dim = p.value.shape[3];
    if (p.key.shape[3] != dim) {
      call_.value_error("key head_dim " + std::to_string(p.key.shape[3]) + " != query head_dim " + std::to_string(dim) +
                        "; " + shapes());
    }
    if (p.key.shape[0] != batch || p.value.shape[0] != batch) {
      call_.value_error("query, key and value differ in batch size; " + shapes());
    }
    if (p.value.shape[1] != kv_heads || p.value.shape[2] != keys) {
      std::string text = "key and value differ in heads or length; " + shapes();
      if (!o_.bthd && ndim == 4) text += ". Inputs in (B, T, H, D)? pass layout=\"bthd\"";
      call_.value_error(text);
    }
    if (dim < 1 || dim > kMaxHeadDim || value_dim < 1 || value_dim > kMaxHeadDim) {
      call_.value_error("head_dim is 1 to 256; " + shapes());
    }
    if (heads != kv_heads && !(o_.enable_gqa && kv_heads > 0 && heads % kv_heads == 0)) {
      std::string text = "query has " + std::to_string(heads) + " heads and key " + std::to_string(kv_heads) + "; ";
      if (kv_heads > 0 && heads % kv_heads == 0) {
        text += "pass enable_gqa=True to share key heads; ";
      } else if (o_.enable_gqa) {
        text += "with enable_gqa a multiple of key's is expected; ";
      }
      text += shapes();
      if (!o_.bthd && ndim == 4 && rows == keys) text += ". Inputs in (B, T, H, D)? pass layout=\"bthd\"";
      call_.value_error(text);
    }
    p.mask = mask_;
    if (mask_.data != nullptr) {
      if (mask_.dtype != FA_BOOL && mask_.dtype != dtype) {
        call_.type_error(std::string("attn_mask has dtype ") + dtype_name(mask_.dtype) +
                         "; expected bool (True = attend) or " + dtype_name(dtype) + ", that of query");
      }
      p.mask = broadcast(mask_, "attn_mask", 4);
    }
    call_.same_float({"alibi_slopes"});
    call_.same_float({"sinks"});
    if (p.alibi_slopes.data != nullptr) p.alibi_slopes = broadcast(p.alibi_slopes, "alibi_slopes", 2);
    call_.expect_shape("sinks", {heads});
    if (!(o_.dropout_p >= 0 && o_.dropout_p <= 1)) {
      call_.value_error("dropout_p is " + std::to_string(o_.dropout_p) + "; expected a probability, 0 to 1");
    }
    if (o_.window_left < -1 || o_.window_right < -1) call_.value_error("window is two numbers of -1 (all) or more");
    if (!(o_.softcap >= 0)) call_.value_error("softcap is " + std::to_string(o_.softcap) + "; expected 0 or more");
    p.scale = o_.scale ? *o_.scale : 1.0 / std::sqrt(static_cast<double>(dim));
    p.softcap = o_.softcap;
    p.dropout_p = o_.dropout_p;
    p.seed = o_.seed;
    p.offset = o_.offset;
    p.is_causal = o_.is_causal;
    p.causal_align = o_.causal_align;
    p.window_left = o_.window_left;
    p.window_right = o_.window_right;
    p.weights_heads = chosen(o_.weights_heads, "weights.heads");
    p.weights_rows = chosen(o_.weights_rows, "weights.rows");
    p.weights_mean = o_.weights_mean;
    p.weights = p.weights_keys = absent();
  }

  // What the forward writes weights to.
  void read_weights(fa_attention_fwd_params& p, py::handle weights, py::handle weights_keys) {
    p.weights = call_.output(weights, "weights");
    p.weights_keys = call_.optional_output(weights_keys, "weights.indices");
    call_.same_float({"query", "weights"});
    call_.expect_dtype("weights.indices", FA_I64);
    for (const char* name : {"weights", "weights.indices"}) call_.expect_contiguous(name);
    const int64_t row = weights_row(p);
    p.weights = chosen_weights(p, p.weights, "weights", row);
    p.weights_keys = chosen_weights(p, p.weights_keys, "weights.indices", row);
    if (row > keys) {
      call_.value_error("weights.topk is " + std::to_string(row) + "; expected at most the " + std::to_string(keys) +
                        " keys; " + call_.show("key"));
    }
  }
  // And the gradient of those; keys: of the forward.
  void read_dweights(fa_attention_bwd_params& g, py::handle dweights, py::handle weights_keys) {
    g.dweights = call_.input(dweights, "dweights");
    g.fwd.weights_keys = call_.optional(weights_keys, "weights.indices");
    call_.same_float({"query", "dweights"});
    call_.expect_dtype("weights.indices", FA_I64);
    const int64_t row = weights_row(g.fwd);
    g.dweights = chosen_weights(g.fwd, g.dweights, "dweights", row);
    g.fwd.weights_keys = chosen_weights(g.fwd, g.fwd.weights_keys, "weights.indices", row);
  }

  // An array like query with the last axis of value.
  fa_tensor result(const fa_tensor& t, const char* name, const fa_tensor& like) {
    if (t.data == nullptr) return t;
    fa_tensor heads_view = as_heads(t, o_.bthd);
    bool same = t.ndim >= 2 && t.ndim <= 4;
    for (int i = 0; same && i < 4; ++i) same = heads_view.shape[i] == like.shape[i];
    if (!same) {
      fa_tensor expected = like;
      if (o_.bthd) std::swap(expected.shape[1], expected.shape[2]);
      call_.value_error(std::string(name) + " has shape " + shape_text(t.ndim, t.shape) + "; expected " +
                        shape_text(4, expected.shape));
    }
    if (like.shape[3] > 1 && heads_view.strides[3] != 1) {
      call_.value_error(std::string(name) + " is not contiguous along its last axis");
    }
    return heads_view;
  }

  // (..., H, T) as (B, H, T), and the same of other shapes.
  fa_tensor statistic(const fa_tensor& t, const char* name) { return statistic(t, name, {batch, heads, rows}); }
  fa_tensor statistic(const fa_tensor& t, const char* name, std::initializer_list<int64_t> shape) {
    if (t.data == nullptr) return t;
    fa_tensor like;
    like.ndim = 0;
    for (int64_t n : shape) like.shape[like.ndim++] = n;
    fa_tensor view = t;
    const int missing = like.ndim - t.ndim;
    if (missing >= 0) {
      for (int i = like.ndim - 1; i >= 0; --i) {
        view.shape[i] = i < missing ? 1 : t.shape[i - missing];
        view.strides[i] = i < missing ? 0 : t.strides[i - missing];
      }
      view.ndim = like.ndim;
    }
    bool same = missing >= 0;
    for (int i = 0; same && i < like.ndim; ++i) same = view.shape[i] == like.shape[i];
    if (!same) {
      call_.value_error(std::string(name) + " has shape " + shape_text(t.ndim, t.shape) + "; expected " +
                        shape_text(like.ndim, like.shape));
    }
    return view;
  }

  // The gradient of a broadcast argument: its own view, broadcast the same way, so that stride 0 says "sum".
  fa_tensor broadcast(const fa_tensor& t, const char* name, int axes) {
    if (t.data == nullptr) return t;
    const int64_t shape[4] = {batch, heads, rows, keys};
    fa_tensor view;
    if (!broadcast_view(t, axes, shape, view)) {
      call_.value_error(std::string(name) + " " + shape_text(t.ndim, t.shape) + " does not broadcast to " +
                        shape_text(axes, shape, axes == 4 ? "BHTS" : "BH") + "; " + shapes());
    }
    return view;
  }

  const fa_tensor& mask() const { return mask_; }

  int64_t batch = 0, heads = 0, rows = 0, keys = 0;

 private:
  // Keys of a row of weights: all, or as many as its indices.
  int64_t weights_row(const fa_attention_fwd_params& p) const {
    const fa_tensor& index = p.weights_keys;
    return index.data == nullptr || index.ndim == 0 ? keys : index.shape[index.ndim - 1];
  }
  fa_tensor chosen_weights(const fa_attention_fwd_params& p, const fa_tensor& t, const char* name, int64_t row) {
    const int64_t num_heads = p.weights_mean != 0               ? 1
                              : p.weights_heads.data != nullptr ? p.weights_heads.shape[0]
                                                                : heads;
    const int64_t num_rows = p.weights_rows.data != nullptr ? p.weights_rows.shape[0] : rows;
    return statistic(t, name, {batch, num_heads, num_rows, row});
  }
  static fa_tensor absent() {
    fa_tensor t;
    t.data = nullptr;
    return t;
  }
  fa_tensor chosen(const py::object& numbers, const char* name) {
    if (numbers.is_none()) return absent();
    fa_tensor view = call_.optional(numbers, name);
    call_.expect_dtype(name, FA_I64);
    if (view.data != nullptr && view.ndim != 1) call_.value_error(std::string(name) + " is not a row of numbers");
    return view;
  }

  std::string shapes() {
    const char* q = o_.bthd ? "BTHD" : "BHTD";
    const char* k = o_.bthd ? "BSHD" : "BHSD";
    return call_.show("query", q) + ", " + call_.show("key", k) + ", " + call_.show("value", k) + ", layout '" +
           (o_.bthd ? "bthd" : "bhtd") + "'";
  }

  Call& call_;
  const Options& o_;
  fa_tensor mask_;
};

void attention_fwd(py::handle query, py::handle key, py::handle value, py::handle mask, py::handle alibi_slopes,
                   py::handle sinks, py::handle out, py::handle lse, py::handle weights, py::handle weights_keys,
                   bool bthd, double dropout_p, uint64_t seed, uint64_t offset, bool is_causal,
                   std::optional<double> scale, bool enable_gqa, int causal_align, int64_t window_left,
                   int64_t window_right, double softcap, py::object weights_heads, py::object weights_rows,
                   bool weights_mean) {
  Call call(kOp);
  const Options o{bthd,         dropout_p,   seed,         offset,  is_causal,     scale,        enable_gqa,
                  causal_align, window_left, window_right, softcap, weights_heads, weights_rows, weights_mean};
  Attention attention(call, o);
  fa_attention_fwd_params p;
  attention.read(p, query, key, value, mask, alibi_slopes, sinks);
  p.out = call.output(out, "out");
  p.lse = call.optional_output(lse, "lse");
  call.same_float({"query", "out"}, {"lse"});
  fa_tensor like = p.query;
  like.shape[3] = p.value.shape[3];
  p.out = attention.result(p.out, "out", like);
  p.lse = attention.statistic(p.lse, "lse");
  if (!weights.is_none()) attention.read_weights(p, weights, weights_keys);
  call.run(&fa_table::attention_fwd, p);
}

void attention_bwd(py::handle query, py::handle key, py::handle value, py::handle mask, py::handle alibi_slopes,
                   py::handle sinks, py::handle out, py::handle lse, py::handle weights_keys, py::handle dout,
                   py::handle dlse, py::handle dweights, py::handle dquery, py::handle dkey, py::handle dvalue,
                   py::handle dmask, py::handle dalibi_slopes, py::handle dsinks, bool bthd, double dropout_p,
                   uint64_t seed, uint64_t offset, bool is_causal, std::optional<double> scale, bool enable_gqa,
                   int causal_align, int64_t window_left, int64_t window_right, double softcap,
                   py::object weights_heads, py::object weights_rows, bool weights_mean) {
  Call call(kOp);
  const Options o{bthd,         dropout_p,   seed,         offset,  is_causal,     scale,        enable_gqa,
                  causal_align, window_left, window_right, softcap, weights_heads, weights_rows, weights_mean};
  Attention attention(call, o);
  fa_attention_bwd_params p;
  attention.read(p.fwd, query, key, value, mask, alibi_slopes, sinks);
  const fa_tensor& out_view = call.input(out, "out");
  const fa_tensor& lse_view = call.input(lse, "lse");
  const fa_tensor& dout_view = call.input(dout, "dout");
  const fa_tensor& dlse_view = call.optional(dlse, "dlse");
  const fa_tensor& dquery_view = call.optional_output(dquery, "dquery");
  const fa_tensor& dkey_view = call.optional_output(dkey, "dkey");
  const fa_tensor& dvalue_view = call.optional_output(dvalue, "dvalue");
  const fa_tensor& dmask_view = call.optional_output(dmask, "dattn_mask");
  const fa_tensor& dalibi_view = call.optional_output(dalibi_slopes, "dalibi_slopes");
  const fa_tensor& dsinks_view = call.optional_output(dsinks, "dsinks");
  call.same_float({"query", "out", "dout", "dquery", "dkey", "dvalue", "dattn_mask"}, {"lse", "dlse"});
  fa_tensor like = p.fwd.query;
  like.shape[3] = p.fwd.value.shape[3];
  fa_tensor read_only = as_heads(out_view, bthd);
  p.fwd.out = read_only;
  p.fwd.lse = attention.statistic(lse_view, "lse");
  p.dout = as_heads(dout_view, bthd);
  bool same = out_view.ndim <= 4 && dout_view.ndim <= 4;
  for (int i = 0; i < 4; ++i) same &= p.fwd.out.shape[i] == like.shape[i] && p.dout.shape[i] == like.shape[i];
  if (!same) {
    call.value_error("out and dout differ from what the forward gives; " + call.show("out") + ", " + call.show("dout"));
  }
  p.dlse = attention.statistic(dlse_view, "dlse");
  p.dweights.data = nullptr;
  if (!dweights.is_none()) attention.read_dweights(p, dweights, weights_keys);
  p.dquery = attention.result(dquery_view, "dquery", p.fwd.query);
  p.dkey = attention.result(dkey_view, "dkey", p.fwd.key);
  p.dvalue = attention.result(dvalue_view, "dvalue", p.fwd.value);
  if (dmask_view.data != nullptr) call.expect_shape("dattn_mask", attention.mask());
  p.dmask = attention.broadcast(dmask_view, "dattn_mask", 4);
  p.dalibi_slopes = attention.broadcast(dalibi_view, "dalibi_slopes", 2);
  call.expect_shape("dsinks", p.fwd.sinks);
  p.dsinks = dsinks_view;
  for (const auto& [gradient, argument] :
       {std::pair{&p.dalibi_slopes, &p.fwd.alibi_slopes}, {&p.dsinks, &p.fwd.sinks}}) {
    if (gradient->data != nullptr && (argument->data == nullptr || argument->dtype != gradient->dtype)) {
      call.type_error("a gradient of slopes or sinks has not their dtype");
    }
  }
  call.run(&fa_table::attention_bwd, p);
}

}  // namespace

void bind_attention(py::module_& m) {
  m.def("attention_fwd", &attention_fwd);
  m.def("attention_bwd", &attention_bwd);
}

}  // namespace fastattn::bindings
