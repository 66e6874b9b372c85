// fastattn._C: the one binding, compiled per CPython. It knows the C table and NumPy's struct, no kernel.
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "backend.h"
#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

void bind_runtime(py::module_& m) {
  m.def("empty", &empty_array, py::arg("shape"), py::arg("dtype"), py::arg("like") = py::none());
  m.def("isa_list", [] { return py::str(backend().variant_list()); });
  m.def("isa_active", [] { return py::str(backend().variant_active()); });
  m.def("isa_force", [](const std::optional<std::string>& name) {
    if (backend().variant_force(name ? name->c_str() : nullptr) != FA_OK) {
      throw py::value_error("force_isa: " + *name +
                            " is not one of what this machine runs: " + backend().variant_list());
    }
  });
  m.def("num_threads", [] { return cpu_backend().num_threads(); });
  m.def("set_num_threads", [](int n) { cpu_backend().set_num_threads(n); });
  m.def("empty_cache", [] { cpu_backend().empty_cache(); });
  m.def("cache_bytes", [] { return cpu_backend().cache_bytes(); });
  m.def("live_bytes", [] { return cpu_backend().live_bytes(); });
  m.def("last_kernel", [] { return py::str(last_kernel()); });
  m.def("start_recording", &start_recording);
  m.def("stop_recording", &stop_recording);
  m.def("layout", [] {  // sizes that the ABI test compares with the header's promises
    py::dict d;
    d["fa_tensor"] = sizeof(fa_tensor);
    d["fa_launch"] = sizeof(fa_launch);
    d["fa_table"] = sizeof(fa_table);
    return d;
  });
}

}  // namespace
}  // namespace fastattn::bindings

PYBIND11_MODULE(_C, m) {
  using namespace fastattn::bindings;
  import_numpy();
  unsupported_error = PyErr_NewExceptionWithDoc(
      "fastattn.UnsupportedError", "The backend has no kernel for what was asked; the message says for which part.",
      PyExc_NotImplementedError, nullptr);
  m.attr("UnsupportedError") = py::handle(unsupported_error);
  bind_runtime(m);
  bind_activation(m);
  bind_adam(m);
  bind_attention(m);
  bind_batch_norm(m);
  bind_binary(m);
  bind_cast(m);
  bind_conv(m);
  bind_cross_entropy(m);
  bind_device(m);
  bind_dropout(m);
  bind_embedding(m);
  bind_grad_norm(m);
  bind_layer_norm(m);
  bind_linear_cross_entropy(m);
  bind_matmul(m);
  bind_pool(m);
  bind_random(m);
  bind_recurrent(m);
  bind_rms_norm(m);
  bind_rope(m);
  bind_sgd(m);
  bind_softmax(m);
  bind_sum(m);
  bind_swiglu(m);
  bind_unary(m);
}
