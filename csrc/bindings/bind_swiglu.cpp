#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

// The halves of an array's last axis.
struct Halves {
  fa_tensor first, second;

  Halves(Call& call, const char* name, const fa_tensor& both) : first(both) {
    const int last = both.ndim - 1;
    if (both.ndim == 0 || both.shape[last] % 2 != 0) {
      call.value_error(call.show(name) + " does not split in halves along its last axis; pass gate and up");
    }
    first.shape[last] = both.shape[last] / 2;
    second = first;
    second.data = static_cast<char*>(both.data) + first.shape[last] * both.strides[last] * item_size(both.dtype);
  }
};

void swiglu_fwd(py::handle gate, py::handle up, py::handle out) {
  Call call("swiglu");
  fa_swiglu_fwd_params p;
  p.gate = call.input(gate, "gate");
  p.up = call.optional(up, "up");
  p.out = call.output(out, "out");
  call.same_float({"gate", "up", "out"});
  if (p.up.data == nullptr) {
    const Halves halves(call, "gate", p.gate);
    p.gate = halves.first;
    p.up = halves.second;
  } else {
    call.expect_shape("up", p.gate);
  }
  call.expect_shape("out", p.gate);
  call.may_alias("out", "gate");
  call.run(&fa_table::swiglu_fwd, p);
}

// dgate is the gradient of both halves where up is None.
void swiglu_bwd(py::handle gate, py::handle up, py::handle dout, py::handle dgate, py::handle dup) {
  Call call("swiglu");
  fa_swiglu_bwd_params p;
  p.gate = call.input(gate, "gate");
  p.up = call.optional(up, "up");
  p.dout = call.input(dout, "dout");
  p.dgate = call.output(dgate, "dgate");
  p.dup = call.optional_output(dup, "dup");
  call.same_float({"gate", "up", "dout", "dgate", "dup"});
  call.expect_shape("dgate", p.gate);
  if (p.up.data == nullptr) {
    const Halves halves(call, "gate", p.gate), gradients(call, "dgate", p.dgate);
    p.gate = halves.first;
    p.up = halves.second;
    p.dgate = gradients.first;
    p.dup = gradients.second;
  } else {
    call.expect_shape("up", p.gate);
    call.expect_shape("dup", p.gate);
  }
  call.expect_shape("dout", p.gate);
  call.run(&fa_table::swiglu_bwd, p);
}

}  // namespace

void bind_swiglu(py::module_& m) {
  m.def("swiglu_fwd", &swiglu_fwd);
  m.def("swiglu_bwd", &swiglu_bwd);
}

}  // namespace fastattn::bindings
