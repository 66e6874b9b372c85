#include "tensor_arg.h"

#define PY_ARRAY_UNIQUE_SYMBOL fastattn_ARRAY_API
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#include <new>
#include <string>
#include <unordered_map>

#include "backend.h"
#include "call.h"
#include "common/dlpack.h"

namespace fastattn::bindings {
namespace {

constexpr size_t kCachedFrom = size_t{256} << 10;  // bytes

// data of an empty tensor that its producer gave no memory: present, and never read.
char no_elements;

int bfloat16_num = -1;  // ml_dtypes' type number: such arrays have neither buffer nor DLPack

int32_t numpy_dtype(int type_num) {
  switch (type_num) {
    case NPY_FLOAT32: return FA_F32;
    case NPY_FLOAT64: return FA_F64;
    case NPY_FLOAT16: return FA_F16;
    case NPY_BOOL: return FA_BOOL;
    case NPY_UINT8: return FA_U8;
    case NPY_INT8: return FA_I8;
    case NPY_INT16: return FA_I16;
    case NPY_INT32: return FA_I32;
    case NPY_LONG: return sizeof(long) == 8 ? FA_I64 : FA_I32;
    case NPY_LONGLONG: return FA_I64;
    default: return type_num == bfloat16_num ? int32_t{FA_BF16} : -1;
  }
}

int32_t dlpack_dtype(dlpack::DataType t) {
  if (t.lanes != 1) return -1;
  const int key = t.code << 8 | t.bits;
  switch (key) {
    case dlpack::kFloat << 8 | 32: return FA_F32;
    case dlpack::kFloat << 8 | 64: return FA_F64;
    case dlpack::kFloat << 8 | 16: return FA_F16;
    case dlpack::kBfloat << 8 | 16: return FA_BF16;
    case dlpack::kBool << 8 | 8: return FA_BOOL;
    case dlpack::kUInt << 8 | 8: return FA_U8;
    case dlpack::kInt << 8 | 8: return FA_I8;
    case dlpack::kInt << 8 | 16: return FA_I16;
    case dlpack::kInt << 8 | 32: return FA_I32;
    case dlpack::kInt << 8 | 64: return FA_I64;
    default: return -1;
  }
}

std::string prefix(const char* op, const char* name) { return std::string(op) + ": " + name; }

void check_ndim(int ndim, const char* op, const char* name) {
  if (ndim > FA_MAX_DIMS) {
    throw py::value_error(prefix(op, name) + " has " + std::to_string(ndim) + " axes; at most " +
                          std::to_string(FA_MAX_DIMS) + " are supported, reshape it first");
  }
}

bool is_empty(const fa_tensor& t) {
  for (int i = 0; i < t.ndim; ++i) {
    if (t.shape[i] == 0) return true;
  }
  return false;
}

// The strides of an empty array say nothing, and producers differ in them.
void make_row_major(fa_tensor& t) {
  int64_t stride = 1;
  for (int i = t.ndim - 1; i >= 0; --i) {
    t.strides[i] = stride;
    stride *= t.shape[i] > 1 ? t.shape[i] : 1;
  }
}

Reading read_ndarray(PyArrayObject* array, const char* op, const char* name, fa_tensor& view) {
  const int ndim = PyArray_NDIM(array);
  check_ndim(ndim, op, name);
  const PyArray_Descr* descr = PyArray_DESCR(array);
  if (!PyArray_ISALIGNED(array) || PyDataType_ISBYTESWAPPED(descr)) {
    throw py::value_error(
        prefix(op, name) +
        " is not aligned or not in native byte order; pass numpy.ascontiguousarray of it in its native dtype");
  }
  view.data = PyArray_DATA(array);
  view.dtype = numpy_dtype(descr->type_num);
  view.ndim = ndim;
  const npy_intp size = PyArray_ITEMSIZE(array);
  for (int i = 0; i < ndim; ++i) {
    view.shape[i] = PyArray_DIM(array, i);
    const npy_intp stride = PyArray_STRIDE(array, i);
    if (size != 0 && stride % size != 0 && view.shape[i] > 1) {
      throw py::value_error(prefix(op, name) + " has a stride that is no multiple of its element; pass a copy of it");
    }
    view.strides[i] = size == 0 ? 0 : stride / size;
  }
  return {.writeable = PyArray_ISWRITEABLE(array) != 0};
}

// A type's exchange table, or nullptr. Looked up once per type; types live as long as their module.
const dlpack::ExchangeApi* exchange_api(PyTypeObject* type) {
  static std::unordered_map<PyTypeObject*, const dlpack::ExchangeApi*> known;
  auto found = known.find(type);
  if (found != known.end()) return found->second;
  const dlpack::ExchangeApi* api = nullptr;
  py::object capsule = py::getattr(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__", py::none());
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::kExchangeName)) {
    api = static_cast<const dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kExchangeName));
    if (api->header.version.major != 1) api = nullptr;
  }
  known.emplace(type, api);
  return api;
}

