#include "bindings.h"
#include "normalized.h"

namespace fastattn::bindings {
namespace {

void rms_norm_fwd(py::handle x, py::handle weight, py::handle out, py::handle rstd, const py::tuple& normalized_shape,
                  double eps) {
  Call call("rms_norm");
  fa_rms_norm_fwd_params p;
  const fa_tensor& x_view = call.input(x, "x");
  p.weight = call.optional(weight, "weight");
  const fa_tensor& out_view = call.output(out, "out");
  p.rstd = call.optional_output(rstd, "rstd");
  call.same_float({"x", "weight", "out"}, {"rstd"});
  const Normalized n(call, x_view, normalized_shape);
  n.expect(call, "weight");
  call.expect_shape("out", x_view);
  call.expect_shape("rstd", {n.rows});
  p.x = n.fold(call, "x", x_view);
  p.out = n.fold(call, "out", out_view);
  p.weight = flat(p.weight);
  p.eps = eps;
  call.may_alias("out", "x");
  call.run(&fa_table::rms_norm_fwd, p);
}

void rms_norm_bwd(py::handle x, py::handle weight, py::handle rstd, py::handle dout, py::handle dx, py::handle dweight,
                  const py::tuple& normalized_shape) {
  Call call("rms_norm");
  fa_rms_norm_bwd_params p;
  const fa_tensor& x_view = call.input(x, "x");
  p.weight = call.optional(weight, "weight");
  p.rstd = call.input(rstd, "rstd");
  const fa_tensor& dout_view = call.input(dout, "dout");
  const fa_tensor& dx_view = call.optional_output(dx, "dx");
  p.dweight = call.optional_output(dweight, "dweight");
  call.same_float({"x", "weight", "dout", "dx", "dweight"}, {"rstd"});
  const Normalized n(call, x_view, normalized_shape);
  n.expect(call, "weight");
  n.expect(call, "dweight");
  call.expect_shape("rstd", {n.rows});
  call.expect_shape("dout", x_view);
  call.expect_shape("dx", x_view);
  p.x = n.fold(call, "x", x_view);
  p.dout = n.fold(call, "dout", dout_view);
  p.dx = n.fold(call, "dx", dx_view);
  p.weight = flat(p.weight);
  p.dweight = flat(p.dweight);
  call.may_alias("dx", "dout");
  call.run(&fa_table::rms_norm_bwd, p);
}

}  // namespace

void bind_rms_norm(py::module_& m) {
  m.def("rms_norm_fwd", &rms_norm_fwd);
  m.def("rms_norm_bwd", &rms_norm_bwd);
}

}  // namespace fastattn::bindings
