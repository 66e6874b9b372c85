#include <vector>

#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "batch_norm";

// Arrays of one shape (N, C, ...) or (N, ..., C) as (N, C, S1, S2): their axes of positions merge where the strides of
// all of them let them.
void as_channels(Call& call, std::initializer_list<fa_tensor*> arrays, bool channels_last) {
  const fa_tensor shape = **arrays.begin();
  const int first = channels_last ? 1 : 2, channels = channels_last ? shape.ndim - 1 : 1;
  struct Axis {
    int axis;  // the last of those merged
    int64_t size;
  };
  std::vector<Axis> kept;
  for (int axis = first; axis < first + shape.ndim - 2; ++axis) {
    if (shape.shape[axis] == 1) continue;
    bool merges = !kept.empty();
    for (const fa_tensor* t : arrays) {
      merges = merges && (t->data == nullptr || t->strides[kept.back().axis] == t->strides[axis] * shape.shape[axis]);
    }
    if (merges) {
      kept.back() = {axis, kept.back().size * shape.shape[axis]};
    } else {
      kept.push_back({axis, shape.shape[axis]});
    }
  }
  if (kept.size() > 2) {
    call.value_error(
        "input has positions along more than two axes that do not fold into one; pass a contiguous copy of it");
  }
  for (fa_tensor* t : arrays) {
    if (t->data == nullptr) continue;
    fa_tensor r = *t;
    r.ndim = 4;
    r.shape[0] = shape.shape[0];
    r.shape[1] = shape.shape[channels];
    r.strides[0] = t->strides[0];
    r.strides[1] = t->strides[channels];
    for (size_t i = 0; i < 2; ++i) {
      const bool there = i + kept.size() >= 2;
      r.shape[2 + i] = there ? kept[i + kept.size() - 2].size : 1;
      r.strides[2 + i] = there ? t->strides[kept[i + kept.size() - 2].axis] : 1;
    }
    *t = r;
  }
}

int64_t num_channels(Call& call, const fa_tensor& x, bool channels_last) {
  if (x.ndim < 2) call.value_error("input needs the axes (N, C) or more; " + call.show("input"));
  return x.shape[channels_last ? x.ndim - 1 : 1];
}

// (C), of x's dtype or its accumulator's.
void expect_channels(Call& call, const char* name, const fa_tensor& t, int32_t dtype, int64_t channels) {
  if (t.data == nullptr) return;
  if (t.dtype != dtype && t.dtype != accumulator(dtype)) {
    std::string expected = dtype_name(dtype);
    if (accumulator(dtype) != dtype) expected += std::string(" or ") + dtype_name(accumulator(dtype));
    call.type_error(std::string(name) + " is not of input's dtype; expected " + expected);
  }
  call.expect_shape(name, {channels});
}

void batch_norm_fwd(py::handle input, py::handle weight, py::handle bias, py::handle running_mean,
                    py::handle running_var, py::handle out, py::handle mean, py::handle rstd, bool training,
                    double momentum, double eps, bool channels_last) {
  Call call(kOp);
  fa_batch_norm_fwd_params p;
  const fa_tensor& x_view = call.input(input, "input");
  p.weight = call.optional(weight, "weight");
  p.bias = call.optional(bias, "bias");
  p.running_mean =
      training ? call.optional_output(running_mean, "running_mean") : call.optional(running_mean, "running_mean");
  p.running_var =
      training ? call.optional_output(running_var, "running_var") : call.optional(running_var, "running_var");
  const fa_tensor& out_view = call.output(out, "out");
  p.mean = call.optional_output(mean, "mean");
  p.rstd = call.optional_output(rstd, "rstd");
  const int32_t dtype = call.same_float({"input", "out"}, {"mean", "rstd"});
  const int64_t channels = num_channels(call, x_view, channels_last);
  expect_channels(call, "weight", p.weight, dtype, channels);
  expect_channels(call, "bias", p.bias, dtype, channels);
  expect_channels(call, "running_mean", p.running_mean, dtype, channels);
  expect_channels(call, "running_var", p.running_var, dtype, channels);
  if ((p.running_mean.data == nullptr) != (p.running_var.data == nullptr)) {
    call.value_error("running_mean and running_var are given together or not at all");
  }
  if (!training && p.running_mean.data == nullptr) {
    call.value_error("running_mean and running_var are None; expected them where training is False");
  }
  call.expect_shape("out", x_view);
  call.expect_shape("mean", {channels});
  call.expect_shape("rstd", {channels});
  if (training && channels > 0 && num_elements(x_view) == channels) {
    call.value_error("input has one value per channel, expected more when training; " + call.show("input"));
  }
  p.x = x_view;
  p.out = out_view;
  as_channels(call, {&p.x, &p.out}, channels_last);
  p.momentum = momentum;
  p.eps = eps;
  p.training = training;
  call.may_alias("out", "input");
  call.run(&fa_table::batch_norm_fwd, p);
}

void batch_norm_bwd(py::handle input, py::handle weight, py::handle mean, py::handle rstd, py::handle dout,
                    py::handle dx, py::handle dweight, py::handle dbias, bool training, bool channels_last) {
  Call call(kOp);
  fa_batch_norm_bwd_params p;
  const fa_tensor& x_view = call.input(input, "input");
  p.weight = call.optional(weight, "weight");
  p.mean = call.input(mean, "mean");
  p.rstd = call.input(rstd, "rstd");
  const fa_tensor& dout_view = call.input(dout, "dout");
  const fa_tensor& dx_view = call.optional_output(dx, "dx");
  p.dweight = call.optional_output(dweight, "dweight");
  p.dbias = call.optional_output(dbias, "dbias");
  const int32_t dtype = call.same_float({"input", "dout", "dx"}, {"mean", "rstd"});
  const int64_t channels = num_channels(call, x_view, channels_last);
  expect_channels(call, "weight", p.weight, dtype, channels);
  expect_channels(call, "dweight", p.dweight, dtype, channels);
  expect_channels(call, "dbias", p.dbias, dtype, channels);
  call.expect_shape("mean", {channels});
  call.expect_shape("rstd", {channels});
  call.expect_shape("dout", x_view);
  call.expect_shape("dx", x_view);
  p.x = x_view;
  p.dout = dout_view;
  p.dx = dx_view;
  as_channels(call, {&p.x, &p.dout, &p.dx}, channels_last);
  p.training = training;
  call.may_alias("dx", "dout");
  call.run(&fa_table::batch_norm_bwd, p);
}

}  // namespace

void bind_batch_norm(py::module_& m) {
  m.def("batch_norm_fwd", &batch_norm_fwd);
  m.def("batch_norm_bwd", &batch_norm_bwd);
}

}  // namespace fastattn::bindings
