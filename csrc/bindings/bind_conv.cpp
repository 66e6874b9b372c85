#include <pybind11/stl.h>

#include <array>

#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "conv";

// stride, dilation and the padding before and after, along H and W (along L alone: H has those of one row).
struct Attributes {
  std::array<int64_t, 2> stride, before, after, dilation;
  int64_t groups;
  int axes;  // 1 or 2
  bool channels_last;
};

void insert_axis(fa_tensor& t, int at) {
  for (int i = t.ndim; i > at; --i) {
    t.shape[i] = t.shape[i - 1];
    t.strides[i] = t.strides[i - 1];
  }
  t.shape[at] = 1;
  t.strides[at] = 0;
  ++t.ndim;
}

// A batch of images as (N, C, H, W).
fa_tensor as_images(fa_tensor t, const Attributes& a) {
  if (t.data == nullptr) return t;
  if (t.ndim == a.axes + 1) insert_axis(t, 0);
  if (a.channels_last) {
    const int64_t shape = t.shape[t.ndim - 1], stride = t.strides[t.ndim - 1];
    for (int i = t.ndim - 1; i > 1; --i) {
      t.shape[i] = t.shape[i - 1];
      t.strides[i] = t.strides[i - 1];
    }
    t.shape[1] = shape;
    t.strides[1] = stride;
  }
  if (a.axes == 1) insert_axis(t, 2);
  return t;
}

fa_tensor as_weight(fa_tensor t, const Attributes& a) {
  if (t.data != nullptr && a.axes == 1) insert_axis(t, 2);
  return t;
}

// The three shapes of a convolution, x's and the weight's given, and out's that follows.
struct Shapes {
  const char* axes;
  fa_tensor out;

  Shapes(Call& call, const Attributes& a, const fa_tensor& x, const fa_tensor& weight) {
    axes = a.axes == 1 ? (a.channels_last ? "NLC" : "NCL") : (a.channels_last ? "NHWC" : "NCHW");
    auto both = [&] { return call.show("x", axes) + ", " + call.show("weight"); };
    if (weight.ndim != a.axes + 2) {
      call.value_error(std::string("weight needs ") + (a.axes == 1 ? "3 axes (O, C, L)" : "4 axes (O, C, H, W)") +
                       "; " + call.show("weight"));
    }
    if (x.ndim != a.axes + 1 && x.ndim != a.axes + 2) {
      call.value_error("x needs " + std::to_string(a.axes + 2) + " axes, or one fewer without a batch; " +
                       call.show("x"));
    }
    if (a.groups < 1) call.value_error("groups is " + std::to_string(a.groups) + "; expected 1 or more");
    const int64_t channels = x.shape[x.ndim - (a.channels_last ? 1 : a.axes + 1)];
    if (weight.shape[0] % a.groups != 0) {
      call.value_error("groups " + std::to_string(a.groups) + " does not divide the output channels; " +
                       call.show("weight"));
    }
    if (channels != weight.shape[1] * a.groups) {
      call.value_error("x has " + std::to_string(channels) + " channels, and the weight takes " +
                       std::to_string(weight.shape[1] * a.groups) + " in " + std::to_string(a.groups) + " groups; " +
                       both());
    }
    out = x;
    const int first = x.ndim - a.axes - (a.channels_last ? 1 : 0);
    out.shape[a.channels_last ? x.ndim - 1 : first - 1] = weight.shape[0];
    for (int i = 0; i < a.axes; ++i) {
      const size_t axis = static_cast<size_t>(i + 2 - a.axes);
      const int64_t taps = weight.shape[2 + i];
      if (a.stride[axis] < 1) call.value_error("stride is " + std::to_string(a.stride[axis]) + "; expected 1 or more");
      if (a.dilation[axis] < 1)
        call.value_error("dilation is " + std::to_string(a.dilation[axis]) + "; expected 1 or more");
      if (a.before[axis] < 0 || a.after[axis] < 0) call.value_error("padding is negative");
      if (taps < 1) call.value_error("weight's kernel is empty; " + call.show("weight"));
      const int64_t length = x.shape[first + i] + a.before[axis] + a.after[axis];
      const int64_t reach = a.dilation[axis] * (taps - 1) + 1;
      if (length < reach) {
        call.value_error("the kernel reaches over " + std::to_string(reach) + " and the padded input has " +
                         std::to_string(length) + "; " + both());
      }
      out.shape[first + i] = (length - reach) / a.stride[axis] + 1;
    }
  }
};