Reading read_dlpack(const dlpack::ExchangeApi& api, py::handle object, const char* op, const char* name,
                    fa_tensor& view) {
  dlpack::Tensor t;
  if (api.dltensor_from_py_object_no_sync(object.ptr(), &t) != 0) {
    py::error_already_set cause;  // such as torch's meta device, which has no memory
    py::raise_from(cause, PyExc_TypeError, (prefix(op, name) + " cannot be read through DLPack").c_str());
    throw py::error_already_set();
  }
  check_ndim(t.ndim, op, name);
  view.data = t.data == nullptr ? &no_elements : static_cast<char*>(t.data) + t.byte_offset;
  view.dtype = dlpack_dtype(t.dtype);
  view.ndim = t.ndim;
  int64_t row_major = 1;
  for (int i = t.ndim - 1; i >= 0; --i) {
    view.shape[i] = t.shape[i];
    view.strides[i] = t.strides == nullptr ? row_major : t.strides[i];
    row_major *= t.shape[i];
  }
  if (t.device.device_type == dlpack::kCpu) return {};
  if (t.device.device_type != dlpack::kCuda) {
    throw py::type_error(prefix(op, name) + " is on a device that fastattn does not run on");
  }
  Place place{.device = t.device.device_id};
  if (api.current_work_stream != nullptr &&
      api.current_work_stream(t.device.device_type, t.device.device_id, &place.stream) != 0) {
    throw py::error_already_set();
  }
  return {.place = place};
}

// CuPy's arrays. The interface has no bfloat16: the dtype is read off the array, which is NumPy's there.
Reading read_cuda_interface(py::handle object, const py::dict& interface, const char* op, const char* name,
                            fa_tensor& view) {
  const py::tuple shape = interface["shape"], data = interface["data"];
  const int ndim = static_cast<int>(shape.size());
  check_ndim(ndim, op, name);
  const py::object descr = object.attr("dtype");
  if (!PyArray_DescrCheck(descr.ptr())) throw py::type_error(prefix(op, name) + " has no dtype of NumPy's");
  const auto* dtype = reinterpret_cast<PyArray_Descr*>(descr.ptr());
  const int64_t size = PyDataType_ELSIZE(dtype);
  const auto address = data[0].cast<uintptr_t>();
  view.data = address == 0 ? &no_elements : reinterpret_cast<void*>(address);
  view.dtype = numpy_dtype(dtype->type_num);
  view.ndim = ndim;
  for (int i = 0; i < ndim; ++i) view.shape[i] = shape[static_cast<size_t>(i)].cast<int64_t>();
  const py::object strides = interface.contains("strides") ? py::object(interface["strides"]) : py::none();
  if (strides.is_none()) {
    make_row_major(view);
  } else {
    for (int i = 0; i < ndim; ++i) {
      const int64_t bytes = py::tuple(strides)[static_cast<size_t>(i)].cast<int64_t>();
      if (bytes % size != 0 && view.shape[i] > 1) {
        throw py::value_error(prefix(op, name) + " has a stride that is no multiple of its element; pass a copy of it");
      }
      view.strides[i] = bytes / size;
    }
  }
  Place place{.device = 0};
  const py::object device = py::getattr(object, "device", py::none());
  if (py::hasattr(device, "id")) place.device = device.attr("id").cast<int32_t>();
  // 1 and 2 stand for the legacy and the per-thread default stream, as they do to CUDA's runtime.
  const py::object stream = interface.contains("stream") ? py::object(interface["stream"]) : py::none();
  if (!stream.is_none()) place.stream = reinterpret_cast<void*>(stream.cast<uintptr_t>());
  return {.writeable = !data[1].cast<bool>(), .place = place};
}

}  // namespace

