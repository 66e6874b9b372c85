#include "call.h"

#include <cstring>
#include <optional>
#include <vector>

namespace fastattn::bindings {

PyObject* unsupported_error = nullptr;

namespace {

thread_local const char* kernel_that_ran = "";
thread_local bool recording = false;
struct Record {
  std::string kernel, reason;
  double flops, bytes;
  size_t workspace;
  int device;  // of CUDA, -1 on the CPU
};
thread_local std::vector<Record> records;

constexpr size_t kStackWorkspace = 4096;
constexpr double kBriefWork = 16384;  // operations and bytes: a microsecond or so, with the GIL held

struct Extent {
  intptr_t low, high;  // addresses of the first byte and one past the last
};
Extent extent_of(const fa_tensor& t) {
  const intptr_t size = item_size(t.dtype);
  intptr_t low = reinterpret_cast<intptr_t>(t.data), high = low + size;
  for (int i = 0; i < t.ndim; ++i) {
    if (t.shape[i] == 0) return {low, low};
    const intptr_t reach = (t.shape[i] - 1) * t.strides[i] * size;
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

bool same_view(const fa_tensor& a, const fa_tensor& b) {
  if (a.data != b.data || a.dtype != b.dtype || a.ndim != b.ndim) return false;
  for (int i = 0; i < a.ndim; ++i) {
    if (a.shape[i] != b.shape[i] || (a.shape[i] > 1 && a.strides[i] != b.strides[i])) return false;
  }
  return true;
}

}  // namespace

bool is_contiguous(const fa_tensor& t) {
  int64_t expected = 1;
  for (int i = t.ndim - 1; i >= 0; --i) {
    if (t.shape[i] == 0) return true;
    if (t.shape[i] != 1 && t.strides[i] != expected) return false;
    expected *= t.shape[i];
  }
  return true;
}

fa_tensor merge_rows(const fa_tensor& t, int trailing) {
  fa_tensor r;
  r.data = t.data;
  r.dtype = t.dtype;
  r.ndim = 0;
  for (int i = 0; i < t.ndim - trailing; ++i) {
    if (t.shape[i] == 1) continue;
    const int last = r.ndim - 1;
    if (last >= 0 && r.strides[last] == t.strides[i] * t.shape[i]) {
      r.shape[last] *= t.shape[i];
      r.strides[last] = t.strides[i];
    } else {
      r.shape[r.ndim] = t.shape[i];
      r.strides[r.ndim++] = t.strides[i];
    }
  }
  if (r.ndim == 0) {
    r.shape[0] = 1;
    r.strides[0] = 0;
    r.ndim = 1;
  }
  for (int i = t.ndim - trailing; i < t.ndim; ++i) {
    r.shape[r.ndim] = t.shape[i];
    r.strides[r.ndim++] = t.strides[i];
  }
  return r;
}

bool broadcast_view(const fa_tensor& t, int ndim, const int64_t* shape, fa_tensor& result) {
  if (t.ndim > ndim) return false;
  result.data = t.data;
  result.dtype = t.dtype;
  result.ndim = ndim;
  for (int i = 0; i < ndim; ++i) {
    const int j = i - (ndim - t.ndim);
    const int64_t size = j < 0 ? 1 : t.shape[j];
    if (size != shape[i] && size != 1) return false;
    result.shape[i] = shape[i];
    result.strides[i] = size == 1 ? 0 : t.strides[j];
  }
  return true;
}

std::string shape_text(int ndim, const int64_t* shape, const char* axes) {
  const int letters = static_cast<int>(std::strlen(axes));
  std::string text = "(";
  for (int i = 0; i < ndim; ++i) {
    if (i > 0) text += ", ";
    const int letter = letters - ndim + i;
    if (letter >= 0) text += axes[letter];
    text += std::to_string(shape[i]);
  }
  if (ndim == 1) text += ",";
  return text + ")";
}

const fa_tensor& Call::read(py::handle object, const char* name, bool written, bool required) {
  Arg& arg = args_[num_args_++];
  arg.name = name;
  arg.object = object;
  arg.alias = nullptr;
  arg.written = written;
  if (object.is_none()) {
    if (required) type_error(std::string(name) + " is None; expected an array");
    arg.view.data = nullptr;
    return arg.view;
  }
  const Reading reading = read_tensor(object, op_, name, arg.view);
  expect_place(name, reading.place);
  if (written) {
    if (!reading.writeable) value_error(std::string(name) + " is read-only");
    for (int i = 0; i < arg.view.ndim; ++i) {
      if (arg.view.strides[i] == 0 && arg.view.shape[i] > 1) {
        value_error(std::string(name) + " is a broadcast view, which cannot be written");
      }
    }
  }
  return arg.view;
}

void Call::expect_place(std::string_view name, Place place) {
  if (!place.on_cpu() && cuda_backend() == nullptr) {
    type_error(std::string(name) + " is on " + to_string(place) + ", and this build of fastattn has no CUDA backend");
  }
  if (placed_by_.empty()) {
    place_ = place;
    placed_by_ = name;
  } else if (place.device != place_.device) {
    type_error(placed_by_ + " is on " + to_string(place_) + " and " + std::string(name) + " on " + to_string(place) +
               "; move one of them");
  }
}

const fa_table& Call::backend_of_place() { return place_.on_cpu() ? backend() : *cuda_backend(); }

Call::Arg& Call::find(const char* name) {
  for (int i = 0; i < num_args_; ++i) {  // a binding's literals are mostly one literal
    if (args_[i].name == name) return args_[i];
  }
  for (int i = 0; i < num_args_; ++i) {
    if (std::strcmp(args_[i].name, name) == 0) return args_[i];
  }
  throw std::logic_error(std::string("no argument ") + name);
}

int32_t Call::same_float(std::initializer_list<const char*> names, std::initializer_list<const char*> statistics) {
  const Arg* first = nullptr;
  for (const char* name : names) {
    const Arg& arg = find(name);
    if (arg.view.data == nullptr) continue;
    if (!is_float(arg.view.dtype)) {
      type_error(std::string(name) + " has dtype " + py::str(arg.object.attr("dtype")).cast<std::string>() +
                 "; expected " + kFloatNames);
    }
    if (first == nullptr) {
      first = &arg;
    } else if (arg.view.dtype != first->view.dtype) {
      type_error(std::string(first->name) + " is " + dtype_name(first->view.dtype) + " and " + name + " is " +
                 dtype_name(arg.view.dtype) + "; they must have one dtype");
    }
  }
  const int32_t dtype = first == nullptr ? int32_t{FA_F32} : first->view.dtype;
  for (const char* name : statistics) expect_dtype(name, accumulator(dtype));
  return dtype;
}

void Call::expect_index(const char* name) {
  const Arg& arg = find(name);
  if (arg.view.data == nullptr || arg.view.dtype == FA_I32 || arg.view.dtype == FA_I64) return;
  type_error(std::string(name) + " has dtype " + py::str(arg.object.attr("dtype")).cast<std::string>() +
             "; expected int32 or int64");
}

void Call::expect_dtype(const char* name, int32_t dtype) {
  const Arg& arg = find(name);
  if (arg.view.data == nullptr || arg.view.dtype == dtype) return;
  type_error(std::string(name) + " has dtype " + py::str(arg.object.attr("dtype")).cast<std::string>() + "; expected " +
             dtype_name(dtype));
}

void Call::expect_shape(const char* name, std::initializer_list<int64_t> shape) {
  fa_tensor like;
  like.ndim = 0;
  for (int64_t n : shape) like.shape[like.ndim++] = n;
  expect_shape(name, like);
}

void Call::expect_shape(const char* name, const fa_tensor& like) {
  const fa_tensor& view = find(name).view;
  if (view.data == nullptr) return;
  bool same = view.ndim == like.ndim;
  for (int i = 0; same && i < view.ndim; ++i) same = view.shape[i] == like.shape[i];
  if (!same) {
    value_error(std::string(name) + " has shape " + shape_text(view.ndim, view.shape) + "; expected " +
                shape_text(like.ndim, like.shape));
  }
}

void Call::expect_contiguous(const char* name) {
  const fa_tensor& view = find(name).view;
  if (view.data != nullptr && !is_contiguous(view)) value_error(std::string(name) + " is not contiguous");
}

void Call::may_alias(const char* output, const char* input) { find(output).alias = input; }

std::string Call::show(const char* name, const char* axes) {
  const fa_tensor& view = find(name).view;
  return std::string(name) + " " + shape_text(view.ndim, view.shape, axes);
}

void Call::value_error(const std::string& text) { throw py::value_error(std::string(op_) + ": " + text); }
void Call::type_error(const std::string& text) { throw py::type_error(std::string(op_) + ": " + text); }

void Call::check_overlap() {
  for (int i = 0; i < num_args_; ++i) {
    const Arg& out = args_[i];
    if (!out.written || out.view.data == nullptr) continue;
    const Extent a = extent_of(out.view);
    for (int j = 0; j < num_args_; ++j) {
      const Arg& other = args_[j];
      if (j == i || other.view.data == nullptr || (other.written && j < i)) continue;
      const Extent b = extent_of(other.view);
      if (a.high <= b.low || b.high <= a.low) continue;
      const bool aliases = out.alias != nullptr && std::strcmp(out.alias, other.name) == 0;
      if (aliases && same_view(out.view, other.view)) continue;
      if (shares_memory(out.view, other.view)) {
        value_error(std::string(out.name) + " overlaps " + other.name + " in memory");
      }
    }
  }
}

void Call::run_checked(const fa_table& table, fa_status (*entry)(void*, fa_launch&), void* context) {
  fa_launch launch;
  launch.size = sizeof launch;
  launch.query = 1;
  launch.stream = place_.stream;
  launch.device = place_.on_cpu() ? 0 : place_.device;
  launch.workspace = nullptr;
  launch.workspace_bytes = 0;
  launch.num_threads = 1;
  launch.kernel = "";
  launch.flops = launch.bytes = 0;
  launch.reason[0] = 0;
  fa_status status = entry(context, launch);
  if (recording) {
    records.push_back({launch.kernel, status == FA_OK ? "" : launch.reason, launch.flops, launch.bytes,
                       launch.workspace_bytes, place_.on_cpu() ? -1 : place_.device});
    return;
  }
  if (status == FA_OK) {
    alignas(64) char small[kStackWorkspace];
    launch.query = 0;
    const bool on_heap = launch.workspace_bytes > (place_.on_cpu() ? kStackWorkspace : 0);
    launch.workspace = on_heap ? table.alloc(launch.workspace_bytes, launch.device, launch.stream) : small;
    if (launch.workspace == nullptr) {
      PyErr_Format(PyExc_MemoryError, "%s: out of memory: a workspace of %zu bytes was asked for", op_,
                   launch.workspace_bytes);
      throw py::error_already_set();
    }
    {
      // Letting others run costs as much as some thousand operations do.
      const double work = launch.flops + launch.bytes;
      const bool brief = place_.on_cpu() && work > 0 && work < kBriefWork;
      std::optional<py::gil_scoped_release> released;
      if (!brief) released.emplace();
      status = entry(context, launch);
      if (on_heap) table.free(launch.workspace, launch.device, launch.stream);
    }
    kernel_that_ran = launch.kernel;
  }
  if (status == FA_OK) return;
  PyObject* type = status == FA_INVALID         ? PyExc_IndexError
                   : status == FA_OUT_OF_MEMORY ? PyExc_MemoryError
                                                : unsupported_error;
  PyErr_Format(type, "%s: %s", op_, launch.reason);
  throw py::error_already_set();
}

const char* last_kernel() { return kernel_that_ran; }

void start_recording() {
  records.clear();
  recording = true;
}

py::list stop_recording() {
  recording = false;
  py::list result;
  for (const Record& r : records) {
    result.append(py::make_tuple(r.kernel, r.reason, r.flops, r.bytes, r.workspace, r.device));
  }
  return result;
}

}  // namespace fastattn::bindings
