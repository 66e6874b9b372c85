#include "list_arg.h"

namespace fastattn::bindings {

const fa_tensor* TensorLists::read(py::handle list, const char* name, bool written) {
  if (list.is_none()) return nullptr;
  const auto items = py::reinterpret_borrow<py::list>(list);
  const auto n = static_cast<int64_t>(items.size());
  if (size_ < 0) {
    size_ = n;
    first_name_ = name;
    lists_.reserve(8);  // pointers into earlier lists stay
  } else if (n != size_) {
    value_error(std::string(first_name_) + " has " + std::to_string(size_) + " arrays and " + name + " has " +
                std::to_string(n));
  }
  std::vector<fa_tensor>& views = lists_.emplace_back(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const std::string element = std::string(name) + "[" + std::to_string(i) + "]";
    fa_tensor& view = views[static_cast<size_t>(i)];
    const Reading reading = read_tensor(items[static_cast<size_t>(i)], op_.c_str(), element.c_str(), view);
    if (!reading.on_cpu) throw py::type_error(op_ + ": " + element + " is not in CPU memory");
    if (written && !reading.writeable) value_error(element + " is read-only");
    if (!is_contiguous(view)) value_error(element + " is not contiguous");
    const fa_tensor& model = lists_.front()[static_cast<size_t>(i)];
    if (view.dtype != FA_F32 && view.dtype != FA_F64) {
      throw py::type_error(op_ + ": " + element + " has dtype " + dtype_name(view.dtype) +
                           "; expected float32 or float64");
    }
    if (view.dtype != model.dtype) {
      throw py::type_error(op_ + ": " + first_name_ + "[" + std::to_string(i) + "] is " + dtype_name(model.dtype) +
                           " and " + element + " is " + dtype_name(view.dtype) + "; they must have one dtype");
    }
    bool same = view.ndim == model.ndim;
    for (int d = 0; same && d < view.ndim; ++d) same = view.shape[d] == model.shape[d];
    if (!same) {
      value_error(element + " has shape " + shape_text(view.ndim, view.shape) + "; expected " +
                  shape_text(model.ndim, model.shape) + ", that of " + first_name_ + "[" + std::to_string(i) + "]");
    }
  }
  return views.data();
}

}  // namespace fastattn::bindings
