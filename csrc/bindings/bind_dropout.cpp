#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

void dropout(py::handle x, py::handle out, double p, uint64_t seed, uint64_t offset) {
  Call call("dropout");
  fa_dropout_params params;
  params.x = call.input(x, "x");
  params.out = call.output(out, "out");
  call.same_float({"x", "out"});
  call.expect_shape("out", params.x);
  params.p = p;
  params.seed = seed;
  params.offset = offset;
  call.may_alias("out", "x");
  call.run(&fa_table::dropout, params);
}

}  // namespace

void bind_dropout(py::module_& m) { m.def("dropout", &dropout); }

}  // namespace fastattn::bindings
