"""Scaled dot-product attention."""

from __future__ import annotations

import operator
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastattn import _C, _random

from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind

LAYOUTS = {"bhtd": False, "bthd": True}
ALIGNS = {"top_left": 0, "bottom_right": 1}


class AttentionResult(NamedTuple):
    """What attention returns when weights or lse are asked for; None for what is not."""

    output: Array
    weights: Array | TopWeights | None
    lse: Array | None


class TopWeights(NamedTuple):
    """The largest weights of each row, falling, and the keys that they belong to."""

    values: Array
    indices: Array


@dataclass(frozen=True)
class Weights:
    """Which softmax weights attention returns, as its `return_weights`. Nothing is held beside what is asked for.

    Args:
        rows: queries: a number, a slice or a list of numbers, negative ones from the end; default all. The axis stays.
        heads: query heads, likewise.
        topk: only the k largest weights of each row, falling, as `TopWeights` (values, indices), indices int64. Of equal
            weights the first key comes first; keys behind a mask count, with weight 0.
        mean: the mean over the heads, whose axis goes. `topk` is then of the mean.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> q = np.zeros((1, 2, 3, 4)); v = np.ones((1, 2, 5, 4))
        >>> last = fa.Weights(rows=-1, mean=True)
        >>> fa.scaled_dot_product_attention(q, v, v, return_weights=last).weights.shape
        (1, 1, 5)
    """

    rows: Any = None
    heads: Any = None
    topk: int | None = None
    mean: bool = False


EVERY = Weights()  # what return_weights=True means


class _Captured(threading.local):
    maps: list[Any] | None = None


_captured = _Captured()


class capture_attention:
    """Within, the softmax weights of every call of attention are kept, in the order of the calls: a context manager.

    No bit of an output changes. Calls that return weights anyway, and those with a key-value cache, are not among them.

    Returns:
        A list that grows: (B, H, T, S) each, of the kind that the call had. They are B H T S numbers.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> q = np.zeros((1, 2, 3, 4)); v = np.ones((1, 2, 5, 4))
        >>> with fa.capture_attention() as maps:
        ...     out = fa.scaled_dot_product_attention(q, v, v)
        >>> [m.shape for m in maps]
        [(1, 2, 3, 5)]

    Source: none.
    """

    def __enter__(self) -> list[Any]:
        self.before, _captured.maps = _captured.maps, []
        return _captured.maps

    def __exit__(self, *exc: object) -> None:
        _captured.maps = self.before


