#include "bindings.h"
#include "list_arg.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "adam_step";

void adam_step(py::handle params, py::handle grads, py::handle exp_avgs, py::handle exp_avg_sqs,
               py::handle max_exp_avg_sqs, py::handle masters, py::handle found_inf, int64_t step, double lr,
               double beta1, double beta2, double eps, double weight_decay, double grad_scale, bool decoupled,
               bool amsgrad, bool maximize, bool zero_grads) {
  Call call(kOp);
  TensorLists lists(kOp);
  fa_adam_step_params p;
  p.params = lists.read(params, "params", true);
  p.grads = lists.read(grads, "grads", zero_grads);
  p.exp_avgs = lists.read_state(exp_avgs, "exp_avgs");
  p.exp_avg_sqs = lists.read_state(exp_avg_sqs, "exp_avg_sqs");
  p.max_exp_avg_sqs = lists.read_state(max_exp_avg_sqs, "max_exp_avg_sqs");
  p.masters = lists.read_state(masters, "masters");
  p.num_tensors = lists.size();
  lists.check_overlap();
  lists.expect_half_params(p.masters);
  if (amsgrad && p.max_exp_avg_sqs == nullptr) call.value_error("amsgrad needs max_exp_avg_sqs");
  const fa_tensor& inf = call.optional(found_inf, "found_inf");
  call.expect_dtype("found_inf", FA_F32);
  if (inf.data != nullptr && num_elements(inf) != 1)
    call.value_error("found_inf needs one element; " + call.show("found_inf"));
  p.found_inf = static_cast<const float*>(inf.data);
  if (step < 1) call.value_error("step is " + std::to_string(step) + "; the first step is 1");
  if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1)) call.value_error("betas are two numbers of [0, 1)");
  if (!(eps >= 0)) call.value_error("eps is " + std::to_string(eps) + "; expected 0 or more");
  p.lr = lr;
  p.beta1 = beta1;
  p.beta2 = beta2;
  p.eps = eps;
  p.weight_decay = weight_decay;
  p.grad_scale = grad_scale;
  p.step = step;
  p.decoupled = decoupled;
  p.amsgrad = amsgrad;
  p.maximize = maximize;
  p.zero_grads = zero_grads;
  call.run(&fa_table::adam_step, p);
}

}  // namespace

void bind_adam(py::module_& m) { m.def("adam_step", &adam_step); }

}  // namespace fastattn::bindings
