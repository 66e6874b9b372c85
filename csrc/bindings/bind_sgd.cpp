#include "bindings.h"
#include "list_arg.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "sgd_step";

void sgd_step(py::handle params, py::handle grads, py::handle momentum_buffers, py::handle masters, double lr,
              double momentum, double dampening, double weight_decay, double grad_scale, bool nesterov, bool maximize,
              bool first_step, bool zero_grads) {
  Call call(kOp);
  TensorLists lists(kOp);
  fa_sgd_step_params p;
  p.params = lists.read(params, "params", true);
  p.grads = lists.read(grads, "grads", zero_grads);
  p.momentum_buffers = lists.read_state(momentum_buffers, "momentum_buffers");
  p.masters = lists.read_state(masters, "masters");
  p.num_tensors = lists.size();
  lists.check_overlap();
  lists.place(call);
  lists.expect_half_params(p.masters);
  if (momentum != 0 && p.momentum_buffers == nullptr) call.value_error("momentum needs momentum_buffers");
  if (nesterov && (momentum <= 0 || dampening != 0))
    call.value_error("nesterov needs a momentum above 0 and no dampening");
  p.lr = lr;
  p.momentum = momentum;
  p.dampening = dampening;
  p.weight_decay = weight_decay;
  p.grad_scale = grad_scale;
  p.nesterov = nesterov;
  p.maximize = maximize;
  p.first_step = first_step;
  p.zero_grads = zero_grads;
  call.run(&fa_table::sgd_step, p);
}

}  // namespace

void bind_sgd(py::module_& m) { m.def("sgd_step", &sgd_step); }

}  // namespace fastattn::bindings
