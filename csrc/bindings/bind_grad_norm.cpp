#include "bindings.h"
#include "list_arg.h"

namespace fastattn::bindings {
namespace {

// On a device the norm goes to `norm`, one float64 there; on the host, where that may be None, it is returned.
double grad_norm(py::handle grads, py::handle norm) {
  Call call("grad_norm");
  TensorLists lists("grad_norm");
  fa_grad_norm_params p;
  p.grads = lists.read(grads, "grads", false);
  p.num_tensors = lists.size();
  lists.check_overlap();
  lists.place(call);
  double total = 0;
  p.total = {&total, FA_F64, 0, {}, {}};
  const fa_tensor& given = call.optional_output(norm, "norm");
  call.expect_dtype("norm", FA_F64);
  call.expect_shape("norm", {});
  if (given.data != nullptr) p.total = given;
  if (given.data == nullptr && !call.place().on_cpu())
    call.type_error("norm is None; expected an array of one float64");
  call.run(&fa_table::grad_norm, p);
  return total;
}

void grad_scale(py::handle grads, double scale) {
  Call call("grad_scale");
  TensorLists lists("grad_scale");
  fa_grad_scale_params p;
  p.grads = lists.read(grads, "grads", true);
  p.num_tensors = lists.size();
  lists.check_overlap();
  lists.place(call);
  p.scale = scale;
  call.run(&fa_table::grad_scale, p);
}

}  // namespace

void bind_grad_norm(py::module_& m) {
  m.def("grad_norm", &grad_norm, py::arg("grads"), py::arg("norm") = py::none());
  m.def("grad_scale", &grad_scale);
}

}  // namespace fastattn::bindings
