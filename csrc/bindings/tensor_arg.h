// Reading a Python array into a view: ndarrays through NumPy's C struct, others through DLPack's exchange table or
// __cuda_array_interface__ (CuPy, Numba).
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "ops/types.h"

namespace fastattn::bindings {

namespace py = pybind11;

// Where an array is: in host memory, or on a CUDA device, whose work its producer orders by a stream.
struct Place {
  int32_t device = -1;  // -1: the host
  void* stream = nullptr;
  bool on_cpu() const { return device < 0; }
};
std::string to_string(Place place);  // as Python says it: "cpu", "cuda:0"

struct Reading {
  bool writeable = true;
  Place place = {};
};

// Fills view from object; dtype is -1 for one that no op has. Raises TypeError or ValueError, with op and name, for
// what is not an array, has more than FA_MAX_DIMS axes, or is not aligned or in native byte order.
Reading read_tensor(py::handle object, const char* op, const char* name, fa_tensor& view);

// Whether two views have an element in common; true where that is too hard to tell.
bool shares_memory(const fa_tensor& a, const fa_tensor& b);

// A new ndarray. 256 KB and more come from the caching allocator, smaller ones from NumPy.
py::object empty_array(py::handle shape, py::handle dtype, py::handle like);

const char* dtype_name(int32_t dtype);
void import_numpy();

}  // namespace fastattn::bindings
