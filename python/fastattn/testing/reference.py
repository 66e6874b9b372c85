"""What the ops compute, written for clarity in NumPy.

A function works in the dtype of its arguments: one rounding per operation, sums in index order. In twice the precision
it is the oracle of a test, in the storage dtype the naive implementation that sets the tolerance (`tolerance`).
Gradients are `X_backward(dout, ...)`, formulas of their own, so that they do not share a mistake with the forward.
With `magnitude`, which some take, a function says how large its results would be if nothing in them cancelled.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._elementwise import activate as activate
from ._elementwise import activate_backward as activate_backward
from ._elementwise import binary as binary
from ._elementwise import erf as erf
from ._elementwise import gelu as gelu
from ._elementwise import gelu_backward as gelu_backward
from ._elementwise import rope as rope
from ._elementwise import swiglu as swiglu
from ._elementwise import swiglu_backward as swiglu_backward
from ._random import dropout_keep as dropout_keep
from ._random import normal as normal
from ._random import philox as philox
from ._random import uniform as uniform
from ._random import words as words

NDArray = np.ndarray[Any, Any]


def total(x: NDArray, axis: int | tuple[int, ...] = -1, keepdims: bool = False) -> NDArray:
    """Sum in index order, without NumPy's pairing."""
    axes = (axis,) if isinstance(axis, int) else axis
    result = x
    for a in sorted(a % x.ndim for a in axes)[::-1]:
        running = np.add.accumulate(result, axis=a, dtype=x.dtype)
        last = running.take([-1], axis=a) if result.shape[a] else result.sum(axis=a, keepdims=True, dtype=x.dtype)
        result = last if keepdims else last.squeeze(a)
    return result


def sum_to(x: NDArray, shape: tuple[int, ...]) -> NDArray:
    """The gradient of broadcasting `shape` to that of `x`: the sum over the repeated axes."""
    extra = x.ndim - len(shape)
    repeated = (*range(extra), *(i + extra for i, n in enumerate(shape) if n == 1))
    return (total(x, repeated) if repeated else x).reshape(shape)


# matmul --------------------------------------------------------------------------------------------------------------


