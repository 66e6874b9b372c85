#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

// A table (T, R/2), (B, T, R/2) for an x (B, H, T, D), or one that broadcasts to x's rows, as a view with those axes.
fa_tensor table_view(Call& call, const char* name, const fa_tensor& table, const fa_tensor& x) {
  if (table.ndim == 0) call.value_error(call.show(name) + " has no axes; expected (T, R/2)");
  fa_tensor with_heads = table;
  if (x.ndim == 4 && table.ndim == 3) {
    with_heads.ndim = 4;
    with_heads.shape[1] = 1;
    with_heads.strides[1] = 0;
    for (int i = 1; i < 3; ++i) {
      with_heads.shape[i + 1] = table.shape[i];
      with_heads.strides[i + 1] = table.strides[i];
    }
  }
  int64_t shape[FA_MAX_DIMS];
  for (int i = 0; i < x.ndim - 1; ++i) shape[i] = x.shape[i];
  shape[x.ndim - 1] = table.shape[table.ndim - 1];
  fa_tensor result;
  if (!broadcast_view(with_heads, x.ndim, shape, result)) {
    call.value_error(call.show(name) + " does not broadcast to the rows of " + call.show("x") +
                     "; expected (T, R/2), or (B, T, R/2) for x (B, H, T, D)");
  }
  return result;
}

void rope(py::handle x, py::handle cos, py::handle sin, py::handle out, bool interleaved, bool inverse) {
  Call call("rope");
  fa_rope_params p;
  p.x = call.input(x, "x");
  const fa_tensor& cos_view = call.input(cos, "cos");
  const fa_tensor& sin_view = call.input(sin, "sin");
  p.out = call.output(out, "out");
  call.same_float({"x", "out"}, {"cos", "sin"});
  if (p.x.ndim < 2) call.value_error(call.show("x") + " has too few axes; expected (..., T, D)");
  call.expect_shape("sin", cos_view);
  call.expect_shape("out", p.x);
  p.cos = table_view(call, "cos", cos_view, p.x);
  p.sin = table_view(call, "sin", sin_view, p.x);
  const int64_t pairs = p.cos.shape[p.cos.ndim - 1], width = p.x.shape[p.x.ndim - 1];
  if (2 * pairs > width) {
    call.value_error(call.show("cos") + " turns " + std::to_string(2 * pairs) + " elements of a row, and " +
                     call.show("x") + " has " + std::to_string(width) + "; pass one column a pair");
  }
  p.interleaved = interleaved;
  p.inverse = inverse;
  call.may_alias("out", "x");
  call.run(&fa_table::rope, p);
}

}  // namespace

void bind_rope(py::module_& m) { m.def("rope", &rope); }

}  // namespace fastattn::bindings
