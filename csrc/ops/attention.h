/* attention: out = dropout(softmax(cap(scale * query @ key^T) + mask + alibi)) @ value
 *
 *   query (B, H, T, D)   key (B, Hkv, S, D)   value (B, Hkv, S, Dv)   out (B, H, T, Dv)   lse (B, H, T)
 *
 * H is a multiple of Hkv: query head h reads key/value head h / (H / Hkv). 1 <= D, Dv <= 256; B, H, T, S may be 0.
 * mask (B, H, T, S), a broadcast axis has stride 0: FA_BOOL (true = attend) or the dtype of query (added to the
 * scores). Causal, top-left:     query i sees keys j <= i. Causal, bottom-right: query i sees keys j <= i + S - T.
 * window (left, right): query i, at position p = i (top-left) or i + S - T (bottom-right), sees p - left <= j <= p +
 * right; -1 = unbounded. All of mask, causal and window compose (a key must pass each of them). A query that sees no
 * key, or whose scores are all -inf, gives out 0, lse -inf and gradient 0. A key that no query sees may hold NaN or
 * inf: it is skipped, not multiplied by 0. lse = log(sum(exp(scores))), natural, in the accumulator's dtype (f32 for
 * f16, bf16 and f32; f64 for f64).
 *
 * Softcap: cap(x) = softcap * tanh(x / softcap), 0 or inf: x. ALiBi: -slope * |p - j| is added, p the query's position
 * as for the window. Sinks: a logit per head that takes weight and has no value: out = sum(exp(score) value) /
 * (exp(sink) + sum(exp(score))), lse = log(exp(sink) + sum(exp(score))). A query that sees no key then gives out 0 and
 * lse = sink, through which a dlse reaches the sink.
 *
 * Weights: exp(score - lse), before dropout, of weights_heads and weights_rows (each without repeats, or all), made by
 * tile from lse, which must be there; out is what it is without them, to the bit. weights_mean: their mean over those
 * heads, an axis of 1. weights_keys: of each row (of the mean, too) only the K largest, falling, the first key of equal
 * ones first; K <= S.
 *
 * dtypes: query, key, value, weights and out are of one floating dtype; lse and dlse of its accumulator's;
 * alibi_slopes and sinks of any floating dtype, their gradients of theirs. Any strides for inputs; out, weights,
 * weights_keys, dquery, dkey, dvalue contiguous along the last axis.
 *
 * Backward: from query, key, value, out, lse, dout (and dlse, dweights) to dquery, dkey, dvalue, dmask, dalibi_slopes,
 * dsinks. dmask and dalibi_slopes have the strides of their arguments: where one is 0 the gradient is summed over the
 * axis. No T x S array is held in either pass but the weights asked for; the backward recomputes the scores by tile
 * from lse.
 *
 * Source: Dao, "FlashAttention-2" (2023), algorithms 1 and 2; Milakov and Gimelshein, "Online normalizer calculation
 * for softmax" (2018); Press et al., "Train Short, Test Long" (2022), for ALiBi; the Gemma 2 report (2024), section 2,
 * for the softcap; Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (2023), section 3.2, for
 * sinks.
 */
#ifndef FASTATTN_OPS_ATTENTION_H
#define FASTATTN_OPS_ATTENTION_H

#include "types.h"

typedef enum fa_causal_align { FA_ALIGN_TOP_LEFT = 0, FA_ALIGN_BOTTOM_RIGHT = 1 } fa_causal_align;

typedef struct fa_attention_fwd_params {
  fa_tensor query;         /* (B, H, T, D) */
  fa_tensor key;           /* (B, Hkv, S, D) */
  fa_tensor value;         /* (B, Hkv, S, Dv) */
  fa_tensor mask;          /* (B, H, T, S) or absent */
  fa_tensor alibi_slopes;  /* (B, H) or absent */
  fa_tensor sinks;         /* (H) or absent: a logit per head that takes weight and has no value */
  fa_tensor out;           /* (B, H, T, Dv) */
  fa_tensor lse;           /* (B, H, T) or absent */
  fa_tensor weights;       /* (B, H or chosen or 1, T or chosen, S or K) or absent */
  fa_tensor weights_heads; /* (chosen heads), i64, or absent: all */
  fa_tensor weights_rows;  /* (chosen rows), i64, or absent: all */
  fa_tensor weights_keys;  /* i64, the shape of weights: the keys of the K largest, or absent: all keys */
  double scale;
  double softcap; /* 0 = off; else scores = softcap * tanh(scores / softcap), before the mask */
  double dropout_p;
  uint64_t seed;
  uint64_t offset;
  int32_t is_causal;
  int32_t causal_align; /* fa_causal_align; also places the window */
  int64_t window_left;  /* -1 = unbounded */
  int64_t window_right;
  int32_t weights_mean; /* 1: the mean over the chosen heads */
} fa_attention_fwd_params;

typedef struct fa_attention_bwd_params {
  fa_attention_fwd_params fwd; /* out, lse and weights_keys are inputs here; weights is not looked at */
  fa_tensor dout;              /* (B, H, T, Dv) */
  fa_tensor dlse;              /* (B, H, T) or absent */
  fa_tensor dweights;          /* the shape of weights, or absent */
  fa_tensor dquery;            /* each of these absent where it is not wanted */
  fa_tensor dkey;
  fa_tensor dvalue;
  fa_tensor dmask; /* (B, H, T, S), stride 0 = summed */
  fa_tensor dalibi_slopes;
  fa_tensor dsinks;
} fa_attention_bwd_params;

#endif
