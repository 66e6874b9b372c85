#include <utility>

#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

void swap_last_two(fa_tensor& t) {
  std::swap(t.shape[t.ndim - 1], t.shape[t.ndim - 2]);
  std::swap(t.strides[t.ndim - 1], t.strides[t.ndim - 2]);
}

void insert_axis(fa_tensor& t, int at) {
  for (int i = t.ndim; i > at; --i) {
    t.shape[i] = t.shape[i - 1];
    t.strides[i] = t.strides[i - 1];
  }
  t.shape[at] = 1;
  t.strides[at] = 1;
  ++t.ndim;
}

// Broadcasts the batch axes of a matrix view (..., rows, cols); false where they do not fit.
bool broadcast_batch(fa_tensor& t, int batch_ndim, const int64_t* batch) {
  int64_t shape[FA_MAX_DIMS];
  for (int i = 0; i < batch_ndim; ++i) shape[i] = batch[i];
  shape[batch_ndim] = t.shape[t.ndim - 2];
  shape[batch_ndim + 1] = t.shape[t.ndim - 1];
  fa_tensor result;
  const int64_t row_stride = t.strides[t.ndim - 2], col_stride = t.strides[t.ndim - 1];
  if (!broadcast_view(t, batch_ndim + 2, shape, result)) return false;
  result.strides[batch_ndim] = row_stride;  // broadcast_view gives axes of length 1 stride 0
  result.strides[batch_ndim + 1] = col_stride;
  t = result;
  return true;
}

// a and b of a call as matrices (..., M, K) and (..., K, N), with the batch shape that they broadcast to.
struct Product {
  bool a_is_vector, b_is_vector;
  fa_tensor a, b;
  int batch_ndim = 0;
  int64_t batch[FA_MAX_DIMS];
  int64_t m, n, k;

  Product(Call& call, const fa_tensor& a_arg, const fa_tensor& b_arg, bool transpose_a, bool transpose_b)
      : a(a_arg), b(b_arg) {
    a_is_vector = a.ndim == 1;
    b_is_vector = b.ndim == 1;
    if (a.ndim == 0 || b.ndim == 0)
      call.value_error("a and b need at least one axis; " + call.show("a") + ", " + call.show("b"));
    if (a_is_vector) insert_axis(a, 0);
    if (b_is_vector) insert_axis(b, 1);
    if (transpose_a && !a_is_vector) swap_last_two(a);
    if (transpose_b && !b_is_vector) swap_last_two(b);
    m = a.shape[a.ndim - 2];
    k = a.shape[a.ndim - 1];
    n = b.shape[b.ndim - 1];
    const char* a_axes = a_is_vector ? "K" : transpose_a ? "KM" : "MK";
    const char* b_axes = b_is_vector ? "K" : transpose_b ? "NK" : "KN";
    auto shapes = [&] { return call.show("a", a_axes) + ", " + call.show("b", b_axes); };
    if (k != b.shape[b.ndim - 2]) {
      call.value_error("K of a is " + std::to_string(k) + " and of b " + std::to_string(b.shape[b.ndim - 2]) + "; " +
                       shapes());
    }
    batch_ndim = std::max(a.ndim, b.ndim) - 2;
    for (int i = 0; i < batch_ndim; ++i) {
      const int ia = i - (batch_ndim - (a.ndim - 2)), ib = i - (batch_ndim - (b.ndim - 2));
      const int64_t na = ia < 0 ? 1 : a.shape[ia], nb = ib < 0 ? 1 : b.shape[ib];
      if (na != nb && na != 1 && nb != 1) call.value_error("batch axes do not broadcast; " + shapes());
      batch[i] = na == 1 ? nb : na;
    }
    broadcast_batch(a, batch_ndim, batch);
    broadcast_batch(b, batch_ndim, batch);
  }

  // A result of this product, without the axes that vectors drop, as (..., M, N).
  fa_tensor as_matrix(fa_tensor t) const {
    if (t.data == nullptr) return t;
    if (a_is_vector) insert_axis(t, batch_ndim);
    if (b_is_vector) insert_axis(t, batch_ndim + 1);
    return t;
  }

  void expect_result(Call& call, const char* name) const {
    fa_tensor like;
    like.ndim = batch_ndim;
    for (int i = 0; i < batch_ndim; ++i) like.shape[i] = batch[i];
    if (!a_is_vector) like.shape[like.ndim++] = m;
    if (!b_is_vector) like.shape[like.ndim++] = n;
    call.expect_shape(name, like);
  }
};

void expect_rows(Call& call, const char* name, const fa_tensor& matrix) {
  if (matrix.data != nullptr && matrix.shape[matrix.ndim - 1] > 1 && matrix.strides[matrix.ndim - 1] != 1) {
    call.value_error(std::string(name) + " is not contiguous along its last axis");
  }
}

