/* pool: the maximum or the average of windows over the last two axes of x
 *
 *   x (N, C, H, W), out (N, C, OH, OW), any strides: a channels-last array is a view of other strides
 *
 *   Window (oh, ow) has the taps (kh, kw), 0 <= kh < kernel[0], 0 <= kw < kernel[1], of which tap (kh, kw) is
 *   x[n, c, oh stride[0] - padding[0] + kh dilation[0], ow stride[1] - padding[1] + kw dilation[1]] where that is
 * inside x. adaptive: window o of an axis is instead [floor(o in / out), ceil((o + 1) in / out)), kernel is the largest
 * number of taps of a window, and stride, padding and dilation are not read.
 *
 *   FA_POOL_MAX: out is the largest tap; the first of equal ones in row-major order. A NaN is larger than any number,
 * the last one of a window stands for it. A window without a tap inside x gives -inf. index (N, C, OH, OW), or absent:
 * where that tap is. u8: kh kernel[1] + kw, for at most 256 taps. i64: the position h W + w in the plane, -1 where
 * no tap is inside x. FA_POOL_AVG: out is the sum of the taps over their number: of those that are inside x, or with
 * count_include_pad of those that are inside x and its padding, or divisor where that is not 0. dilation is 1.
 *
 * Backward: dx from dout and, of a maximum, the index that the forward gave. dx is overwritten; an element that is in
 * several windows gets their sum, in the row-major order of the windows.
 *
 * dtypes: x, out, dout, dx of one floating dtype; sums in its accumulator.
 */
#ifndef FASTATTN_OPS_POOL_H
#define FASTATTN_OPS_POOL_H

#include "types.h"

typedef enum fa_pool_mode { FA_POOL_MAX = 0, FA_POOL_AVG = 1 } fa_pool_mode;

typedef struct fa_pool_window {
  int64_t kernel[2]; /* of H, of W */
  int64_t stride[2];
  int64_t padding[2];
  int64_t dilation[2];
  int64_t divisor;
  int32_t adaptive;
  int32_t count_include_pad;
  int32_t mode; /* fa_pool_mode */
} fa_pool_window;

typedef struct fa_pool_fwd_params {
  fa_tensor x;
  fa_tensor out;
  fa_tensor index;
  fa_pool_window window;
} fa_pool_fwd_params;

typedef struct fa_pool_bwd_params {
  fa_tensor dout;
  fa_tensor index;
  fa_tensor dx;
  fa_pool_window window;
} fa_pool_bwd_params;

#endif
