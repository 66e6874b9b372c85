#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

// By fa_activation.
constexpr const char* kNames[] = {"", "gelu", "gelu", "silu", "relu", "sigmoid"};

void activation_fwd(py::handle x, py::handle out, int activation) {
  Call call(kNames[activation]);
  fa_activation_fwd_params p;
  p.x = call.input(x, "x");
  p.out = call.output(out, "out");
  call.same_float({"x", "out"});
  call.expect_shape("out", p.x);
  p.activation = activation;
  call.may_alias("out", "x");
  call.run(&fa_table::activation_fwd, p);
}

void activation_bwd(py::handle x, py::handle dout, py::handle dx, int activation) {
  Call call(kNames[activation]);
  fa_activation_bwd_params p;
  p.x = call.input(x, "x");
  p.dout = call.input(dout, "dout");
  p.dx = call.output(dx, "dx");
  call.same_float({"x", "dout", "dx"});
  call.expect_shape("dout", p.x);
  call.expect_shape("dx", p.x);
  p.activation = activation;
  call.may_alias("dx", "dout");
  call.run(&fa_table::activation_bwd, p);
}

}  // namespace

void bind_activation(py::module_& m) {
  m.def("activation_fwd", &activation_fwd);
  m.def("activation_bwd", &activation_bwd);
}

}  // namespace fastattn::bindings
