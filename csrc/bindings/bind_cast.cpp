#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

void cast(py::handle x, py::handle out) {
  Call call("cast");
  fa_cast_params p;
  p.x = call.input(x, "x");
  p.out = call.output(out, "out");
  call.same_float({"x"});
  call.same_float({"out"});
  call.expect_shape("out", p.x);
  call.run(&fa_table::cast, p);
}

}  // namespace

void bind_cast(py::module_& m) { m.def("cast", &cast); }

}  // namespace fastattn::bindings
