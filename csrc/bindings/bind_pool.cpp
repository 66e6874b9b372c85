#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

// What a pooling is, in Python's terms: the attributes of ops/pool.py, of one or two axes.
struct Pooling {
  int mode;
  bool adaptive;
  py::tuple size;  // of a window, or adaptive of the result
  py::tuple stride, padding, dilation;
  bool ceil_mode, include_pad;
  int64_t divisor;
  bool channels_last;

  int axes() const { return static_cast<int>(size.size()); }
  const char* name() const {
    constexpr const char* kNames[2][2][2] = {
        {{"max_pool1d", "max_pool2d"}, {"adaptive_max_pool1d", "adaptive_max_pool2d"}},
        {{"avg_pool1d", "avg_pool2d"}, {"adaptive_avg_pool1d", "adaptive_avg_pool2d"}}};
    return kNames[mode != FA_POOL_MAX][adaptive][axes() - 1];
  }
};

Pooling pooling_of(const py::tuple& attrs) {
  return {attrs[0].cast<int>(),       attrs[1].cast<bool>(),      attrs[2].cast<py::tuple>(),
          attrs[3].cast<py::tuple>(), attrs[4].cast<py::tuple>(), attrs[5].cast<py::tuple>(),
          attrs[6].cast<bool>(),      attrs[7].cast<bool>(),      attrs[8].cast<int64_t>(),
          attrs[9].cast<bool>()};
}

// An array (N, C, L), (N, C, H, W), (N, H, W, C) or one without N as (N, C, H, W).
fa_tensor as_planes(const fa_tensor& t, const Pooling& p) {
  if (t.data == nullptr) return t;
  const int axes = p.axes(), first = t.ndim - axes - 1, channels = p.channels_last ? t.ndim - 1 : first;
  const int space = p.channels_last ? first : first + 1;
  fa_tensor r = {};
  r.data = t.data;
  r.dtype = t.dtype;
  r.ndim = 4;
  auto take = [&](int to, int from) {
    r.shape[to] = from < 0 ? 1 : t.shape[from];
    r.strides[to] = from < 0 ? 0 : t.strides[from];
  };
  take(0, first - 1);
  take(1, channels);
  take(2, axes == 2 ? space : -1);
  take(3, space + axes - 1);
  return r;
}

// Reads the numbers of an axis, or of each of two, and says which are out of range.
void read_numbers(Call& call, const char* name, const py::tuple& from, int64_t least, int64_t absent,
                  int64_t (&to)[2]) {
  to[0] = absent;
  const size_t axes = from.size();
  for (size_t i = 0; i < axes; ++i) {
    const int64_t value = from[i].cast<int64_t>();
    if (value < least || value > INT32_MAX) {
      call.value_error(std::string(name) + " is " + std::string(py::str(from[i])) + "; expected " +
                       std::to_string(least) + " or more");
    }
    to[2 - axes + i] = value;
  }
}

// The windows over x (N, C, H, W), and the shape of what they give.
fa_pool_window windows_of(Call& call, const Pooling& p, const char* plane, const fa_tensor& x, int64_t (&size)[2]) {
  fa_pool_window w = {};
  w.mode = p.mode;
  w.adaptive = p.adaptive;
  w.count_include_pad = p.include_pad;
  w.divisor = p.divisor;
  for (int i = 1; i < 4; ++i) {
    if (x.shape[i] == 0)
      call.value_error(std::string(plane) + " has an axis of size 0 that is not the batch; " + call.show(plane));
  }
  if (p.adaptive) {
    read_numbers(call, "output_size", p.size, 1, 1, size);
    for (int i = 0; i < 2; ++i) {
      // floor(o in / out) to ceil((o + 1) in / out): an end that is not whole reaches into one more element.
      const int64_t whole = x.shape[2 + i] / size[i], rest = x.shape[2 + i] % size[i];
      w.kernel[i] = rest == 0 ? whole : whole + 2;
      w.stride[i] = w.dilation[i] = 1;
    }
    return w;
  }
  read_numbers(call, "kernel_size", p.size, 1, 1, w.kernel);
  read_numbers(call, "stride", p.stride, 1, 1, w.stride);
  read_numbers(call, "padding", p.padding, 0, 0, w.padding);
  read_numbers(call, "dilation", p.dilation, 1, 1, w.dilation);
  for (int i = 0; i < 2; ++i) {
    const int64_t reach = w.dilation[i] * (w.kernel[i] - 1) + 1, in = x.shape[2 + i], padded = in + 2 * w.padding[i];
    if (w.padding[i] > reach / 2) {
      call.value_error("padding is " + std::to_string(w.padding[i]) + "; expected at most half of the window's " +
                       std::to_string(reach));
    }
    const int64_t steps = padded - reach + (p.ceil_mode ? w.stride[i] - 1 : 0);
    size[i] = steps < 0 ? 0 : steps / w.stride[i] + 1;
    // The last window starts inside x or the padding before it.
    if (p.ceil_mode && (size[i] - 1) * w.stride[i] >= in + w.padding[i]) --size[i];
    if (size[i] < 1) {
      call.value_error("a window of " + std::to_string(reach) + " does not fit into the padded axis of " +
                       std::to_string(padded) + " of " + call.show(plane));
    }
  }
  return w;
}

