#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

// By fa_binary_function.
constexpr const char* kNames[] = {"add", "sub", "mul", "div", "maximum", "minimum"};

// a and b: arrays that broadcast to out, or one of them None for `scalar`.
void binary(py::handle a, py::handle b, py::handle out, double scalar, int function) {
  Call call(kNames[function]);
  fa_binary_params p;
  const fa_tensor& a_view = call.optional(a, "a");
  const fa_tensor& b_view = call.optional(b, "b");
  p.out = call.output(out, "out");
  call.same_float({"a", "b", "out"});
  if (a_view.data == nullptr && b_view.data == nullptr) call.type_error("a and b are None; expected an array");
  auto broadcast = [&](const char* name, const fa_tensor& view) {
    fa_tensor result;
    result.data = nullptr;
    if (view.data != nullptr && !broadcast_view(view, p.out.ndim, p.out.shape, result)) {
      call.value_error(call.show(name) + " does not broadcast to " + call.show("out"));
    }
    return result;
  };
  p.a = broadcast("a", a_view);
  p.b = broadcast("b", b_view);
  p.scalar = scalar;
  p.function = function;
  call.may_alias("out", a_view.data == p.out.data ? "a" : "b");
  call.run(&fa_table::binary, p);
}

}  // namespace

void bind_binary(py::module_& m) { m.def("binary", &binary); }

}  // namespace fastattn::bindings
