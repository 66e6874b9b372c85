"""Scaled dot-product attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fastattn import _C, _random

from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind

LAYOUTS = {"bhtd": False, "bthd": True}
ALIGNS = {"top_left": 0, "bottom_right": 1}


class AttentionResult(NamedTuple):
    """What attention returns when weights or lse are asked for; None for what is not."""

    output: Array
    weights: Array | None
    lse: Array | None


class Attention(Op):
    """attrs: options (the tuple that `_C` takes as it is), return_lse, return_weights."""

    name = "scaled_dot_product_attention"
    arrays = ("query", "key", "value", "attn_mask", "alibi_slopes", "sinks")
    required = 3
    differentiable = ("query", "key", "value", "attn_mask", "alibi_slopes", "sinks")
    autocast = "lower"

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        query, key, value = arrays[:3]
        options, return_lse, return_weights = attrs
        shape = query.shape
        lse = weights = None
        if return_lse or return_weights or saving:
            bthd = options[0] and len(shape) >= 3  # (..., T, H, D): rows of statistics are (..., H, T) all the same
            rows = (*shape[:-3], shape[-2], shape[-3]) if bthd else tuple(shape[:-1])
            lse = (rows, kind.accumulator(query.dtype))
            if return_weights:
                weights = ((*rows, (1, 1, 1, *key.shape)[-3 if bthd else -2]), query.dtype)
        return (shape[:-1] + value.shape[-1:], query.dtype), lse, weights

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.attention_fwd(*arrays, *outs, *attrs[0])

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return *arrays, outs[0], outs[1]

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        options, return_lse, return_weights = attrs
        arrays, out = saved[:6], saved[6]
        assert out is not None
        dout = grads[0] if grads[0] is not None else kind.zeros(out.shape, out.dtype, out)
        dlse = grads[1] if return_lse or return_weights else None
        dweights = grads[2] if return_weights else None
        wanted = tuple(
            kind.empty(x.shape, x.dtype, x) if x is not None and need else None
            for x, need in zip(arrays, needs, strict=True)
        )
        _C.attention_bwd(*saved, dout, dlse, dweights, *wanted, *options)
        return wanted

    def public(self, attrs: tuple[Any, ...]) -> int:
        return 3 if attrs[1] or attrs[2] else 1


ATTENTION = Attention()


def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    layout: str = "bhtd",
    causal_align: str = "top_left",
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: Array | None = None,
    sinks: Array | None = None,
    return_weights: bool = False,
    return_lse: bool = False,
    seed: int | None = None,
    out: Array | None = None,
) -> Any:
    r"""Attention by tiles with an online softmax: no T x S array is held, forward or backward.

    .. math:: \mathrm{out} = \mathrm{dropout}(\mathrm{softmax}(\mathrm{scale} \cdot Q K^T + \mathrm{mask})) V

    The first eight arguments are torch's, with torch's defaults. A mask, `is_causal` and `window` compose: a query sees a
    key that passes all of them. A query that sees no key gives 0 and gradient 0; NaN behind a mask does not leak.

    Which keys j a query i sees, for T = 2 queries and S = 4 keys (x = seen)::

        top_left      x . . .      bottom_right   x x x .
                      x x . .                     x x x x

    Args:
        query: (B, H, T, D), any floating dtype, any strides; also (H, T, D) and (T, D). D from 1 to 256.
        key: (B, Hkv, S, D), the dtype of `query`.
        value: (B, Hkv, S, Dv).
        attn_mask: broadcastable to (B, H, T, S). bool: True = attend. The dtype of `query`: added; it has a gradient.
        dropout_p: probability of dropping a weight; the others are divided by 1 - dropout_p. lse is as without. The mask
            is that of `dropout` on the weights (B, H, T, S) with the same `seed`, whatever `layout`.
        is_causal: a query sees no later key; `causal_align` says how T and S align.
        scale: multiplies the scores, default 1 / sqrt(D).
        enable_gqa: H may be a multiple of Hkv; query head h reads key head h // (H // Hkv).
        layout: "bhtd", or "bthd" for arrays (B, T, H, D). lse stays (B, H, T).
        causal_align: "top_left" (torch) or "bottom_right" (flash-attn).
        window: (left, right): how many keys before and after its position a query sees; -1 = all.
        softcap: if not 0, scores become softcap * tanh(scores / softcap) before the mask.
        alibi_slopes: (H,) or (B, H): -slope * |distance| is added to the scores.
        sinks: (H,): a logit per head that takes weight and has no value.
        return_weights: also return the softmax weights, (B, H, T, S).
        return_lse: also return log(sum(exp(scores))), (B, H, T).
        seed: of the dropout mask, default the next of the global stream (`fa.manual_seed`).
        out: the array to write to.

    Returns:
        (B, H, T, Dv), or a named tuple (output, weights, lse) where one of those is asked for.

    Raises:
        ValueError: shapes that do not fit, named with their axes; an unknown `layout` or `causal_align`.
        TypeError: dtypes that are not floating, or mixed.
        UnsupportedError: an option that this backend has no kernel for.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> q = np.zeros((1, 2, 3, 4)); v = np.ones((1, 2, 5, 4))
        >>> fa.scaled_dot_product_attention(q, v, v).shape
        (1, 2, 3, 4)

    Source: Dao, "FlashAttention-2" (2023), algorithms 1 and 2; Dao et al., "FlashAttention" (2022), appendix B.4, for the
    dropout.
    """
    name = ATTENTION.name
    if layout not in LAYOUTS:
        raise attribute_error(name, "layout", layout, '"bhtd" or "bthd"')
    if causal_align not in ALIGNS:
        raise attribute_error(name, "causal_align", causal_align, '"top_left" or "bottom_right"')
    left, right = (-1, -1) if window is None else window
    key_of_dropout = (0, 0)
    if dropout_p:
        key_of_dropout = _random.next_key() if seed is None else (seed % 2**64, 0)
    options = (
        LAYOUTS[layout], dropout_p, *key_of_dropout, is_causal, scale, enable_gqa, ALIGNS[causal_align], left, right, softcap,
    )  # fmt: skip
    arrays = (query, key, value, attn_mask, alibi_slopes, sinks)
    result = ATTENTION(arrays, (options, return_lse, return_weights), out)
    if not (return_lse or return_weights):
        return result
    output, lse, weights = result
    return AttentionResult(output, weights, lse if return_lse else None)
