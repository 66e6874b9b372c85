#include "bindings.h"
#include "normalized.h"

namespace fastattn::bindings {
namespace {

void layer_norm_fwd(py::handle x, py::handle weight, py::handle bias, py::handle out, py::handle mean, py::handle rstd,
                    const py::tuple& normalized_shape, double eps) {
  Call call("layer_norm");
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
  Call call("layer_norm");
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