Reading read_tensor(py::handle object, const char* op, const char* name, fa_tensor& view) {
  Reading reading;
  if (PyArray_Check(object.ptr())) {
    reading = read_ndarray(reinterpret_cast<PyArrayObject*>(object.ptr()), op, name, view);
  } else if (const auto* api = exchange_api(Py_TYPE(object.ptr()))) {
    reading = read_dlpack(*api, object, op, name, view);
  } else if (const py::object interface = py::getattr(object, "__cuda_array_interface__", py::none());
             py::isinstance<py::dict>(interface)) {
    reading = read_cuda_interface(object, interface, op, name, view);
  } else {
    throw py::type_error(prefix(op, name) + " is a " + Py_TYPE(object.ptr())->tp_name + "; expected an array");
  }
  if (is_empty(view)) make_row_major(view);
  return reading;
}

py::object empty_array(py::handle shape, py::handle dtype, py::handle) {
  PyArray_Descr* descr = nullptr;
  if (PyArray_DescrConverter(dtype.ptr(), &descr) == NPY_FAIL) throw py::error_already_set();
  PyArray_Dims dims{nullptr, 0};
  if (PyArray_IntpConverter(shape.ptr(), &dims) == NPY_FAIL) {
    Py_DECREF(descr);
    throw py::error_already_set();
  }
  size_t bytes = static_cast<size_t>(PyDataType_ELSIZE(descr));
  bool too_large = false;
  for (int i = 0; i < dims.len; ++i) {
    too_large |= dims.ptr[i] < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(dims.ptr[i]), &bytes);
  }
  PyObject* array = nullptr;
  if (too_large || bytes < kCachedFrom) {  // NumPy words the error for impossible shapes
    array = PyArray_NewFromDescr(&PyArray_Type, descr, dims.len, dims.ptr, nullptr, nullptr, 0, nullptr);
    PyDimMem_FREE(dims.ptr);
    if (array == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(array);
  }
  void* memory = cpu_backend().alloc(bytes, 0, nullptr);
  if (memory == nullptr) {
    std::string text = "fastattn: out of memory: an array of " + std::to_string(bytes) + " bytes was asked for";
    Py_DECREF(descr);
    PyDimMem_FREE(dims.ptr);
    PyErr_SetString(PyExc_MemoryError, text.c_str());
    throw py::error_already_set();
  }
  array = PyArray_NewFromDescr(&PyArray_Type, descr, dims.len, dims.ptr, nullptr, memory, NPY_ARRAY_CARRAY, nullptr);
  PyDimMem_FREE(dims.ptr);
  PyObject* owner = PyCapsule_New(
      memory, nullptr, [](PyObject* c) { cpu_backend().free(PyCapsule_GetPointer(c, nullptr), 0, nullptr); });
  if (array == nullptr || owner == nullptr ||
      PyArray_SetBaseObject(reinterpret_cast<PyArrayObject*>(array), owner) != 0) {
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::object>(array);
}

std::string to_string(Place place) { return place.on_cpu() ? "cpu" : "cuda:" + std::to_string(place.device); }

// NumPy's answer, about arrays of bytes at these addresses; it looks at no element.
bool shares_memory(const fa_tensor& a, const fa_tensor& b) {
  auto view = [](const fa_tensor& t) {
    npy_intp shape[FA_MAX_DIMS], strides[FA_MAX_DIMS];
    const npy_intp size = item_size(t.dtype);
    for (int i = 0; i < t.ndim; ++i) {
      shape[i] = t.shape[i];
      strides[i] = t.strides[i] * size;
    }
    PyArray_Descr* bytes = PyArray_DescrNewFromType(NPY_VOID);
    PyDataType_SET_ELSIZE(bytes, size);
    PyObject* array = PyArray_NewFromDescr(&PyArray_Type, bytes, t.ndim, shape, strides, t.data, 0, nullptr);
    if (array == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(array);
  };
  try {
    const py::module_ numpy = py::module_::import("numpy");
    return numpy.attr("shares_memory")(view(a), view(b), py::arg("max_work") = 10000).cast<bool>();
  } catch (py::error_already_set&) {
    return true;
  }
}

const char* dtype_name(int32_t dtype) {
  static constexpr const char* kNames[FA_NUM_DTYPES] = {"float32", "float64", "float16", "bfloat16", "bool",
                                                        "uint8",   "int8",    "int16",   "int32",    "int64"};
  return dtype >= 0 && dtype < FA_NUM_DTYPES ? kNames[dtype] : "an unknown dtype";
}

void import_numpy() {
  if (_import_array() < 0) throw py::error_already_set();
  const py::object bfloat16 = py::module_::import("ml_dtypes").attr("bfloat16");
  bfloat16_num = py::module_::import("numpy").attr("dtype")(bfloat16).attr("num").cast<int>();
}

}  // namespace fastattn::bindings