def _chosen(name: str, index: Any, length: int) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Numbers along an axis, int64 and none twice, or None for all."""
    if index is None:
        return None
    try:
        numbers = np.atleast_1d(np.arange(length, dtype=np.int64)[index])
    except IndexError as error:
        msg = f"{ATTENTION.name}: weights.{name} is {index!r}; expected numbers along an axis of {length} ({error})"
        raise ValueError(msg) from None
    if numbers.ndim != 1 or len(set(numbers.tolist())) != len(numbers):
        raise attribute_error(ATTENTION.name, f"weights.{name}", index, "a row of numbers, none of them twice")
    return np.ascontiguousarray(numbers)


class Attention(Op):
    """attrs: options (the tuple that `_C` takes as it is), return_lse, return_weights (a Weights, or None)."""

    name = "scaled_dot_product_attention"
    arrays = ("query", "key", "value", "attn_mask", "alibi_slopes", "sinks")
    required = 3
    differentiable = ("query", "key", "value", "attn_mask", "alibi_slopes", "sinks")
    autocast = "lower"

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        query, key, value = arrays[:3]
        options, return_lse, weights = attrs
        shape = query.shape
        out = (shape[:-1] + value.shape[-1:], query.dtype)
        if not (return_lse or weights is not None or saving):
            return out, None, None, None
        bthd = options[0] and len(shape) >= 3  # (..., T, H, D): rows of statistics are (..., H, T) all the same
        rows = (*shape[:-3], shape[-2], shape[-3]) if bthd else tuple(shape[:-1])
        lse = (rows, kind.accumulator(query.dtype))
        if weights is None:
            return out, lse, None, None
        heads, places, mean = options[-3:]
        *batch, num_heads, num_rows = (1, *rows)
        if mean:
            num_heads = 1
        elif heads is not None:
            num_heads = len(heads)
        keys = (1, 1, 1, *key.shape)[-3 if bthd else -2] if weights.topk is None else weights.topk
        chosen = (*batch, num_heads, num_rows if places is None else len(places), keys)
        chosen = chosen[len(chosen) - len(rows) - 1 :] if len(rows) > 1 else chosen[-2:]
        return out, lse, (chosen, query.dtype), None if weights.topk is None else (chosen, kind.index)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.attention_fwd(*arrays, *outs, *attrs[0])

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return *arrays, outs[0], outs[1], outs[3]

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        options, return_lse, weights = attrs
        arrays, out = saved[:6], saved[6]
        assert out is not None
        dout = grads[0] if grads[0] is not None else kind.zeros(out.shape, out.dtype, out)
        dlse = grads[1] if return_lse or weights is not None else None
        dweights = grads[2] if weights is not None else None
        wanted = tuple(
            kind.empty(x.shape, x.dtype, x) if x is not None and need else None
            for x, need in zip(arrays, needs, strict=True)
        )
        _C.attention_bwd(*saved, dout, dlse, dweights, *wanted, *options)
        return wanted

    def public(self, attrs: tuple[Any, ...]) -> int:
        if attrs[2] is not None:
            return 3 if attrs[2].topk is None else 4
        return 3 if attrs[1] else 1


ATTENTION = Attention()


def window_sides(op: str, window: Any) -> tuple[int, int]:
    """How many keys before and after its position a query sees; -1 = all."""
    if window is None:
        return -1, -1
    try:
        left, right = window
        return operator.index(left), operator.index(right)
    except (TypeError, ValueError):
        raise attribute_error(op, "window", window, "(left, right), two integers of -1 (all) or more") from None


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
    return_weights: bool | Weights = False,
    return_lse: bool = False,
    seed: int | tuple[int, int] | None = None,
    out: Array | None = None,
) -> Any:
    r"""Attention by tiles with an online softmax: no T x S array is held, forward or backward.

    .. math:: \mathrm{out} = \mathrm{dropout}(\mathrm{softmax}(\mathrm{cap}(\mathrm{scale} \cdot Q K^T) + \mathrm{mask} +
        \mathrm{alibi})) V

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
        softcap: if not 0, scores become softcap * tanh(scores / softcap), before mask and slopes.
        alibi_slopes: (H,) or (B, H), any floating dtype: -slope * |position - key| is added to the scores, the position of
            query i being i (top_left) or i + S - T (bottom_right). They have a gradient.
        sinks: (H,), any floating dtype: a logit per head that takes weight and has no value. lse counts it; a query that
            sees no key gives 0 and lse = sink. They have a gradient.
        return_weights: also return the softmax weights before dropout, (B, H, T, S), with their gradient; or `Weights`: of
            some rows or heads, their mean over heads, or the largest of each row.
        return_lse: also return log(sum(exp(scores))), (B, H, T).
        seed: of the dropout mask, default the next of the global stream (`fa.manual_seed`); or a pair, seed and offset.
        out: the array to write to.

    Returns:
        (B, H, T, Dv), or a named tuple (output, weights, lse) where one of those is asked for. The output is the same to
        the bit either way, and gradients flow through all three.

    Raises:
        ValueError: shapes that do not fit, named with their axes; an unknown `layout` or `causal_align`; weights that are
            not there.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> q = np.zeros((1, 2, 3, 4)); v = np.ones((1, 2, 5, 4))
        >>> fa.scaled_dot_product_attention(q, v, v).shape
        (1, 2, 3, 4)

    Source: Dao, "FlashAttention-2" (2023), algorithms 1 and 2; Dao et al., "FlashAttention" (2022), appendix B.4, for the
    dropout; Press et al., "Train Short, Test Long" (2022), section 3, for ALiBi; "Gemma 2" (2024), section 2, for the
    softcap; Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (2023), section 3.2, for sinks.
    """
    name = ATTENTION.name
    if layout not in LAYOUTS:
        raise attribute_error(name, "layout", layout, '"bhtd" or "bthd"')
    if causal_align not in ALIGNS:
        raise attribute_error(name, "causal_align", causal_align, '"top_left" or "bottom_right"')
    left, right = window_sides(name, window)
    key_of_dropout = _random.key_of(seed) if dropout_p else (0, 0)
    weights, heads, rows, mean = None, None, None, False
    if return_weights is not False and return_weights is not None:
        weights = EVERY if return_weights is True else return_weights
        heads, rows, mean = _places(weights, getattr(query, "shape", ()), LAYOUTS[layout])
    captured = _captured.maps if weights is None else None
    if captured is not None:
        weights = EVERY
    options = (
        LAYOUTS[layout], dropout_p, *key_of_dropout, is_causal, scale, enable_gqa, ALIGNS[causal_align], left, right, softcap,
        heads, rows, mean,
    )  # fmt: skip
    arrays = (query, key, value, attn_mask, alibi_slopes, sinks)
    result = ATTENTION(arrays, (options, return_lse, weights), out)
    if captured is not None:
        captured.append(result[2])
        return AttentionResult(result[0], None, result[1]) if return_lse else result[0]
    if weights is None:
        return result if not return_lse else AttentionResult(result[0], None, result[1])
    found = result[2:]
    if mean and query.ndim > 2:
        found = tuple([x.squeeze(-3) for x in found])
    return AttentionResult(
        result[0], found[0] if weights.topk is None else TopWeights(*found), result[1] if return_lse else None
    )


def _places(weights: Any, shape: tuple[int, ...], bthd: bool) -> tuple[Any, Any, bool]:
    """heads and rows as `_C` takes them, and mean; of a query whose shape is wrong all, since `_C` says so."""
    name = ATTENTION.name
    if not isinstance(weights, Weights):
        msg = f"{name}: return_weights is a {type(weights).__name__}; expected a bool or fastattn.Weights"
        raise TypeError(msg)
    topk = weights.topk
    if topk is not None and (isinstance(topk, bool) or not isinstance(topk, int) or topk < 1):
        raise attribute_error(name, "weights.topk", topk, "1 or more keys")
    if len(shape) < 2:
        return None, None, weights.mean
    axes = (1, *shape[:-1])
    heads, rows = (axes[-1], axes[-2]) if bthd and len(shape) > 2 else (axes[-2], axes[-1])
    chosen = _chosen("heads", weights.heads, heads)
    if weights.mean and (heads if chosen is None else len(chosen)) == 0:
        raise attribute_error(name, "weights.mean", True, "at least one head")
    return chosen, _chosen("rows", weights.rows, rows), weights.mean
