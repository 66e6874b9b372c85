#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

void gelu_fwd(py::handle x, py::handle out, bool tanh_form) {
  Call call("gelu");
  fa_gelu_fwd_params p;
  p.x = call.input(x, "x");
  p.out = call.output(out, "out");
  call.same_float({"x", "out"});
  call.expect_shape("out", p.x);
  p.tanh_form = tanh_form;
  call.may_alias("out", "x");
  call.run(&fa_table::gelu_fwd, p);
}

void gelu_bwd(py::handle x, py::handle dout, py::handle dx, bool tanh_form) {
  Call call("gelu");
  fa_gelu_bwd_params p;
  p.x = call.input(x, "x");
  p.dout = call.input(dout, "dout");
  p.dx = call.output(dx, "dx");
  call.same_float({"x", "dout", "dx"});
  call.expect_shape("dout", p.x);
  call.expect_shape("dx", p.x);
  p.tanh_form = tanh_form;
  call.may_alias("dx", "dout");
  call.run(&fa_table::gelu_bwd, p);
}

}  // namespace

void bind_gelu(py::module_& m) {
  m.def("gelu_fwd", &gelu_fwd);
  m.def("gelu_bwd", &gelu_bwd);
}

}  // namespace fastattn::bindings