int32_t precision = FA_PRECISION_HIGHEST;  // of every product from now on

void matmul(py::handle a, py::handle b, py::handle bias, py::handle residual, py::handle out, py::handle preact,
            bool transpose_a, bool transpose_b, int activation) {
  Call call("matmul");
  const fa_tensor& a_view = call.input(a, "a");
  const fa_tensor& b_view = call.input(b, "b");
  fa_matmul_params p;
  p.bias = call.optional(bias, "bias");
  p.residual = call.optional(residual, "residual");
  p.out = call.output(out, "out");
  p.preact = call.optional_output(preact, "preact");
  call.same_float({"a", "b", "bias", "residual", "out", "preact"});
  const Product product(call, a_view, b_view, transpose_a, transpose_b);
  call.expect_shape("bias", {product.n});
  product.expect_result(call, "residual");
  product.expect_result(call, "out");
  product.expect_result(call, "preact");
  p.a = product.a;
  p.b = product.b;
  p.residual = product.as_matrix(p.residual);
  p.out = product.as_matrix(p.out);
  p.preact = product.as_matrix(p.preact);
  expect_rows(call, "residual", p.residual);
  expect_rows(call, "out", p.out);
  p.activation = activation;
  p.accumulate = 0;
  p.precision = precision;
  call.may_alias("out", "residual");
  call.run(&fa_table::matmul, p);
}

// da = dout @ b^T, db = a^T @ dout, dbias = sum of dout over rows: each where it is not None.
void matmul_bwd(py::handle a, py::handle b, py::handle dout, py::handle da, py::handle db, py::handle dbias,
                bool transpose_a, bool transpose_b) {
  Call call("matmul backward");
  const fa_tensor& a_view = call.input(a, "a");
  const fa_tensor& b_view = call.input(b, "b");
  const fa_tensor& dout_arg = call.input(dout, "dout");
  fa_tensor da_view = call.optional_output(da, "da");
  fa_tensor db_view = call.optional_output(db, "db");
  const fa_tensor& dbias_view = call.optional_output(dbias, "dbias");
  call.same_float({"a", "b", "dout", "da", "db", "dbias"});
  const Product product(call, a_view, b_view, transpose_a, transpose_b);
  product.expect_result(call, "dout");
  call.expect_shape("da", a_view);
  call.expect_shape("db", b_view);
  call.expect_shape("dbias", {product.n});
  const fa_tensor dout_view = product.as_matrix(dout_arg);
  fa_tensor dout_t = dout_view, a_t = product.a, b_t = product.b;
  swap_last_two(dout_t);
  swap_last_two(a_t);
  swap_last_two(b_t);

  // The product that writes rows of the gradient as it is stored: of da, or of its transpose.
  auto multiply = [&](const fa_tensor& left, const fa_tensor& right, fa_tensor out) {
    broadcast_batch(out, product.batch_ndim, product.batch);
    fa_matmul_params p;
    p.a = left;
    p.b = right;
    p.out = out;
    p.bias.data = p.residual.data = p.preact.data = nullptr;
    p.activation = FA_ACT_NONE;
    p.accumulate = 0;
    p.precision = precision;
    call.run(&fa_table::matmul, p);
  };
  if (da_view.data != nullptr) {
    if (product.a_is_vector) insert_axis(da_view, 0);
    if (transpose_a && !product.a_is_vector) {
      multiply(product.b, dout_t, da_view);
    } else {
      multiply(dout_view, b_t, da_view);
    }
  }
  if (db_view.data != nullptr) {
    if (product.b_is_vector) insert_axis(db_view, 1);
    if (transpose_b && !product.b_is_vector) {
      multiply(dout_t, product.a, db_view);
    } else {
      multiply(a_t, dout_view, db_view);
    }
  }
  if (dbias_view.data != nullptr) {
    fa_sum_params p{dout_view, {}, 1.0};
    fa_tensor& to = p.out;
    to.data = dbias_view.data;
    to.dtype = dbias_view.dtype;
    to.ndim = dout_view.ndim;
    for (int i = 0; i < to.ndim - 1; ++i) to.shape[i] = 1;
    to.shape[to.ndim - 1] = product.n;
    to.strides[to.ndim - 1] = dbias_view.strides[0];
    call.run(&fa_table::sum, p);
  }
}

}  // namespace

void bind_matmul(py::module_& m) {
  m.def("matmul", &matmul);
  m.def("matmul_bwd", &matmul_bwd);
  m.def("set_matmul_precision", [](int32_t value) { precision = value; });
}

}  // namespace fastattn::bindings
