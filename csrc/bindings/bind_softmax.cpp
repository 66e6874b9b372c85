#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

const char* op_name(bool log) { return log ? "log_softmax" : "softmax"; }

int32_t normalized_axis(Call& call, int64_t axis, const fa_tensor& x) {
  if (x.ndim == 0) call.value_error("x has no axes");
  if (axis < -x.ndim || axis >= x.ndim) {
    call.value_error("axis " + std::to_string(axis) + " is out of range for x " + shape_text(x.ndim, x.shape));
  }
  return static_cast<int32_t>(axis < 0 ? axis + x.ndim : axis);
}

void softmax_fwd(py::handle x, py::handle mask, py::handle out, int64_t axis, double scale, bool log) {
  Call call(op_name(log));
  fa_softmax_fwd_params p;
  p.x = call.input(x, "x");
  p.mask = call.optional(mask, "mask");
  p.out = call.output(out, "out");
  call.same_float({"x", "out"});
  if (p.mask.data != nullptr) {
    if (p.mask.dtype != FA_BOOL && p.mask.dtype != p.x.dtype) {
      call.type_error(std::string("mask has dtype ") + dtype_name(p.mask.dtype) + "; expected bool (True = keep) or " +
                      dtype_name(p.x.dtype) + ", that of x");
    }
    fa_tensor view;
    if (!broadcast_view(p.mask, p.x.ndim, p.x.shape, view)) {
      call.value_error(call.show("mask") + " does not broadcast to " + call.show("x"));
    }
    p.mask = view;
  }
  p.axis = normalized_axis(call, axis, p.x);
  call.expect_shape("out", p.x);
  p.scale = scale;
  p.log = log;
  call.may_alias("out", "x");
  call.run(&fa_table::softmax_fwd, p);
}

void softmax_bwd(py::handle out, py::handle dout, py::handle dx, int64_t axis, double scale, bool log) {
  Call call(op_name(log));
  fa_softmax_bwd_params p;
  p.out = call.input(out, "out");
  p.dout = call.input(dout, "dout");
  p.dx = call.output(dx, "dx");
  call.same_float({"out", "dout", "dx"});
  call.expect_shape("dout", p.out);
  call.expect_shape("dx", p.out);
  p.axis = normalized_axis(call, axis, p.out);
  p.scale = scale;
  p.log = log;
  call.may_alias("dx", "dout");
  call.run(&fa_table::softmax_bwd, p);
}

}  // namespace

void bind_softmax(py::module_& m) {
  m.def("softmax_fwd", &softmax_fwd);
  m.def("softmax_bwd", &softmax_bwd);
}

}  // namespace fastattn::bindings
