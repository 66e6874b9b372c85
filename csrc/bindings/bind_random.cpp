#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

void random_fill(py::handle array, int distribution, double a, double b, uint64_t seed, uint64_t offset) {
  Call call(distribution == FA_UNIFORM ? "uniform_" : "normal_");
  fa_random_fill_params p;
  p.out = call.output(array, "array");
  call.same_float({"array"});
  call.expect_contiguous("array");
  p.a = a;
  p.b = b;
  p.seed = seed;
  p.offset = offset;
  p.distribution = distribution;
  call.run(&fa_table::random_fill, p);
}

}  // namespace

void bind_random(py::module_& m) { m.def("random_fill", &random_fill); }

}  // namespace fastattn::bindings