def product(a: NDArray, b: NDArray) -> NDArray:
    """(..., M, K) @ (..., K, N), k in order."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.zeros((*batch, a.shape[-2], b.shape[-1]), a.dtype)
    for k in range(a.shape[-1]):
        out = out + a[..., :, k, None] * b[..., None, k, :]
    return out


def matmul(
    a: NDArray,
    b: NDArray,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: NDArray | None = None,
    activation: str | None = None,
    residual: NDArray | None = None,
) -> NDArray:
    """activation(a @ b + bias) + residual."""
    left = a[None, :] if a.ndim == 1 else a.swapaxes(-1, -2) if transpose_a else a
    right = b[:, None] if b.ndim == 1 else b.swapaxes(-1, -2) if transpose_b else b
    out = product(left, right)
    if b.ndim == 1:
        out = out[..., 0]
    if a.ndim == 1:
        out = out[..., 0, :] if b.ndim > 1 else out[..., 0]
    if bias is not None:
        out = out + bias
    if activation is not None:
        out = activate(out, activation)
    return out if residual is None else out + residual


def matmul_backward(dout: NDArray, a: NDArray, b: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """da, db, dbias of a @ b + bias for matrices with broadcast batch axes."""
    da = sum_to(product(dout, b.swapaxes(-1, -2)), a.shape)
    db = sum_to(product(a.swapaxes(-1, -2), dout), b.shape)
    return da, db, sum_to(dout, dout.shape[-1:])


# attention -----------------------------------------------------------------------------------------------------------


def visible(
    rows: int, keys: int, is_causal: bool = False, causal_align: str = "top_left", window: tuple[int, int] | None = None
) -> NDArray:
    """(T, S), true where query i may see key j."""
    position = np.arange(rows)[:, None] + (keys - rows if causal_align == "bottom_right" else 0)
    key = np.arange(keys)[None, :]
    left, right = (-1, -1) if window is None else window
    seen = np.ones((rows, keys), bool)
    if is_causal:
        seen &= key <= position
    if left >= 0:
        seen &= key >= position - left
    if right >= 0:
        seen &= key <= position + right
    return seen


class _Scores:
    """The arguments of attention as (B, H, T, D), key and value heads repeated, and the weights."""

    def __init__(
        self,
        query: NDArray,
        key: NDArray,
        value: NDArray,
        attn_mask: NDArray | None = None,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
        *,
        layout: str = "bhtd",
        causal_align: str = "top_left",
        window: tuple[int, int] | None = None,
        dropout_p: float = 0.0,
        seed: int = 0,
        softcap: float = 0.0,
        alibi_slopes: NDArray | None = None,
        sinks: NDArray | None = None,
    ) -> None:
        self.shapes = query.shape, key.shape, value.shape
        self.bthd = layout == "bthd" and query.ndim >= 3
        self.q, k, v = (self.heads(x) for x in (query, key, value))
        self.group = self.q.shape[1] // k.shape[1] if enable_gqa and k.shape[1] else 1
        self.k, self.v = (x.repeat(self.group, axis=1) for x in (k, v))
        self.scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        rows, keys = self.q.shape[2], self.k.shape[2]
        seen = visible(rows, keys, is_causal, causal_align, window)
        scores = self.scale * product(self.q, self.k.swapaxes(-1, -2))
        self.dcap = np.ones_like(scores)
        if softcap:
            cap = np.tanh(scores / scores.dtype.type(softcap))
            scores, self.dcap = scores.dtype.type(softcap) * cap, 1 - cap * cap
        position = np.arange(rows) + (keys - rows if causal_align == "bottom_right" else 0)
        self.distance = np.abs(position[:, None] - np.arange(keys)).astype(scores.dtype)
        if alibi_slopes is not None:
            scores = scores - np.broadcast_to(alibi_slopes, scores.shape[:2])[..., None, None] * self.distance
        if attn_mask is not None and attn_mask.dtype == bool:
            seen = seen & attn_mask
        elif attn_mask is not None:
            seen = seen & (attn_mask != -np.inf)
            scores = scores + attn_mask
        self.seen = np.broadcast_to(seen, scores.shape)
        scores = np.where(self.seen, scores, -np.inf)
        highest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
        if sinks is not None:
            highest = np.maximum(highest, sinks[:, None, None])
        empty = highest == -np.inf
        exponentials = np.where(self.seen, np.exp(scores - np.where(empty, 0, highest)), 0)
        sums = total(exponentials, keepdims=True)
        if sinks is not None:
            of_sink = np.exp(sinks[:, None, None] - np.where(empty, 0, highest))
            sums = sums + of_sink
            self.sink_weights = (of_sink / np.where(empty, 1, sums))[..., 0]  # (B, H, T)
        self.weights = exponentials / np.where(empty, 1, sums)
        self.sizes = np.where(self.seen, 1 + np.abs(scores), 0)  # of what a rounding of the scores does to the weights
        self.kept = np.ones((), scores.dtype)
        if dropout_p:
            factor = 0 if dropout_p == 1 else 1 / (1 - dropout_p)
            self.kept = np.where(dropout_keep(scores.shape, dropout_p, seed), factor, 0).astype(scores.dtype)
        self.lse = np.where(empty, -np.inf, highest + np.log(np.where(empty, 1, sums)))[..., 0]

    def heads(self, x: NDArray) -> NDArray:
        return x[(None,) * (4 - x.ndim)].swapaxes(1, 2) if self.bthd else x[(None,) * (4 - x.ndim)]

    def back(self, x: NDArray, shape: tuple[int, ...]) -> NDArray:
        """(B, H, T, D) in the layout of the arguments; the gradient of a shared head is the sum over its group."""
        if len(shape) > 2 and x.shape[1] != shape[-2 if self.bthd else -3]:
            x = total(x.reshape(x.shape[0], x.shape[1] // self.group, self.group, *x.shape[2:]), 2)
        return (x.swapaxes(1, 2) if self.bthd else x).reshape(shape)

    def seen_product(self, weights: NDArray, x: NDArray, transpose: bool = False) -> NDArray:
        """weights @ x, or weights^T @ x, over visible pairs alone: what is hidden may be NaN."""
        seen = self.seen.swapaxes(-1, -2) if transpose else self.seen
        w = weights.swapaxes(-1, -2) if transpose else weights
        out = np.zeros((*w.shape[:-1], x.shape[-1]), x.dtype)
        for j in range(w.shape[-1]):
            out = out + np.where(seen[..., j, None], w[..., j, None] * x[..., None, j, :], 0)
        return out


def attention(
    query: NDArray, key: NDArray, value: NDArray, *args: Any, magnitude: bool = False, **options: Any
) -> tuple[NDArray, ...]:
    """(output, weights, lse) of softmax(cap(scale * query @ key^T) + mask + alibi) @ value; weights are those before
    dropout."""
    s = _Scores(query, key, value, *args, **options)
    if magnitude:
        s.weights, s.v = s.weights * s.sizes, np.abs(s.v)
        s.lse = total(s.weights)
    out = s.back(s.seen_product(s.weights * s.kept, s.v), (*query.shape[:-1], value.shape[-1]))
    rows = query.shape[:-1] if not s.bthd else (*query.shape[:-3], query.shape[-2], query.shape[-3])
    return out, s.weights.reshape(*rows, s.k.shape[2]), s.lse.reshape(rows)


def attention_backward(
    dout: NDArray,
    query: NDArray,
    key: NDArray,
    value: NDArray,
    attn_mask: NDArray | None = None,
    *args: Any,
    dlse: NDArray | None = None,
    dweights: NDArray | None = None,
    magnitude: bool = False,
    extreme: bool = False,
    **options: Any,
) -> tuple[NDArray | None, ...]:
    """dquery, dkey, dvalue, dattn_mask (None for a boolean mask or none); where there are alibi_slopes or sinks, their
    gradients too.

    With `magnitude`, how large they would be if dP - rowsum(dP * P), which is 0 where a query sees one key and sums to
    0 over keys, were a sum; `extreme`: times what a rounding of the scores does to the weights.
    """
    s = _Scores(query, key, value, attn_mask, *args, **options)
    do = s.heads(dout)
    dp = s.kept * np.where(s.seen, product(do, s.v.swapaxes(-1, -2)), 0)
    delta = total(
        np.where(s.seen.any(-1, keepdims=True), do * s.seen_product(s.weights * s.kept, s.v), 0), keepdims=True
    )
    if dweights is not None:
        given = np.where(s.seen, dweights.reshape(s.weights.shape), 0)
        dp, delta = dp + given, delta + total(s.weights * given, keepdims=True)
    if dlse is not None:
        delta = delta - dlse.reshape(*s.weights.shape[:-1], 1)
    if magnitude and extreme:
        s.weights = s.weights * s.sizes
    dscores = s.weights * (np.abs(dp) + np.abs(delta) if magnitude else dp - delta)
    dscores = np.where(s.seen, dscores, 0)
    k, q = (np.abs(s.k), np.abs(s.q)) if magnitude else (s.k, s.q)
    dproduct = dscores * np.where(s.seen, s.dcap, 0)
    dq = s.scale * s.seen_product(dproduct, k)
    dk = s.scale * s.seen_product(dproduct, q, transpose=True)
    dv = s.seen_product(s.weights * s.kept, np.abs(do) if extreme else do, transpose=True)
    additive = attn_mask is not None and attn_mask.dtype != bool
    dmask = sum_to(dscores, attn_mask.shape) if additive and attn_mask is not None else None
    slopes, sinks = options.get("alibi_slopes"), options.get("sinks")
    result = s.back(dq, s.shapes[0]), s.back(dk, s.shapes[1]), s.back(dv, s.shapes[2]), dmask
    if slopes is None and sinks is None:
        return result
    dslopes = None if slopes is None else -sum_to(total(dscores * s.distance, (2, 3)), slopes.shape)
    of_sinks = None if sinks is None else s.sink_weights * (np.abs(delta) if magnitude else delta)[..., 0]
    dsinks = None if of_sinks is None else -total(of_sinks, (0, 2))
    return *result, dslopes, dsinks


# softmax -------------------------------------------------------------------------------------------------------------


def softmax(
    x: NDArray, axis: int = -1, *, mask: NDArray | None = None, scale: float = 1.0, log: bool = False
) -> NDArray:
    """Softmax of scale * x + mask, or its logarithm; 0 or -inf where a row has nothing to keep."""
    s = scale * x
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else np.where(mask == -np.inf, -np.inf, s + mask)
    highest = s.max(axis=axis, keepdims=True, initial=-np.inf)
    empty = highest == -np.inf
    shifted = s - np.where(empty, 0, highest)
    sums = total(np.exp(shifted), axis, keepdims=True)
    if log:
        return np.where(empty, -np.inf, shifted - np.log(np.where(empty, 1, sums)))
    return np.exp(shifted) / np.where(empty, 1, sums)


def log_softmax(x: NDArray, axis: int = -1, **options: Any) -> NDArray:
    """The logarithm of the softmax."""
    return softmax(x, axis, log=True, **options)


def logsumexp(x: NDArray, axis: int = -1, keepdim: bool = False) -> NDArray:
    """log(sum(exp(x))): -inf of nothing, inf of inf."""
    highest = x.max(axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isinf(highest), 0, highest).astype(x.dtype)
    out: NDArray = shift + np.log(total(np.exp(x - shift), axis, keepdims=True))
    return out if keepdim else out.squeeze(axis)


def logsumexp_backward(dout: NDArray, x: NDArray, axis: int = -1, keepdim: bool = False) -> NDArray:
    """dx."""
    return softmax(x, axis) * (dout if keepdim else np.expand_dims(dout, axis))


def softmax_backward(
    dout: NDArray, x: NDArray, axis: int = -1, *, mask: NDArray | None = None, scale: float = 1.0, log: bool = False
) -> NDArray:
    """dx."""
    weights = softmax(x, axis, mask=mask, scale=scale)
    if log:
        empty = weights.max(axis=axis, keepdims=True, initial=0) == 0
        return np.where(empty, 0, scale * (dout - weights * total(dout, axis, keepdims=True)))
    dx: NDArray = scale * weights * (dout - total(dout * weights, axis, keepdims=True))
    return dx


# layer_norm and rms_norm ---------------------------------------------------------------------------------------------


def _rows(x: NDArray, ndim: int) -> NDArray:
    return x.reshape(*x.shape[: x.ndim - ndim], math.prod(x.shape[x.ndim - ndim :]))


def _normalised(rows: NDArray, eps: float) -> tuple[NDArray, NDArray]:
    width = rows.shape[-1]
    centred = rows - total(rows, keepdims=True) / width
    rstd = 1 / np.sqrt(total(centred * centred, keepdims=True) / width + eps)
    return centred * rstd, rstd


def layer_norm(
    x: NDArray, ndim: int = 1, weight: NDArray | None = None, bias: NDArray | None = None, eps: float = 1e-5
) -> NDArray:
    """The last `ndim` axes to mean 0 and variance 1, scaled and shifted."""
    out = _normalised(_rows(x, ndim), eps)[0].reshape(x.shape)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def layer_norm_backward(
    dout: NDArray,
    x: NDArray,
    ndim: int = 1,
    weight: NDArray | None = None,
    eps: float = 1e-5,
    *,
    magnitude: bool = False,
) -> tuple[NDArray, NDArray, NDArray]:
    """dx, dweight, dbias."""
    shape = x.shape[x.ndim - ndim :]
    normalised, rstd = _normalised(_rows(x, ndim), eps)
    if magnitude:
        normalised, dout, weight = np.abs(normalised), np.abs(dout), None if weight is None else np.abs(weight)
    g = _rows(dout if weight is None else dout * weight, ndim)
    width = g.shape[-1]
    along = total(g * normalised, keepdims=True) / width
    shared = total(g, keepdims=True) / width + normalised * along
    dx = rstd * (g + shared if magnitude else g - shared)
    dweight = sum_to(_rows(dout, ndim) * normalised, g.shape[-1:]).reshape(shape)
    return dx.reshape(x.shape), dweight, sum_to(dout, shape)


def _unit(rows: NDArray, eps: float) -> tuple[NDArray, NDArray]:
    rstd = 1 / np.sqrt(total(rows * rows, keepdims=True) / rows.shape[-1] + eps)
    return rows * rstd, rstd


def rms_norm(x: NDArray, ndim: int = 1, weight: NDArray | None = None, eps: float = 1e-5) -> NDArray:
    """The last `ndim` axes divided by their root mean square, scaled."""
    out = _unit(_rows(x, ndim), eps)[0].reshape(x.shape)
    return out if weight is None else out * weight


def rms_norm_backward(
    dout: NDArray,
    x: NDArray,
    ndim: int = 1,
    weight: NDArray | None = None,
    eps: float = 1e-5,
    *,
    magnitude: bool = False,
) -> tuple[NDArray, NDArray]:
    """dx, dweight."""
    unit, rstd = _unit(_rows(x, ndim), eps)
    if magnitude:
        unit, dout, weight = np.abs(unit), np.abs(dout), None if weight is None else np.abs(weight)
    g = _rows(dout if weight is None else dout * weight, ndim)
    shared = unit * (total(g * unit, keepdims=True) / g.shape[-1])
    dx = rstd * (g + shared if magnitude else g - shared)
    dweight = sum_to(_rows(dout, ndim) * unit, g.shape[-1:])
    return dx.reshape(x.shape), dweight.reshape(x.shape[x.ndim - ndim :])


# sum -----------------------------------------------------------------------------------------------------------------


def sum_over(x: NDArray, axes: tuple[int, ...], mean: bool = False) -> NDArray:
    """The sum, or the mean, over axes."""
    out = total(x, axes) if axes else x
    return np.asarray(out / math.prod(x.shape[i] for i in axes) if mean else out, x.dtype)


# embedding -----------------------------------------------------------------------------------------------------------


def embedding(index: NDArray, weight: NDArray) -> NDArray:
    """Rows of weight."""
    rows: NDArray = weight[index]
    return rows


def embedding_backward(dout: NDArray, index: NDArray, weight: NDArray, padding_idx: int | None = None) -> NDArray:
    """dweight, occurrences added in order."""
    out = np.zeros_like(weight)
    np.add.at(out, index.reshape(-1), dout.reshape(-1, weight.shape[1]))
    if padding_idx is not None:
        out[padding_idx] = 0
    return out


# optimizers ----------------------------------------------------------------------------------------------------------


def adam(
    param: NDArray,
    grad: NDArray,
    exp_avg: NDArray,
    exp_avg_sq: NDArray,
    max_exp_avg_sq: NDArray,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    amsgrad: bool = False,
    maximize: bool = False,
    grad_scale: float | None = None,
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """param, exp_avg, exp_avg_sq and max_exp_avg_sq after a step."""
    p, g = param, grad if grad_scale is None else grad_scale * grad
    if maximize:
        g = -g
    if decoupled:
        p = p * (1 - lr * weight_decay)
    elif weight_decay:
        g = g + weight_decay * p
    m = betas[0] * exp_avg + (1 - betas[0]) * g
    v = betas[1] * exp_avg_sq + (1 - betas[1]) * (g * g)
    highest = np.maximum(max_exp_avg_sq, v) if amsgrad else max_exp_avg_sq
    root = np.sqrt(highest if amsgrad else v) / math.sqrt(1 - betas[1] ** step)
    return p - lr / (1 - betas[0] ** step) * (m / (root + eps)), m, v, highest


def sgd(
    param: NDArray,
    grad: NDArray,
    buffer: NDArray,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    first_step: bool = False,
    grad_scale: float | None = None,
) -> tuple[NDArray, NDArray]:
    """param and momentum buffer after a step."""
    g = grad if grad_scale is None else grad_scale * grad
    g = (-g if maximize else g) + weight_decay * param
    if not momentum:
        return param - lr * g, buffer
    b = g if first_step else momentum * buffer + (1 - dampening) * g
    g = g + momentum * b if nesterov else b
    return param - lr * g, b
