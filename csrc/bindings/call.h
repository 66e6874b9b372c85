// One call of an op: reads its arguments, checks them in the terms of the Python signature, runs the backend's entry.
//
// Every check throws before any work: ValueError for shapes and values, TypeError for dtypes. A binding reads like
// this:
//
//   Call call("softmax");
//   fa_softmax_fwd_params p{};
//   p.x = call.input(x, "x");
//   p.out = call.output(out, "out");
//   call.same_float({"x", "out"});
//   call.expect_shape("out", p.x);
//   call.run(&fa_table::softmax_fwd, p);
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "backend.h"
#include "tensor_arg.h"

namespace fastattn::bindings {

class Call {
 public:
  explicit Call(const char* op) : op_(op) {}
  Call(const Call&) = delete;

  // Arguments. None is an error for input and output, and an absent view (data == nullptr) for the optional ones.
  const fa_tensor& input(py::handle object, const char* name) { return read(object, name, false, true); }
  const fa_tensor& optional(py::handle object, const char* name) { return read(object, name, false, false); }
  const fa_tensor& output(py::handle object, const char* name) { return read(object, name, true, true); }
  const fa_tensor& optional_output(py::handle object, const char* name) { return read(object, name, true, false); }

  // Checks. Absent arguments pass.
  // One floating dtype for all of names, and its accumulator's for the statistics; returns the former.
  int32_t same_float(std::initializer_list<const char*> names, std::initializer_list<const char*> statistics = {});
  void expect_index(const char* name);  // i32 or i64
  void expect_dtype(const char* name, int32_t dtype);
  void expect_shape(const char* name, std::initializer_list<int64_t> shape);
  void expect_shape(const char* name, const fa_tensor& like);
  void expect_contiguous(const char* name);
  // Where the lists of a multi-tensor op are; throws where other arguments are elsewhere.
  void expect_place(std::string_view name, Place place);
  Place place() const { return place_; }
  void may_alias(const char* output, const char* input);  // the very same view may be both

  // "query (B2, H8, T128, D32)": an argument with its axes named, as many letters as axes from the right.
  std::string show(const char* name, const char* axes = "");
  [[noreturn]] void value_error(const std::string& text);
  [[noreturn]] void type_error(const std::string& text);

  template <class Params>
  void run(fa_status (*fa_table::*entry)(const Params*, fa_launch*), const Params& params) {
    const fa_table& table = backend_of_place();
    check_overlap();
    run_entry(table, [&](fa_launch& launch) { return (table.*entry)(&params, &launch); });
  }

 private:
  static constexpr int kMaxArgs = 24;
  struct Arg {
    const char* name;
    py::handle object;
    const char* alias;  // an input that this output may be
    bool written;
    fa_tensor view;
  };

  const fa_tensor& read(py::handle object, const char* name, bool written, bool required);
  Arg& find(const char* name);
  void check_overlap();
  const fa_table& backend_of_place();
  template <class F>
  void run_entry(const fa_table& table, F&& entry);
  void run_checked(const fa_table& table, fa_status (*entry)(void*, fa_launch&), void* context);

  const char* op_;
  Place place_;
  std::string placed_by_;  // the argument that place_ is of
  int num_args_ = 0;
  Arg args_[kMaxArgs];
};

template <class F>
void Call::run_entry(const fa_table& table, F&& entry) {
  run_checked(
      table,
      [](void* context, fa_launch& launch) { return (*static_cast<std::remove_reference_t<F>*>(context))(launch); },
      &entry);
}

inline int64_t num_elements(const fa_tensor& t) {
  int64_t n = 1;
  for (int i = 0; i < t.ndim; ++i) n *= t.shape[i];
  return n;
}
bool is_contiguous(const fa_tensor& t);

inline int64_t item_size(int32_t dtype) {
  constexpr int kBytes[FA_NUM_DTYPES] = {4, 8, 2, 2, 1, 1, 1, 2, 4, 8};
  return dtype < 0 ? 1 : kBytes[dtype];
}
inline bool is_float(int32_t dtype) { return dtype >= FA_F32 && dtype <= FA_BF16; }
// What statistics and optimizer state of a floating dtype are kept in.
inline int32_t accumulator(int32_t dtype) { return dtype == FA_F64 ? FA_F64 : FA_F32; }
inline constexpr const char* kFloatNames = "float32, float64, bfloat16 or float16";

// The same view with its leading axes, all but the last `trailing`, merged into as few as their strides allow, at least
// one. The row-major order of the elements stays; every op over rows reads (rows..., C).
fa_tensor merge_rows(const fa_tensor& t, int trailing);

// The view with its shape broadcast to `shape` (stride 0), axes aligned at the right; false where it does not fit.
bool broadcast_view(const fa_tensor& t, int ndim, const int64_t* shape, fa_tensor& result);

std::string shape_text(int ndim, const int64_t* shape, const char* axes = "");

// What ran, and explain(): while recording, calls are queried and noted, and run nothing.
const char* last_kernel();
void start_recording();
py::list stop_recording();

extern PyObject* unsupported_error;  // fastattn.UnsupportedError

}  // namespace fastattn::bindings
