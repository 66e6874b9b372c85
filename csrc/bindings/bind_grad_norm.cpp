#include "bindings.h"
#include "list_arg.h"

namespace fastattn::bindings {
namespace {

double grad_norm(py::handle grads) {
  Call call("grad_norm");
  TensorLists lists("grad_norm");
  fa_grad_norm_params p;
  p.grads = lists.read(grads, "grads", false);
  p.num_tensors = lists.size();
  lists.check_overlap();
  double total = 0;
  p.total = {&total, FA_F64, 0, {}, {}};
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
  p.scale = scale;
  call.run(&fa_table::grad_scale, p);
}

}  // namespace

void bind_grad_norm(py::module_& m) {
  m.def("grad_norm", &grad_norm);
  m.def("grad_scale", &grad_scale);
}

}  // namespace fastattn::bindings
