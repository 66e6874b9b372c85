// The arguments of the multi-tensor ops: parallel lists of contiguous arrays of one shape and dtype per position.
#pragma once

#include <string>
#include <vector>

#include "call.h"

namespace fastattn::bindings {

// Reads lists and checks them against each other: one dtype for all (that of the first list's first array, by which the
// kernels are chosen; state is in its accumulator's), one shape at each position.
class TensorLists {
 public:
  explicit TensorLists(const char* op) : op_(op) {}

  // Views of a list; nullptr where it is None. `written`: must be writeable.
  const fa_tensor* read(py::handle list, const char* name, bool written) { return read(list, name, written, false); }
  const fa_tensor* read_state(py::handle list, const char* name) { return read(list, name, true, true); }
  // Tells the call where the arrays are, and on which stream they are worked on now. The first one must still live.
  void place(Call& call) const;
  int64_t size() const { return size_ < 0 ? 0 : size_; }
  // Masters are float32 copies of 16-bit params.
  void expect_half_params(const fa_tensor* masters) const;
  // No written array shares memory with another. After the last read.
  void check_overlap() const;

 private:
  const fa_tensor* read(py::handle list, const char* name, bool written, bool state);
  [[noreturn]] void value_error(const std::string& text) const { throw py::value_error(op_ + ": " + text); }

  std::string op_;
  const char* first_name_ = nullptr;
  int64_t size_ = -1;
  Place place_;
  py::handle first_;  // of the first list
  std::vector<std::vector<fa_tensor>> lists_;
  struct List {
    std::string name;
    bool written;
  };
  std::vector<List> lists_read_;  // of lists_
};

}  // namespace fastattn::bindings
