#include "bindings.h"
#include "call.h"

namespace fastattn::bindings {
namespace {

constexpr const char* kNames[] = {"rnn", "rnn", "lstm", "gru"};
constexpr int kGates[] = {1, 1, 4, 3}, kSlots[] = {1, 1, 4, 4};

// x (T, B, I), w_ih (G H, I), w_hh (G H, H); what else there is follows from them.
struct Sizes {
  int64_t T, B, I, H, rows;

  Sizes(Call& call, const fa_tensor& x, const fa_tensor& w_ih, const fa_tensor& w_hh, int mode) {
    if (x.ndim != 3) call.value_error("x needs three axes (T, B, I); " + call.show("x"));
    T = x.shape[0];
    B = x.shape[1];
    I = x.shape[2];
    H = w_hh.ndim == 2 ? w_hh.shape[1] : 0;
    rows = kGates[mode] * H;
    if (H == 0 || w_hh.shape[0] != rows || w_ih.ndim != 2 || w_ih.shape[0] != rows || w_ih.shape[1] != I) {
      const std::string gates = kGates[mode] == 1 ? "" : std::to_string(kGates[mode]) + " ";
      call.value_error("expected x (T, B, I), w_ih (" + gates + "H, I) and w_hh (" + gates + "H, H); " +
                       call.show("x", "TBI") + ", " + call.show("w_ih") + ", " + call.show("w_hh"));
    }
  }
};

void recurrent_fwd(py::handle x, py::handle w_ih, py::handle w_hh, py::handle b_ih, py::handle b_hh, py::handle h0,
                   py::handle c0, py::handle lengths, py::handle output, py::handle h_n, py::handle c_n,
                   py::handle gates, py::handle cells, int mode, bool reverse) {
  Call call(kNames[mode]);
  fa_recurrent_fwd_params p;
  p.x = call.input(x, "x");
  p.w_ih = call.input(w_ih, "w_ih");
  p.w_hh = call.input(w_hh, "w_hh");
  p.b_ih = call.optional(b_ih, "b_ih");
  p.b_hh = call.optional(b_hh, "b_hh");
  p.h0 = call.optional(h0, "h0");
  p.c0 = call.optional(c0, "c0");
  p.lengths = call.optional(lengths, "lengths");
  p.output = call.output(output, "output");
  p.h_n = call.output(h_n, "h_n");
  p.c_n = mode == FA_LSTM ? call.output(c_n, "c_n") : call.optional_output(c_n, "c_n");
  p.gates = call.optional_output(gates, "gates");
  p.cells = call.optional_output(cells, "cells");
  call.same_float({"x", "w_ih", "w_hh", "b_ih", "b_hh", "h0", "c0", "output", "h_n", "c_n"}, {"gates", "cells"});
  call.expect_index("lengths");
  const Sizes n(call, p.x, p.w_ih, p.w_hh, mode);
  for (const char* name : {"b_ih", "b_hh"}) call.expect_shape(name, {n.rows});
  for (const char* name : {"h0", "c0", "h_n", "c_n"}) call.expect_shape(name, {n.B, n.H});
  call.expect_shape("lengths", {n.B});
  for (const char* name : {"output", "cells"}) call.expect_shape(name, {n.T, n.B, n.H});
  call.expect_shape("gates", {n.T, n.B, kSlots[mode], n.H});
  for (const char* name : {"output", "h_n", "c_n", "gates", "cells"}) call.expect_contiguous(name);
  p.mode = mode;
  p.reverse = reverse;
  call.run(&fa_table::recurrent_fwd, p);
}

void recurrent_bwd(py::handle x, py::handle w_ih, py::handle w_hh, py::handle h0, py::handle c0, py::handle lengths,
                   py::handle output, py::handle gates, py::handle cells, py::handle doutput, py::handle dh_n,
                   py::handle dc_n, py::handle dx, py::handle dw_ih, py::handle dw_hh, py::handle db_ih,
                   py::handle db_hh, py::handle dh0, py::handle dc0, int mode, bool reverse) {
  Call call(kNames[mode]);
  fa_recurrent_bwd_params p;
  p.x = call.input(x, "x");
  p.w_ih = call.input(w_ih, "w_ih");
  p.w_hh = call.input(w_hh, "w_hh");
  p.h0 = call.optional(h0, "h0");
  p.c0 = call.optional(c0, "c0");
  p.lengths = call.optional(lengths, "lengths");
  p.output = call.input(output, "output");
  p.gates = call.input(gates, "gates");
  p.cells = mode == FA_LSTM ? call.input(cells, "cells") : call.optional(cells, "cells");
  p.doutput = call.optional(doutput, "doutput");
  p.dh_n = call.optional(dh_n, "dh_n");
  p.dc_n = call.optional(dc_n, "dc_n");
  p.dx = call.optional_output(dx, "dx");
  p.dw_ih = call.optional_output(dw_ih, "dw_ih");
  p.dw_hh = call.optional_output(dw_hh, "dw_hh");
  p.db_ih = call.optional_output(db_ih, "db_ih");
  p.db_hh = call.optional_output(db_hh, "db_hh");
  p.dh0 = call.optional_output(dh0, "dh0");
  p.dc0 = call.optional_output(dc0, "dc0");
  call.same_float({"x", "w_ih", "w_hh", "h0", "c0", "output", "doutput", "dh_n", "dc_n", "dx", "dw_ih", "dw_hh",
                   "db_ih", "db_hh", "dh0", "dc0"},
                  {"gates", "cells"});
  call.expect_index("lengths");
  const Sizes n(call, p.x, p.w_ih, p.w_hh, mode);
  call.expect_shape("lengths", {n.B});
  for (const char* name : {"output", "doutput", "cells"}) call.expect_shape(name, {n.T, n.B, n.H});
  for (const char* name : {"h0", "c0", "dh_n", "dc_n", "dh0", "dc0"}) call.expect_shape(name, {n.B, n.H});
  for (const char* name : {"db_ih", "db_hh"}) call.expect_shape(name, {n.rows});
  call.expect_shape("gates", {n.T, n.B, kSlots[mode], n.H});
  call.expect_shape("dx", p.x);
  call.expect_shape("dw_ih", p.w_ih);
  call.expect_shape("dw_hh", p.w_hh);
  for (const char* name :
       {"output", "gates", "cells", "doutput", "dx", "dw_ih", "dw_hh", "db_ih", "db_hh", "dh0", "dc0"}) {
    call.expect_contiguous(name);
  }
  p.mode = mode;
  p.reverse = reverse;
  call.run(&fa_table::recurrent_bwd, p);
}

}  // namespace

void bind_recurrent(py::module_& m) {
  m.def("recurrent_fwd", &recurrent_fwd);
  m.def("recurrent_bwd", &recurrent_bwd);
}

}  // namespace fastattn::bindings
