#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "cross_entropy";

// input (..., C) against target (...): the axes of rows must agree.
void expect_targets(Call& call, const fa_tensor& x, const fa_tensor& t) {
  bool fits = x.ndim > 0 && t.ndim == x.ndim - 1;
  for (int i = 0; fits && i < t.ndim; ++i) fits = x.shape[i] == t.shape[i];
  if (!fits) {
    call.value_error("target needs the shape of input without its class axis; " + call.show("input") + ", " +
                     call.show("target"));
  }
}

void expect_losses(Call& call, const char* name, const fa_tensor& target, int reduction) {
  if (reduction == FA_REDUCE_NONE) {
    call.expect_shape(name, target);
  } else {
    call.expect_shape(name, {});
  }
}

void cross_entropy_fwd(py::handle input, py::handle target, py::handle loss, py::handle lse, int64_t ignore_index,
                       int reduction) {
  Call call(kOp);
  fa_cross_entropy_fwd_params p;
  const fa_tensor& x = call.input(input, "input");
  const fa_tensor& t = call.input(target, "target");
  p.loss = call.output(loss, "loss");
  p.lse = call.optional_output(lse, "lse");
  call.same_float({"input"}, {"loss", "lse"});
  call.expect_index("target");
  expect_targets(call, x, t);
  expect_losses(call, "loss", t, reduction);
  call.expect_shape("lse", t);
  p.logits = merge_rows(x, 1);
  p.target = merge_rows(t, 0);
  if (reduction == FA_REDUCE_NONE) p.loss = merge_rows(p.loss, 0);
  if (p.lse.data != nullptr) p.lse = merge_rows(p.lse, 0);
  p.ignore_index = ignore_index;
  p.reduction = reduction;
  call.run(&fa_table::cross_entropy_fwd, p);
}

void cross_entropy_bwd(py::handle input, py::handle target, py::handle lse, py::handle dloss, py::handle dlogits,
                       int64_t ignore_index, int reduction) {
  Call call(kOp);
  fa_cross_entropy_bwd_params p;
  const fa_tensor& x = call.input(input, "input");
  const fa_tensor& t = call.input(target, "target");
  const fa_tensor& lse_view = call.input(lse, "lse");
  p.dloss = call.input(dloss, "dloss");
  const fa_tensor& dx = call.output(dlogits, "dinput");
  call.same_float({"input", "dinput"}, {"lse", "dloss"});
  call.expect_index("target");
  expect_targets(call, x, t);
  expect_losses(call, "dloss", t, reduction);
  call.expect_shape("lse", t);
  call.expect_shape("dinput", x);
  if (x.shape[x.ndim - 1] > 1 && dx.strides[dx.ndim - 1] != 1) call.value_error("dinput is not contiguous");
  p.logits = merge_rows(x, 1);
  p.target = merge_rows(t, 0);
  p.lse = merge_rows(lse_view, 0);
  if (reduction == FA_REDUCE_NONE) p.dloss = merge_rows(p.dloss, 0);
  p.dlogits = merge_rows(dx, 1);
  p.ignore_index = ignore_index;
  p.reduction = reduction;
  call.run(&fa_table::cross_entropy_bwd, p);
}

}  // namespace

void bind_cross_entropy(py::module_& m) {
  m.def("cross_entropy_fwd", &cross_entropy_fwd);
  m.def("cross_entropy_bwd", &cross_entropy_bwd);
}

}  // namespace fastattn::bindings
