#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

const char* op_name(int form) {
  return form == FA_LOGSUMEXP ? "logsumexp" : form == FA_LOG_SOFTMAX ? "log_softmax" : "softmax";
}

int32_t normalized_axis(Call& call, int64_t axis, const fa_tensor& x) {
  if (x.ndim == 0) call.value_error("x has no axes");
  if (axis < -x.ndim || axis >= x.ndim) {
    call.value_error("axis " + std::to_string(axis) + " is out of range for x " + shape_text(x.ndim, x.shape));
  }
  return static_cast<int32_t>(axis < 0 ? axis + x.ndim : axis);
}

// The results of logsumexp (x without the axis, or with 1 there) with 1 along the axis.
fa_tensor with_axis(Call& call, const fa_tensor& out, const fa_tensor& x, int axis) {
  fa_tensor like = x;
  like.shape[axis] = 1;
  if (out.ndim == x.ndim) {
    call.expect_shape("out", like);
    return out;
  }
  --like.ndim;
  for (int i = axis; i < like.ndim; ++i) like.shape[i] = x.shape[i + 1];
  call.expect_shape("out", like);
  fa_tensor result = out;
  result.ndim = x.ndim;
  for (int i = x.ndim - 1; i >= 0; --i) {
    result.shape[i] = i == axis ? 1 : out.shape[i - (i > axis)];
    result.strides[i] = i == axis ? 1 : out.strides[i - (i > axis)];
  }
  return result;
}

void softmax_fwd(py::handle x, py::handle mask, py::handle out, int64_t axis, double scale, int form) {
  Call call(op_name(form));
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
  if (form == FA_LOGSUMEXP) {
    p.out = with_axis(call, p.out, p.x, p.axis);
  } else {
    call.expect_shape("out", p.x);
    call.may_alias("out", "x");
  }
  p.scale = scale;
  p.form = form;
  call.run(&fa_table::softmax_fwd, p);
}

void softmax_bwd(py::handle out, py::handle dout, py::handle dx, int64_t axis, double scale, int form) {
  Call call(op_name(form));
  fa_softmax_bwd_params p;
  p.out = call.input(out, "out");
  p.dout = call.input(dout, "dout");
  p.dx = call.output(dx, "dx");
  call.same_float({"out", "dout", "dx"});
  call.expect_shape("dout", p.out);
  call.expect_shape("dx", p.out);
  p.axis = normalized_axis(call, axis, p.out);
  p.scale = scale;
  p.form = form;
  call.may_alias("dx", "dout");
  call.run(&fa_table::softmax_bwd, p);
}

}  // namespace

void bind_softmax(py::module_& m) {
  m.def("softmax_fwd", &softmax_fwd);
  m.def("softmax_bwd", &softmax_bwd);
}

}  // namespace fastattn::bindings
