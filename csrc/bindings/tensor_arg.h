// Reading a Python array into a view: ndarrays through NumPy's C struct, others through DLPack's exchange table.
#pragma once

#include <pybind11/pybind11.h>

#include "ops/types.h"

namespace fastattn::bindings {

namespace py = pybind11;

struct Reading {
  bool writeable = true;
  bool on_cpu = true;
};

// Fills view from object; dtype is -1 for one that no op has. Raises TypeError or ValueError, with op and name, for
// what is not an array, has more than FA_MAX_DIMS axes, or is not aligned or in native byte order.
Reading read_tensor(py::handle object, const char* op, const char* name, fa_tensor& view);

// A new ndarray. 256 KB and more come from the caching allocator, smaller ones from NumPy.
py::object empty_array(py::handle shape, py::handle dtype, py::handle like);

const char* dtype_name(int32_t dtype);
void import_numpy();

}  // namespace fastattn::bindings
