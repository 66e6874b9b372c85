#include <pybind11/stl.h>

#include <cmath>
#include <optional>

#include "bindings.h"
#include "list_arg.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "adam_step";

// A number, or an array of one element in the memory of a device, which stays there: the kernel reads it. What is not
// in such memory is read here; the tensor is then absent.
struct Number {
  Number(Call& call, py::handle object_, const char* name_) : object(object_), name(name_) {
    if (!PyFloat_Check(object.ptr()) && py::hasattr(object, "__cuda_array_interface__")) {
      tensor = call.input(object, name);
      if (!is_float(tensor.dtype) && tensor.dtype != FA_I64) {
        call.type_error(std::string(name) + " has dtype " + dtype_name(tensor.dtype) +
                        "; expected floating numbers or int64");
      }
      if (num_elements(tensor) != 1) call.value_error(std::string(name) + " needs one element; " + call.show(name));
      return;
    }
    try {
      value = py::cast<double>(py::hasattr(object, "item") ? object.attr("item")()
                                                           : py::reinterpret_borrow<py::object>(object));
    } catch (const std::exception&) {  // of an array of several elements, or what is no number
      call.type_error(std::string(name) + " is a " + Py_TYPE(object.ptr())->tp_name +
                      "; expected a number or an array of one");
    }
  }

  std::string text() const { return std::string(name) + " is " + std::string(py::str(object)); }

  double value = 0;
  fa_tensor tensor = {};
  py::handle object;
  const char* name;
};

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
  std::optional<double> step(py::handle found_inf, py::handle norm_out, py::handle step_number, py::handle lr_number,
                             double beta1, double beta2, double eps, double weight_decay, py::handle grad_scale_number,
                             std::optional<double> max_norm, bool decoupled, bool amsgrad, bool maximize) const {
    Call call(kOp);
    lists_.place(call);
    fa_adam_step_params p = p_;
    const Number step(call, step_number, "step"), lr(call, lr_number, "lr");
    const Number grad_scale(call, grad_scale_number, "grad_scale");
    if (amsgrad && p.max_exp_avg_sqs == nullptr) call.value_error("amsgrad needs max_exp_avg_sqs");
    const fa_tensor& inf = call.optional(found_inf, "found_inf");
    call.expect_dtype("found_inf", FA_F32);
    if (inf.data != nullptr && num_elements(inf) != 1)
      call.value_error("found_inf needs one element; " + call.show("found_inf"));
    p.found_inf = static_cast<const float*>(inf.data);
    if (step.tensor.data == nullptr) {
      if (!(step.value >= 1)) call.value_error(step.text() + "; the first step is 1");
      if (!(step.value < 0x1p53) || step.value != std::floor(step.value)) {
        call.value_error(step.text() + "; expected a whole number");
      }
    }
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
    p.lr = lr.value;
    p.lr_tensor = lr.tensor;
    p.beta1 = beta1;
    p.beta2 = beta2;
    p.eps = eps;
    p.weight_decay = weight_decay;
    p.grad_scale = grad_scale.value;
    p.grad_scale_tensor = grad_scale.tensor;
    p.step = static_cast<int64_t>(step.value);
    p.step_tensor = step.tensor;
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
