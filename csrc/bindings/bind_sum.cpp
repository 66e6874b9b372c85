#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

// out: x's shape without the axes to sum, which `axes` names (none of them negative).
void sum(py::handle x, py::handle out, const py::tuple& axes, double scale) {
  Call call("sum");
  fa_sum_params p;
  p.x = call.input(x, "x");
  const fa_tensor& out_view = call.output(out, "out");
  call.same_float({"x", "out"});
  bool summed[FA_MAX_DIMS] = {};
  for (py::handle axis : axes) {
    const int64_t i = axis.cast<int64_t>();
    if (i < 0 || i >= p.x.ndim || summed[i]) {
      call.value_error("axes " + py::str(axes).cast<std::string>() + " are not different axes of " + call.show("x"));
    }
    summed[i] = true;
  }
  fa_tensor kept;
  kept.ndim = 0;
  for (int i = 0; i < p.x.ndim; ++i) {
    if (!summed[i]) kept.shape[kept.ndim++] = p.x.shape[i];
  }
  call.expect_shape("out", kept);
  p.out.data = out_view.data;
  p.out.dtype = out_view.dtype;
  p.out.ndim = p.x.ndim;
  for (int i = 0, j = 0; i < p.x.ndim; ++i) {
    p.out.shape[i] = summed[i] ? 1 : p.x.shape[i];
    p.out.strides[i] = summed[i] ? 0 : out_view.strides[j++];
  }
  p.scale = scale;
  call.run(&fa_table::sum, p);
}

}  // namespace

void bind_sum(py::module_& m) { m.def("sum", &sum); }

}  // namespace fastattn::bindings
