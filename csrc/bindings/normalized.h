// What the norms (layer_norm, rms_norm) have in common: the last axes of x that normalized_shape names.
#pragma once

#include "call.h"

namespace fastattn::bindings {

// The normalised shape, checked against the last axes of x and against weight and bias.
struct Normalized {
  int ndim;
  int64_t shape[FA_MAX_DIMS];
  int64_t rows = 1, cols = 1;

  Normalized(Call& call, const fa_tensor& x, const py::tuple& normalized_shape) {
    ndim = static_cast<int>(normalized_shape.size());
    if (ndim == 0 || ndim > FA_MAX_DIMS) call.value_error("normalized_shape needs 1 to 8 axes");
    for (int i = 0; i < ndim; ++i) shape[i] = normalized_shape[static_cast<size_t>(i)].cast<int64_t>();
    bool fits = ndim <= x.ndim;
    for (int i = 0; fits && i < ndim; ++i) fits = x.shape[x.ndim - ndim + i] == shape[i];
    if (!fits) {
      call.value_error("normalized_shape " + shape_text(ndim, shape) + " is not that of the last axes of " +
                       call.show("x"));
    }
    for (int i = 0; i < x.ndim; ++i) (i < x.ndim - ndim ? rows : cols) *= x.shape[i];
  }

  void expect(Call& call, const char* name) const {
    fa_tensor like;
    like.ndim = ndim;
    for (int i = 0; i < ndim; ++i) like.shape[i] = shape[i];
    call.expect_shape(name, like);
    call.expect_contiguous(name);
  }

  // (rows..., C) of an array (..., *normalized_shape), whose normalised axes must be contiguous.
  fa_tensor fold(Call& call, const char* name, const fa_tensor& t) const {
    if (t.data == nullptr) return t;
    int64_t expected = 1;
    bool fits = true;
    for (int i = t.ndim - 1; i >= t.ndim - ndim; --i) {
      fits &= t.shape[i] == 1 || t.strides[i] == expected;
      expected *= t.shape[i];
    }
    if (!fits && rows * cols > 0) {
      call.value_error(std::string(name) +
                       " is not contiguous along its normalised axes; pass numpy.ascontiguousarray of it");
    }
    fa_tensor r = merge_rows(t, ndim);
    r.ndim -= ndim - 1;
    r.shape[r.ndim - 1] = cols;
    r.strides[r.ndim - 1] = 1;
    return r;
  }
};

// A contiguous argument as one axis.
inline fa_tensor flat(const fa_tensor& t) {
  fa_tensor r = t;
  if (t.data == nullptr) return r;
  r.ndim = 1;
  r.shape[0] = num_elements(t);
  r.strides[0] = 1;
  return r;
}

}  // namespace fastattn::bindings
