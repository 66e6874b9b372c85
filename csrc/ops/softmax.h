/* softmax, log_softmax and logsumexp over one axis of x, any strides; s = scale * x + mask:
 *
 *   out = exp(s - max(s)) / sum(exp(s - max(s)))   or   out = s - max(s) - log(sum(exp(s - max(s))))
 *   or  out = max(s) + log(sum(exp(s - max(s))))
 *
 * out has the shape of x; of logsumexp, with 1 along the axis (inf where s has one, -inf where nothing is kept).
 * mask has the shape of x, a broadcast axis with stride 0: FA_BOOL (true = keep) or the dtype of x (added), or absent.
 * A row with nothing to keep gives 0 (softmax) or -inf (log_softmax) and gradient 0. out may be x itself.
 *
 * Backward, from out:   softmax      dx = scale * out * (dout - sum(dout * out))
 *                       log_softmax  dx = scale * (dout - exp(out) * sum(dout))
 * The gradient of an additive mask is dx / scale, summed over its broadcast axes; the op description derives it.
 * dx may be dout itself. That of logsumexp is dout * softmax(s), which the op description makes.
 *
 * dtypes: x, out, dout, dx of one floating dtype. Statistics in that dtype's accumulator.
 */
#ifndef FASTATTN_OPS_SOFTMAX_H
#define FASTATTN_OPS_SOFTMAX_H

#include "types.h"

typedef enum fa_softmax_form { FA_SOFTMAX = 0, FA_LOG_SOFTMAX = 1, FA_LOGSUMEXP = 2 } fa_softmax_form;

typedef struct fa_softmax_fwd_params {
  fa_tensor x;
  fa_tensor mask;
  fa_tensor out;
  double scale;
  int32_t axis; /* 0 <= axis < ndim */
  int32_t form; /* fa_softmax_form */
} fa_softmax_fwd_params;

typedef struct fa_softmax_bwd_params {
  fa_tensor out;
  fa_tensor dout;
  fa_tensor dx;
  double scale;
  int32_t axis;
  int32_t form; /* one of the first two */
} fa_softmax_bwd_params;

#endif
