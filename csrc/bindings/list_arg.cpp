#include "list_arg.h"

#include <algorithm>
#include <utility>

namespace fastattn::bindings {

const fa_tensor* TensorLists::read(py::handle list, const char* name, bool written, bool state) {
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
    if (i == 0 && lists_.size() == 1) {
      place_ = reading.place;
      first_ = items[0];
    } else if (reading.place.device != place_.device) {
      throw py::type_error(op_ + ": " + first_name_ + "[0] is on " + to_string(place_) + " and " + element + " on " +
                           to_string(reading.place) + "; move one of them");
    }
    if (written && !reading.writeable) value_error(element + " is read-only");
    if (!is_contiguous(view)) value_error(element + " is not contiguous");
    const fa_tensor& model = lists_.front()[static_cast<size_t>(i)];
    if (!is_float(view.dtype)) {
      throw py::type_error(op_ + ": " + element + " has dtype " + dtype_name(view.dtype) + "; expected " + kFloatNames);
    }
    const int32_t dtype = lists_.front().front().dtype;
    if (state && view.dtype != accumulator(dtype)) {
      throw py::type_error(op_ + ": " + first_name_ + "[0] is " + dtype_name(dtype) + " and " + element + " is " +
                           dtype_name(view.dtype) + "; state is " + dtype_name(accumulator(dtype)));
    }
    if (!state && view.dtype != dtype) {
      throw py::type_error(op_ + ": " + first_name_ + "[0] is " + dtype_name(dtype) + " and " + element + " is " +
                           dtype_name(view.dtype) + "; they must have one dtype");
    }
    bool same = view.ndim == model.ndim;
    for (int d = 0; same && d < view.ndim; ++d) same = view.shape[d] == model.shape[d];
    if (!same) {
      value_error(element + " has shape " + shape_text(view.ndim, view.shape) + "; expected " +
                  shape_text(model.ndim, model.shape) + ", that of " + first_name_ + "[" + std::to_string(i) + "]");
    }
  }
  lists_read_.push_back({name, written});
  return views.data();
}

void TensorLists::expect_half_params(const fa_tensor* masters) const {
  if (masters == nullptr || size() == 0 || item_size(lists_.front().front().dtype) == 2) return;
  throw py::type_error(op_ + ": masters are for bfloat16 and float16 params; these are " +
                       dtype_name(lists_.front().front().dtype) + ", leave masters out");
}

void TensorLists::place(Call& call) const {
  if (size() == 0) return;
  fa_tensor view;
  const std::string name = std::string(first_name_) + "[0]";
  call.expect_place(name, read_tensor(first_, op_.c_str(), name.c_str(), view).place);
}

void TensorLists::check_overlap() const {
  struct Extent {
    const char *low, *high;
    size_t list, index;
  };
  std::vector<Extent> extents;
  for (size_t list = 0; list < lists_.size(); ++list) {
    for (size_t i = 0; i < lists_[list].size(); ++i) {
      const fa_tensor& t = lists_[list][i];
      const int64_t bytes = num_elements(t) * item_size(t.dtype);
      const char* low = static_cast<const char*>(t.data);
      if (bytes > 0) extents.push_back({low, low + bytes, list, i});
    }
  }
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.low < b.low; });
  const Extent *last = nullptr, *last_written = nullptr;  // those that reach furthest so far
  for (const Extent& e : extents) {
    const bool written = lists_read_[e.list].written;
    const Extent* before = written ? last : last_written;
    if (before != nullptr && e.low < before->high) {
      const bool swap = std::pair(e.list, e.index) < std::pair(before->list, before->index);
      const Extent &first = swap ? e : *before, &second = swap ? *before : e;
      auto text = [&](const Extent& x) { return lists_read_[x.list].name + ("[" + std::to_string(x.index) + "]"); };
      value_error(text(second) + " overlaps " + text(first) + " in memory");
    }
    if (last == nullptr || e.high > last->high) last = &e;
    if (written && (last_written == nullptr || e.high > last_written->high)) last_written = &e;
  }
}

}  // namespace fastattn::bindings
