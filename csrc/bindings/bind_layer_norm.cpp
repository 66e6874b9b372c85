#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "layer_norm";

// The normalised shape, checked against the last axes of x and against weight and bias.
struct Normalized {
  int ndim;
  int64_t shape[FA_MAX_DIMS];
  int64_t rows = 1, cols = 1;

  Normalized(Call& call, const fa_tensor& x, const py::tuple& normalized_shape) {
    ndim = static_cast<int>(normalized_shape.size());
    if (ndim == 0 || ndim > FA_MAX_DIMS) call.value_error("normalized_shape needs 1 to 8 axes");
    for (int i = 0; i < ndim; ++i) shape[i] = normalized_shape[static_cast<size_t>(i)].cast<int64_t>();
    bool fits = ndim <= x.ndim;
    for (int i = 0; fits && i < ndim; ++i) fits = x.shape[x.ndim - ndim + i] == shape[i];
    if (!fits) {
      call.value_error("normalized_shape " + shape_text(ndim, shape) + " is not that of the last axes of " +
                       call.show("x"));
    }
    for (int i = 0; i < x.ndim; ++i) (i < x.ndim - ndim ? rows : cols) *= x.shape[i];
  }

  void expect(Call& call, const char* name) const {
    fa_tensor like;
    like.ndim = ndim;
    for (int i = 0; i < ndim; ++i) like.shape[i] = shape[i];
    call.expect_shape(name, like);
    call.expect_contiguous(name);
  }

  // (rows..., C) of an array (..., *normalized_shape), whose normalised axes must be contiguous.
  fa_tensor fold(Call& call, const char* name, const fa_tensor& t) const {
    if (t.data == nullptr) return t;
    int64_t expected = 1;
    bool fits = true;
    for (int i = t.ndim - 1; i >= t.ndim - ndim; --i) {
      fits &= t.shape[i] == 1 || t.strides[i] == expected;
      expected *= t.shape[i];
    }
    if (!fits && rows * cols > 0) {
      call.value_error(std::string(name) +
                       " is not contiguous along its normalised axes; pass numpy.ascontiguousarray of it");
    }
    fa_tensor r = merge_rows(t, ndim);
    r.ndim -= ndim - 1;
    r.shape[r.ndim - 1] = cols;
    r.strides[r.ndim - 1] = 1;
    return r;
  }
};

fa_tensor flat(const fa_tensor& t) {
  fa_tensor r = t;
  if (t.data == nullptr) return r;
  r.ndim = 1;
  r.shape[0] = num_elements(t);
  r.strides[0] = 1;
  return r;
}

void layer_norm_fwd(py::handle x, py::handle weight, py::handle bias, py::handle out, py::handle mean, py::handle rstd,
                    const py::tuple& normalized_shape, double eps) {
  Call call(kOp);
  fa_layer_norm_fwd_params p;
  const fa_tensor& x_view = call.input(x, "x");
  p.weight = call.optional(weight, "weight");
  p.bias = call.optional(bias, "bias");
  const fa_tensor& out_view = call.output(out, "out");
  p.mean = call.optional_output(mean, "mean");
  p.rstd = call.optional_output(rstd, "rstd");
  call.same_float({"x", "weight", "bias", "out"}, {"mean", "rstd"});
  const Normalized n(call, x_view, normalized_shape);
  n.expect(call, "weight");
  n.expect(call, "bias");
  call.expect_shape("out", x_view);
  call.expect_shape("mean", {n.rows});
  call.expect_shape("rstd", {n.rows});
  p.x = n.fold(call, "x", x_view);
  p.out = n.fold(call, "out", out_view);
  p.weight = flat(p.weight);
  p.bias = flat(p.bias);
  p.eps = eps;
  call.may_alias("out", "x");
  call.run(&fa_table::layer_norm_fwd, p);
}

void layer_norm_bwd(py::handle x, py::handle weight, py::handle mean, py::handle rstd, py::handle dout, py::handle dx,
                    py::handle dweight, py::handle dbias, const py::tuple& normalized_shape) {
  Call call(kOp);
  fa_layer_norm_bwd_params p;
  const fa_tensor& x_view = call.input(x, "x");
  p.weight = call.optional(weight, "weight");
  p.mean = call.input(mean, "mean");
  p.rstd = call.input(rstd, "rstd");
  const fa_tensor& dout_view = call.input(dout, "dout");
  const fa_tensor& dx_view = call.optional_output(dx, "dx");
  p.dweight = call.optional_output(dweight, "dweight");
  p.dbias = call.optional_output(dbias, "dbias");
  call.same_float({"x", "weight", "dout", "dx", "dweight", "dbias"}, {"mean", "rstd"});
  const Normalized n(call, x_view, normalized_shape);
  n.expect(call, "weight");
  n.expect(call, "dweight");
  n.expect(call, "dbias");
  call.expect_shape("mean", {n.rows});
  call.expect_shape("rstd", {n.rows});
  call.expect_shape("dout", x_view);
  call.expect_shape("dx", x_view);
  p.x = n.fold(call, "x", x_view);
  p.dout = n.fold(call, "dout", dout_view);
  p.dx = n.fold(call, "dx", dx_view);
  p.weight = flat(p.weight);
  p.dweight = flat(p.dweight);
  p.dbias = flat(p.dbias);
  call.may_alias("dx", "dout");
  call.run(&fa_table::layer_norm_bwd, p);
}

}  // namespace

void bind_layer_norm(py::module_& m) {
  m.def("layer_norm_fwd", &layer_norm_fwd);
  m.def("layer_norm_bwd", &layer_norm_bwd);
}

}  // namespace fastattn::bindings