// x as (N, C, H, W).
fa_tensor planes(Call& call, const char* name, const fa_tensor& t, const Pooling& p) {
  const int axes = p.axes();
  if (t.ndim != axes + 1 && t.ndim != axes + 2) {
    const char* form = axes == 1         ? "(N, C, L) or (C, L)"
                       : p.channels_last ? "(N, H, W, C) or (H, W, C)"
                                         : "(N, C, H, W) or (C, H, W)";
    call.value_error(std::string(name) + " needs the axes " + form + "; " + call.show(name));
  }
  return as_planes(t, p);
}

// The shape of the result for an array `like` of x's shape.
void expect_pooled(Call& call, const char* name, const fa_tensor& like, const Pooling& p, const int64_t (&size)[2]) {
  fa_tensor t = like;
  const int last = p.channels_last ? t.ndim - 2 : t.ndim - 1;
  t.shape[last] = size[1];
  if (p.axes() == 2) t.shape[last - 1] = size[0];
  call.expect_shape(name, t);
}

void expect_index_of(Call& call, const fa_tensor& index, const fa_pool_window& w) {
  if (index.data == nullptr) return;
  if (index.dtype == FA_U8) {
    if (w.kernel[0] * w.kernel[1] > 256)
      call.type_error("index is uint8, which has no number for each tap of a window");
    return;
  }
  call.expect_dtype("index", FA_I64);
}

void pool_fwd(py::handle input, py::handle out, py::handle index, const py::tuple& attrs) {
  const Pooling pooling = pooling_of(attrs);
  Call call(pooling.name());
  fa_pool_fwd_params p;
  const fa_tensor& x_view = call.input(input, "input");
  const fa_tensor& out_view = call.output(out, "out");
  const fa_tensor& index_view = call.optional_output(index, "index");
  call.same_float({"input", "out"});
  int64_t size[2];
  p.x = planes(call, "input", x_view, pooling);
  p.window = windows_of(call, pooling, "input", p.x, size);
  expect_pooled(call, "out", x_view, pooling, size);
  expect_pooled(call, "index", x_view, pooling, size);
  expect_index_of(call, index_view, p.window);
  p.out = as_planes(out_view, pooling);
  p.index = as_planes(index_view, pooling);
  call.run(&fa_table::pool_fwd, p);
}

void pool_bwd(py::handle dout, py::handle index, py::handle dx, const py::tuple& attrs) {
  const Pooling pooling = pooling_of(attrs);
  Call call(pooling.name());
  fa_pool_bwd_params p;
  const fa_tensor& dout_view = call.input(dout, "dout");
  const fa_tensor& index_view = call.optional(index, "index");
  const fa_tensor& dx_view = call.output(dx, "dx");
  call.same_float({"dout", "dx"});
  int64_t size[2];
  p.dx = planes(call, "dx", dx_view, pooling);
  p.window = windows_of(call, pooling, "dx", p.dx, size);
  expect_pooled(call, "dout", dx_view, pooling, size);
  expect_pooled(call, "index", dx_view, pooling, size);
  expect_index_of(call, index_view, p.window);
  if (pooling.mode == FA_POOL_MAX && index_view.data == nullptr) call.type_error("index is None; expected an array");
  p.dout = as_planes(dout_view, pooling);
  p.index = as_planes(index_view, pooling);
  call.run(&fa_table::pool_bwd, p);
}

}  // namespace

void bind_pool(py::module_& m) {
  m.def("pool_fwd", &pool_fwd);
  m.def("pool_bwd", &pool_bwd);
}

}  // namespace fastattn::bindings