Attributes attributes(const std::array<int64_t, 2>& stride, const std::array<int64_t, 4>& padding,
                      const std::array<int64_t, 2>& dilation, int64_t groups, int axes, bool channels_last) {
  return {stride, {padding[0], padding[1]}, {padding[2], padding[3]}, dilation, groups, axes, channels_last};
}

fa_conv_geometry geometry(const Attributes& a) {
  return {{a.stride[0], a.stride[1]}, {a.before[0], a.before[1]}, {a.dilation[0], a.dilation[1]}, a.groups};
}

void conv_fwd(py::handle x, py::handle weight, py::handle bias, py::handle out, const std::array<int64_t, 2>& stride,
              const std::array<int64_t, 4>& padding, const std::array<int64_t, 2>& dilation, int64_t groups, int axes,
              bool channels_last) {
  Call call(kOp);
  const fa_tensor& x_view = call.input(x, "x");
  const fa_tensor& weight_view = call.input(weight, "weight");
  fa_conv_fwd_params p;
  p.bias = call.optional(bias, "bias");
  const fa_tensor& out_view = call.output(out, "out");
  call.same_float({"x", "weight", "bias", "out"});
  const Attributes a = attributes(stride, padding, dilation, groups, axes, channels_last);
  const Shapes shapes(call, a, x_view, weight_view);
  call.expect_shape("bias", {weight_view.shape[0]});
  call.expect_shape("out", shapes.out);
  p.x = as_images(x_view, a);
  p.weight = as_weight(weight_view, a);
  p.out = as_images(out_view, a);
  p.geometry = geometry(a);
  call.run(&fa_table::conv_fwd, p);
}

// dx of the weight and dout; dweight and dbias of x and dout: each where it is not None.
void conv_bwd(py::handle x, py::handle weight, py::handle dout, py::handle dx, py::handle dweight, py::handle dbias,
              const std::array<int64_t, 2>& stride, const std::array<int64_t, 4>& padding,
              const std::array<int64_t, 2>& dilation, int64_t groups, int axes, bool channels_last) {
  Call call("conv backward");
  const fa_tensor& x_view = call.input(x, "x");
  const fa_tensor& weight_view = call.input(weight, "weight");
  const fa_tensor& dout_view = call.input(dout, "dout");
  const fa_tensor& dx_view = call.optional_output(dx, "dx");
  const fa_tensor& dweight_view = call.optional_output(dweight, "dweight");
  const fa_tensor& dbias_view = call.optional_output(dbias, "dbias");
  call.same_float({"x", "weight", "dout", "dx", "dweight", "dbias"});
  const Attributes a = attributes(stride, padding, dilation, groups, axes, channels_last);
  const Shapes shapes(call, a, x_view, weight_view);
  call.expect_shape("dout", shapes.out);
  call.expect_shape("dx", x_view);
  call.expect_shape("dweight", weight_view);
  call.expect_shape("dbias", {weight_view.shape[0]});
  if (dx_view.data != nullptr) {
    const fa_conv_bwd_input_params p{as_weight(weight_view, a), as_images(dout_view, a), as_images(dx_view, a),
                                     geometry(a)};
    call.run(&fa_table::conv_bwd_input, p);
  }
  if (dweight_view.data != nullptr || dbias_view.data != nullptr) {
    fa_tensor like = weight_view;  // the kernel's axes are read from it where there is no dweight
    if (dweight_view.data != nullptr) like = dweight_view;
    const fa_tensor dweight_or_shape = as_weight(like, a);
    fa_conv_bwd_weight_params p{as_images(x_view, a), as_images(dout_view, a), dweight_or_shape, dbias_view,
                                geometry(a)};
    if (dweight_view.data == nullptr) p.dweight.data = nullptr;
    call.run(&fa_table::conv_bwd_weight, p);
  }
}

}  // namespace

void bind_conv(py::module_& m) {
  m.def("conv_fwd", &conv_fwd);
  m.def("conv_bwd", &conv_bwd);
}

}  // namespace fastattn::bindings
