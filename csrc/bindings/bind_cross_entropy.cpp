#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "cross_entropy";

// What both passes read alike.
class Loss {
 public:
  Loss(Call& call, py::handle input, py::handle target, py::handle weight, int64_t ignore_index, int reduction,
       double label_smoothing)
      : call_(call), reduction_(reduction) {
    x_ = call.input(input, "input");
    t_ = call.input(target, "target");
    weight_ = call.optional(weight, "weight");
    classes_ = x_.ndim > 0 ? x_.shape[x_.ndim - 1] : 0;
    probabilities_ = is_float(t_.dtype);
    if (!(label_smoothing >= 0 && label_smoothing <= 1)) {
      call.value_error("label_smoothing is " + number_text(label_smoothing) + "; expected 0 to 1");
    }
    if (probabilities_ && ignore_index >= 0) {
      call.value_error("ignore_index is " + std::to_string(ignore_index) +
                       "; a target of probabilities ignores no class, leave it out");
    }
  }
  // After the outputs have been read: shapes and dtypes of what is common.
  void check(std::initializer_list<const char*> like_input, std::initializer_list<const char*> statistics) {
    call_.same_float({"input"}, statistics);
    if (probabilities_) {
      call_.same_float({"input", "target"});
    } else {
      call_.expect_index("target");
    }
    call_.same_float({"input", "weight"});
    bool fits = x_.ndim > 0 && t_.ndim == x_.ndim - (probabilities_ ? 0 : 1);
    for (int i = 0; fits && i < t_.ndim; ++i) fits = x_.shape[i] == t_.shape[i];
    if (!fits) {
      call_.value_error(std::string(probabilities_ ? "a target of probabilities needs the shape of input; "
                                                   : "target needs the shape of input without its class axis; ") +
                        call_.show("input") + ", " + call_.show("target"));
    }
    call_.expect_shape("weight", {classes_});
    if (probabilities_) rows_contiguous("target", t_);
    for (const char* name : like_input) call_.expect_shape(name, x_);
  }
  void rows_contiguous(const char* name, const fa_tensor& t) {
    if (t.data != nullptr && classes_ > 1 && t.strides[t.ndim - 1] != 1) {
      call_.value_error(std::string(name) + " is not contiguous along its classes");
    }
  }
  // One number a row, and those of the reduced loss.
  void expect_rows(const char* name) {
    fa_tensor like = x_;
    --like.ndim;
    call_.expect_shape(name, like);
  }
  void expect_loss(const char* name) {
    if (reduction_ == FA_REDUCE_NONE) {
      expect_rows(name);
    } else {
      call_.expect_shape(name, {});
    }
  }
  fa_tensor loss_view(const fa_tensor& t) const { return reduction_ == FA_REDUCE_NONE ? merge_rows(t, 0) : t; }

  template <class Params>
  void fill(Params& p) const {
    p.logits = merge_rows(x_, 1);
    p.target = merge_rows(t_, probabilities_ ? 1 : 0);
    p.weight = weight_;
  }

 private:
  static std::string number_text(double x) { return py::repr(py::float_(x)).cast<std::string>(); }

  Call& call_;
  const int reduction_;
  fa_tensor x_, t_, weight_;
  int64_t classes_;
  bool probabilities_;
};

fa_tensor rows_of(const fa_tensor& t, int trailing) { return t.data == nullptr ? t : merge_rows(t, trailing); }

void cross_entropy_fwd(py::handle input, py::handle target, py::handle weight, py::handle loss, py::handle lse,
                       int64_t ignore_index, int reduction, double label_smoothing) {
  Call call(kOp);
  Loss args(call, input, target, weight, ignore_index, reduction, label_smoothing);
  fa_cross_entropy_fwd_params p;
  p.loss = call.output(loss, "loss");
  p.lse = call.optional_output(lse, "lse");
  args.check({}, {"loss", "lse"});
  args.expect_loss("loss");
  args.expect_rows("lse");
  args.fill(p);
  p.loss = args.loss_view(p.loss);
  p.lse = rows_of(p.lse, 0);
  p.ignore_index = ignore_index;
  p.reduction = reduction;
  p.label_smoothing = label_smoothing;
  call.run(&fa_table::cross_entropy_fwd, p);
}

void cross_entropy_bwd(py::handle input, py::handle target, py::handle weight, py::handle lse, py::handle dloss,
                       py::handle dlogits, py::handle dtarget, int64_t ignore_index, int reduction,
                       double label_smoothing) {
  Call call(kOp);
  Loss args(call, input, target, weight, ignore_index, reduction, label_smoothing);
  fa_cross_entropy_bwd_params p;
  p.lse = call.input(lse, "lse");
  p.dloss = call.input(dloss, "dloss");
  p.dlogits = call.optional_output(dlogits, "dinput");
  p.dtarget = call.optional_output(dtarget, "dtarget");
  call.same_float({"input", "dinput", "dtarget"});
  args.check({"dinput", "dtarget"}, {"lse", "dloss"});
  args.expect_loss("dloss");
  args.expect_rows("lse");
  args.rows_contiguous("dinput", p.dlogits);
  args.rows_contiguous("dtarget", p.dtarget);
  args.fill(p);
  p.lse = merge_rows(p.lse, 0);
  p.dloss = args.loss_view(p.dloss);
  p.dlogits = rows_of(p.dlogits, 1);
  p.dtarget = rows_of(p.dtarget, 1);
  p.ignore_index = ignore_index;
  p.reduction = reduction;
  p.label_smoothing = label_smoothing;
  call.run(&fa_table::cross_entropy_bwd, p);
}

}  // namespace

void bind_cross_entropy(py::module_& m) {
  m.def("cross_entropy_fwd", &cross_entropy_fwd);
  m.def("cross_entropy_bwd", &cross_entropy_bwd);
}

}  // namespace fastattn::bindings
