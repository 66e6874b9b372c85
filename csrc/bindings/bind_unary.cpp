#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kNames[] = {"exp", "log", "tanh", "erf"};

void unary(py::handle x, py::handle out, int function) {
  Call call(kNames[function]);
  fa_unary_params p;
  p.x = call.input(x, "x");
  p.out = call.output(out, "out");
  call.same_float({"x", "out"});
  call.expect_shape("out", p.x);
  p.function = function;
  call.may_alias("out", "x");
  call.run(&fa_table::unary, p);
}

}  // namespace

void bind_unary(py::module_& m) { m.def("unary", &unary); }

}  // namespace fastattn::bindings
