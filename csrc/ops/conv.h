/* conv: two-dimensional convolution (cross-correlation, as all networks call it); one of one dimension has height 1.
 *
 *   x (N, C, H, W)   weight (O, C / groups, KH, KW)   bias (O) optional   out (N, O, P, Q)
 *
 *   out[n, o, p, q] = bias[o] + sum over c, i, j of weight[o, c, i, j] x[n, g C / groups + c, p SH + i DH - PH,
 *                     q SW + j DW - PW],   g = o / (O / groups); x is 0 outside of itself
 *
 * bwd_input: dx = d out / d x, of dout. bwd_weight: dweight, and dbias, where given, of x and dout; dweight may be
 * absent (data == NULL; its shape is read all the same). All are overwritten.
 *
 * padding says what is before x; what is after it follows from P and Q. A view has any strides: channels last
 * (stride 1 along C) and channels first (stride 1 along W) are fast. dtypes: all of one floating dtype; 16-bit ones are
 * summed in f32 and rounded once. N, C, O, P or Q may be 0, and KH, KW, stride, dilation and groups are 1 at least.
 *
 * Same bits for any number of threads. An element of out or dx is a sum in an order that is a function of C, O, groups
 * and the kernel's axes alone; one of dweight or dbias, of all shapes and, with groups of one channel, of the layout.
 */
#ifndef FASTATTN_OPS_CONV_H
#define FASTATTN_OPS_CONV_H

#include "types.h"

typedef struct fa_conv_geometry { /* along H and W */
  int64_t stride[2];
  int64_t padding[2];
  int64_t dilation[2];
  int64_t groups;
} fa_conv_geometry;

typedef struct fa_conv_fwd_params {
  fa_tensor x;
  fa_tensor weight;
  fa_tensor bias;
  fa_tensor out;
  fa_conv_geometry geometry;
} fa_conv_fwd_params;

typedef struct fa_conv_bwd_input_params {
  fa_tensor weight;
  fa_tensor dout;
  fa_tensor dx;
  fa_conv_geometry geometry;
} fa_conv_bwd_input_params;

typedef struct fa_conv_bwd_weight_params {
  fa_tensor x;
  fa_tensor dout;
  fa_tensor dweight;
  fa_tensor dbias;
  fa_conv_geometry geometry;
} fa_conv_bwd_weight_params;

#endif
