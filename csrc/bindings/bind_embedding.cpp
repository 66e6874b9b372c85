#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kOp = "embedding";

// The index as one axis. The description copies one whose axes do not fold; the error is for callers that do not.
fa_tensor flat_index(Call& call, const fa_tensor& index) {
  if (index.ndim >= FA_MAX_DIMS) call.value_error("index has too many axes; " + call.show("index"));
  fa_tensor r = merge_rows(index, 0);
  if (r.ndim != 1) call.value_error("index's axes do not fold into one stride; pass numpy.ascontiguousarray of it");
  return r;
}

// (*index.shape, D) as (N, D).
fa_tensor as_rows(Call& call, const char* name, const fa_tensor& t, const fa_tensor& index, int64_t width) {
  fa_tensor like = index;
  like.shape[like.ndim++] = width;
  call.expect_shape(name, like);
  fa_tensor r = merge_rows(t, 1);
  if (r.ndim != 2 || (width > 1 && r.strides[1] != 1)) call.value_error(std::string(name) + " is not contiguous");
  return r;
}

void embedding_fwd(py::handle weight, py::handle index, py::handle out) {
  Call call(kOp);
  fa_embedding_fwd_params p;
  p.weight = call.input(weight, "weight");
  const fa_tensor& ids = call.input(index, "index");
  const fa_tensor& out_view = call.output(out, "out");
  call.same_float({"weight", "out"});
  call.expect_index("index");
  if (p.weight.ndim != 2) call.value_error("weight needs two axes (V, D); " + call.show("weight"));
  if (p.weight.shape[1] > 1 && p.weight.strides[1] != 1)
    call.value_error("weight is not contiguous along its last axis");
  p.index = flat_index(call, ids);
  p.out = as_rows(call, "out", out_view, ids, p.weight.shape[1]);
  call.run(&fa_table::embedding_fwd, p);
}

void embedding_bwd(py::handle index, py::handle dout, py::handle dweight, int64_t padding_idx) {
  Call call(kOp);
  fa_embedding_bwd_params p;
  const fa_tensor& ids = call.input(index, "index");
  const fa_tensor& dout_view = call.input(dout, "dout");
  p.dweight = call.output(dweight, "dweight");
  call.same_float({"dout", "dweight"});
  call.expect_index("index");
  if (p.dweight.ndim != 2) call.value_error("dweight needs two axes (V, D); " + call.show("dweight"));
  call.expect_contiguous("dweight");
  p.index = flat_index(call, ids);
  p.dout = as_rows(call, "dout", dout_view, ids, p.dweight.shape[1]);
  p.padding_idx = padding_idx;
  call.run(&fa_table::embedding_bwd, p);
}

}  // namespace

void bind_embedding(py::module_& m) {
  m.def("embedding_fwd", &embedding_fwd);
  m.def("embedding_bwd", &embedding_bwd);
}

}  // namespace fastattn::bindings
