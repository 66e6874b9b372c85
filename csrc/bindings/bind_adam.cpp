#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "list_arg.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "adam_step";

// The lists of a step, read and checked once; it keeps the arrays.
class AdamPlan {
 public:
  AdamPlan(py::handle params, py::handle grads, py::handle exp_avgs, py::handle exp_avg_sqs, py::handle max_exp_avg_sqs,
           py::handle masters, bool zero_grads)
      : lists_(kOp), arrays_(py::make_tuple(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, masters)) {
    p_.params = lists_.read(params, "params", true);
    p_.grads = lists_.read(grads, "grads", zero_grads);
    p_.exp_avgs = lists_.read_state(exp_avgs, "exp_avgs");
    p_.exp_avg_sqs = lists_.read_state(exp_avg_sqs, "exp_avg_sqs");
    p_.max_exp_avg_sqs = lists_.read_state(max_exp_avg_sqs, "max_exp_avg_sqs");
    p_.masters = lists_.read_state(masters, "masters");
    p_.num_tensors = lists_.size();
    p_.zero_grads = zero_grads;
    lists_.check_overlap();
    lists_.expect_half_params(p_.masters);
  }

  // The norm of the gradients, where max_norm is given; on a device it goes to `norm_out`, one float64 there.
  std::optional<double> step(py::handle found_inf, py::handle norm_out, int64_t step, double lr, double beta1,
                             double beta2, double eps, double weight_decay, double grad_scale,
                             std::optional<double> max_norm, bool decoupled, bool amsgrad, bool maximize) const {
    Call call(kOp);
    lists_.place(call);
    fa_adam_step_params p = p_;
    if (amsgrad && p.max_exp_avg_sqs == nullptr) call.value_error("amsgrad needs max_exp_avg_sqs");
    const fa_tensor& inf = call.optional(found_inf, "found_inf");
    call.expect_dtype("found_inf", FA_F32);
    if (inf.data != nullptr && num_elements(inf) != 1)
      call.value_error("found_inf needs one element; " + call.show("found_inf"));
    p.found_inf = static_cast<const float*>(inf.data);
    if (step < 1) call.value_error("step is " + std::to_string(step) + "; the first step is 1");
    if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1)) call.value_error("betas are two numbers of [0, 1)");
    if (!(eps >= 0)) call.value_error("eps is " + std::to_string(eps) + "; expected 0 or more");
    if (max_norm && !(*max_norm >= 0)) {
      call.value_error("max_norm is " + std::to_string(*max_norm) + "; expected 0 or more");
    }
    double norm = 0;
    const fa_tensor& given = call.optional_output(norm_out, "norm");
    call.expect_dtype("norm", FA_F64);
    call.expect_shape("norm", {});
    if (max_norm && given.data == nullptr && !call.place().on_cpu()) {
      call.type_error("norm is None; expected an array of one float64");
    }
    p.norm = !max_norm ? nullptr : given.data != nullptr ? static_cast<double*>(given.data) : &norm;
    p.max_norm = max_norm.value_or(0);
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
    call.run(&fa_table::adam_step, p);
    return max_norm ? std::optional<double>(norm) : std::nullopt;
  }

 private:
  TensorLists lists_;
  py::tuple arrays_;
  fa_adam_step_params p_ = {};
};

}  // namespace

void bind_adam(py::module_& m) {
  using List = py::handle;
  py::class_<AdamPlan>(m, "AdamPlan")
      .def(py::init<List, List, List, List, List, List, bool>())
      .def("step", &AdamPlan::step);
}

}  // namespace fastattn::bindings
