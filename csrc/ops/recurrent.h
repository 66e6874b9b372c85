/* recurrent: one layer of a recurrent network, in one direction.
 *
 *   x (T, B, I)   w_ih (G H, I)   w_hh (G H, H)   b_ih, b_hh (G H) optional   h0, c0 (B, H) optional: 0
 *   lengths (B) optional: T, each 0..T   output (T, B, H)   h_n, c_n (B, H)
 *
 * a = x_t W_ih^T + b_ih and s = h W_hh^T + b_hh, in G gates of H rows:
 *
 *   rnn_tanh, rnn_relu  G = 1   h' = tanh(a + s), relu(a + s)
 *   lstm  G = 4: i f g o        i, f, o = sigmoid(a + s), g = tanh(a + s);  c' = f c + i g,  h' = o tanh(c')
 *   gru   G = 3: r z n          r, z = sigmoid(a + s), n = tanh(a_n + r s_n);  h' = (1 - z) n + z h
 *
 * t goes from 0 to T - 1, with reverse from T - 1 to 0. From its length on a sequence keeps its state, its output is 0
 * and its x is not looked at; in reverse it starts at its own last element.
 *
 * gates (T, B, K, H) and cells (T, B, H; lstm), where given, receive what the backward reads, where a sequence is not
 * over: K = G gates after their functions, for gru K = 4: s_n, r, z, n. cells: c'.
 *
 * Backward: from the gradients of output, h_n and c_n (each optional: 0) those of the arrays that are given. h0 and c0
 * are the forward's. What the gradients hold before is overwritten.
 *
 * dtypes: one floating dtype; gates and cells of its accumulator's, which the state is kept in too. lengths i32 or i64;
 * one outside 0..T is FA_INVALID, before anything is written; on CUDA, whose host does not see it, its sequence is NaN
 * and gives no gradient. Inputs have any strides, the rest is contiguous. Sizes 0 are allowed, but for H.
 */
#ifndef FASTATTN_OPS_RECURRENT_H
#define FASTATTN_OPS_RECURRENT_H

#include "types.h"

typedef enum fa_recurrent_mode {
  FA_RNN_TANH = 0,
  FA_RNN_RELU = 1,
  FA_LSTM = 2,
  FA_GRU = 3,
} fa_recurrent_mode;

typedef struct fa_recurrent_fwd_params {
  fa_tensor x;
  fa_tensor w_ih;
  fa_tensor w_hh;
  fa_tensor b_ih;
  fa_tensor b_hh;
  fa_tensor h0;
  fa_tensor c0;
  fa_tensor lengths;
  fa_tensor output;
  fa_tensor h_n;
  fa_tensor c_n;   /* lstm */
  fa_tensor gates; /* or absent */
  fa_tensor cells; /* lstm, or absent */
  int32_t mode;    /* fa_recurrent_mode */
  int32_t reverse;
} fa_recurrent_fwd_params;

typedef struct fa_recurrent_bwd_params {
  fa_tensor x;
  fa_tensor w_ih;
  fa_tensor w_hh;
  fa_tensor h0;
  fa_tensor c0;
  fa_tensor lengths;
  fa_tensor output;
  fa_tensor gates;
  fa_tensor cells;
  fa_tensor doutput; /* (T, B, H) or absent */
  fa_tensor dh_n;    /* (B, H) or absent */
  fa_tensor dc_n;
  fa_tensor dx; /* each of what follows may be absent */
  fa_tensor dw_ih;
  fa_tensor dw_hh;
  fa_tensor db_ih;
  fa_tensor db_hh;
  fa_tensor dh0;
  fa_tensor dc0;
  int32_t mode;
  int32_t reverse;
} fa_recurrent_bwd_params;

#endif
