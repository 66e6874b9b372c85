#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "linear_cross_entropy";

void linear_cross_entropy(py::handle input, py::handle weight, py::handle target, py::handle bias, py::handle dloss,
                          py::handle loss, py::handle dinput, py::handle dweight, py::handle dbias,
                          int64_t ignore_index, int reduction, double label_smoothing) {
  Call call(kOp);
  fa_linear_cross_entropy_params p;
  const fa_tensor& x = call.input(input, "input");
  p.weight = call.input(weight, "weight");
  const fa_tensor& t = call.input(target, "target");
  p.bias = call.optional(bias, "bias");
  const fa_tensor& dloss_view = call.optional(dloss, "dloss");
  const fa_tensor& loss_view = call.optional_output(loss, "loss");
  const fa_tensor& dx = call.optional_output(dinput, "dinput");
  p.dweight = call.optional_output(dweight, "dweight");
  p.dbias = call.optional_output(dbias, "dbias");
  call.same_float({"input", "weight", "bias"}, {"dloss", "loss", "dinput", "dweight", "dbias"});
  call.expect_index("target");
  if (x.ndim == 0 || p.weight.ndim != 2 || x.shape[x.ndim - 1] != p.weight.shape[1]) {
    call.value_error("expected input (..., D) and weight (V, D); " + call.show("input") + ", " + call.show("weight"));
  }
  bool fits = t.ndim == x.ndim - 1;
  for (int i = 0; fits && i < t.ndim; ++i) fits = x.shape[i] == t.shape[i];
  if (!fits) {
    call.value_error("target needs the shape of input without its last axis; " + call.show("input") + ", " +
                     call.show("target"));
  }
  if (!(label_smoothing >= 0 && label_smoothing <= 1)) {
    call.value_error("label_smoothing is " + py::repr(py::float_(label_smoothing)).cast<std::string>() +
                     "; expected 0 to 1");
  }
  call.expect_shape("bias", {p.weight.shape[0]});
  call.expect_shape("dloss", t);
  if (reduction == FA_REDUCE_NONE) {
    call.expect_shape("loss", t);
  } else {
    call.expect_shape("loss", {});
  }
  call.expect_shape("dinput", x);
  call.expect_shape("dweight", p.weight);
  call.expect_shape("dbias", {p.weight.shape[0]});
  for (const char* name : {"dinput", "dweight", "dbias"}) call.expect_contiguous(name);
  auto rows = [](const fa_tensor& view, int trailing) {
    return view.data == nullptr ? view : merge_rows(view, trailing);
  };
  p.input = rows(x, 1);
  p.target = rows(t, 0);
  p.dloss = rows(dloss_view, 0);
  p.loss = reduction == FA_REDUCE_NONE ? rows(loss_view, 0) : loss_view;
  p.dinput = rows(dx, 1);
  p.ignore_index = ignore_index;
  p.reduction = reduction;
  p.label_smoothing = label_smoothing;
  call.run(&fa_table::linear_cross_entropy, p);
}

// out = dloss * grad, in the dtype of out.
void linear_cross_entropy_bwd(py::handle grad, py::handle dloss, py::handle out) {
  Call call("linear_cross_entropy backward");
  fa_linear_cross_entropy_bwd_params p;
  p.grad = call.input(grad, "grad");
  p.dloss = call.optional(dloss, "dloss");
  p.out = call.output(out, "out");
  call.same_float({"out"}, {"grad", "dloss"});
  call.expect_shape("dloss", {});
  call.expect_shape("out", p.grad);
  call.expect_contiguous("grad");
  call.expect_contiguous("out");
  call.run(&fa_table::linear_cross_entropy_bwd, p);
}

}  // namespace

void bind_linear_cross_entropy(py::module_& m) {
  m.def("linear_cross_entropy", &linear_cross_entropy);
  m.def("linear_cross_entropy_bwd", &linear_cross_entropy_bwd);
}

}  // namespace fastattn::bindings
