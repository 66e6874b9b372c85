#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

const char* cuda_unavailable() {
  const fa_table* table = cuda_backend();
  return table == nullptr ? "this build of fastattn has no CUDA backend" : table->unavailable();
}

const fa_table& cuda() {
  if (const char* why = cuda_unavailable()) throw std::runtime_error(why);
  return *cuda_backend();
}

py::dict device_info(int32_t device) {
  fa_device_info info;
  if (cuda().device_info(device, &info) != FA_OK) {
    throw py::value_error("device is " + std::to_string(device) + "; there are " +
                          std::to_string(cuda().device_count()) + " devices");
  }
  py::dict d;
  d["name"] = info.name;
  d["capability"] = py::make_tuple(info.major, info.minor);
  d["multiprocessors"] = info.num_multiprocessors;
  d["total_bytes"] = info.total_bytes;
  d["free_bytes"] = info.free_bytes;
  return d;
}

void synchronize(int32_t device) {
  const fa_table& table = cuda();
  const char* error;
  {
    py::gil_scoped_release release;
    error = table.synchronize(device);
  }
  if (error != nullptr) throw std::runtime_error("cuda:" + std::to_string(device) + ": " + error);
}

// A table's number, 0 where there is no CUDA backend: nothing is out, nothing is kept.
size_t bytes(size_t (*fa_table::*of)()) { return cuda_unavailable() == nullptr ? (cuda_backend()->*of)() : 0; }

}  // namespace

void bind_device(py::module_& m) {
  m.def("cuda_unavailable", [] { return cuda_unavailable(); });
  m.def("cuda_device_count", [] { return cuda_unavailable() == nullptr ? cuda().device_count() : 0; });
  m.def("cuda_device_info", &device_info);
  m.def("cuda_synchronize", &synchronize);
  m.def("cuda_empty_cache", [] {
    if (cuda_unavailable() == nullptr) cuda().empty_cache();
  });
  m.def("cuda_cache_bytes", [] { return bytes(&fa_table::cache_bytes); });
  m.def("cuda_live_bytes", [] { return bytes(&fa_table::live_bytes); });
  m.def("use_cuda_library", &use_cuda_library);
}

}  // namespace fastattn::bindings
