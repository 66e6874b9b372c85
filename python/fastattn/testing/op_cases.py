"""Every op, at least once: how it is called, what it should give, and what its gradients should be.

`fastattn doctor` and the tests that hold for all ops walk this table. A new op, or a form of one that runs another
kernel, is one entry; a new dtype comes with tolerance.DTYPES, or with the `dtypes` of
the ops that have it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import fastattn as fa

from . import reference, reference_batch_norm, reference_conv, reference_losses, reference_pool, reference_recurrent
from .op_case import Arguments, Draw, NDArray, OpCase

# What differs between the cases --------------------------------------------------------------------------------------

SEED = 7
P = 0.3
ROWS = ((3, 5), (37, 1031), (300, 33))
FLAT = ((37,), (17000,))
TWO_OVER_SQRT_PI = 1.1283791670955126


def _adam(p: Any, g: Any, m: Any, v: Any, **options: Any) -> Any:
    fa.adam_step([p], [g], [m], [v], **options)
    return p, m, v


def _sgd(p: Any, g: Any, b: Any, **options: Any) -> Any:
    fa.sgd_step([p], [g], [b], **options)
    return p, b


def _grad_scale(g: Any) -> Any:
    fa.grad_scale([g], 0.3)
    return g


def _fused(a: Any, b: Any, bias: Any, residual: Any) -> Any:
    return fa.matmul(a, b, bias=bias, activation="gelu_tanh", residual=residual)


def _fused_backward(dout: NDArray, a: NDArray, b: NDArray, bias: NDArray, residual: NDArray) -> Any:
    dpreact = reference.gelu_backward(dout, reference.matmul(a, b, bias=bias), "tanh")
    return *reference.matmul_backward(dpreact, a, b), dout


def _dropped(x: NDArray, *_: Any) -> NDArray:
    return np.where(reference.dropout_keep(x.shape, P, SEED), x * x.dtype.type(1 / (1 - P)), 0).astype(x.dtype)


def _attention(label: str, rows: int, dim: int, mask: str = "", kv_heads: int = 2, **options: Any) -> OpCase:
    def make(d: Draw, rows: int, dim: int) -> Arguments:
        key, value = (d.normal(1, kv_heads, rows + 2, n) for n in (dim, dim + 1))
        masks = {"": (), "bool": (d.keep(rows, rows + 2),), "additive": (d.normal(rows, rows + 2),)}[mask]
        return d.normal(1, 2, rows, dim), key, value, *masks

    return OpCase(
        "scaled_dot_product_attention",
        make,
        fa.scaled_dot_product_attention,
        reference.attention,
        ((4, 3), (rows, dim)),
        reference.attention_backward,
        (0, 1, 2, 3) if mask == "additive" else (0, 1, 2),
        options,
        label,
        exception="attention_backward",
    )


def _attention_options(d: Draw, rows: int, dim: int) -> Arguments:
    q, k, v = d.normal(1, 4, rows, dim), d.normal(1, 2, rows + 2, dim), d.normal(1, 2, rows + 2, dim)
    return q, k, v, d.positive(4), d.normal(4)


def _with_options(attend: Any, q: Any, k: Any, v: Any, slopes: Any, sinks: Any) -> Any:
    return attend(
        q,
        k,
        v,
        is_causal=True,
        enable_gqa=True,
        softcap=2.0,
        alibi_slopes=slopes,
        sinks=sinks,
        causal_align="bottom_right",
    )


def _with_options_backward(dout: NDArray, *arrays: NDArray) -> Any:
    gradients = _with_options(functools.partial(reference.attention_backward, dout), *arrays)
    return *gradients[:3], *gradients[4:]


def _convolve(layout: str, x: Any, weight: Any, bias: Any) -> Any:
    """(N, C, H, W) through either layout."""
    if layout == "nchw":
        return fa.conv2d(x, weight, bias, padding=1)
    last = fa.conv2d(_permuted(x, (0, 2, 3, 1)), weight, bias, padding=1, layout=layout)
    return _permuted(last, (0, 3, 1, 2))


def _permuted(x: Any, axes: tuple[int, ...]) -> Any:
    return x.permute(*axes) if hasattr(x, "permute") else x.transpose(axes)


def _depthwise(function: Any, x: NDArray, weight: NDArray, *dout: NDArray) -> Any:
    """One axis as the second of two."""
    found = function(*dout, x[:, :, None], weight[:, :, None], stride=(1, 2), groups=x.shape[1])
    return found if dout else found[:, :, 0]


def _with_cache(query: Any, key: Any, value: Any) -> Any:
    """The tokens of the queries go behind the others, which are in the cache."""
    before = key.shape[2] - query.shape[2]
    cache = fa.KVCache()
    cache.append(key[:, :, :before], value[:, :, :before])
    return fa.attention_with_kv_cache(query, cache, key[:, :, before:], value[:, :, before:])


def _recurrent(op: str, mode: str, gates: int, **options: Any) -> OpCase:
    def make(d: Draw, steps: int, batch: int, width: int, hidden: int) -> Arguments:
        rows, scale = gates * hidden, d.dtype.type(0.5 / np.sqrt(hidden))
        weights = d.normal(rows, width), d.normal(rows, hidden) * scale, d.normal(rows), d.normal(rows)
        return d.normal(steps, batch, width), *weights, d.normal(batch, hidden)

    return OpCase(
        op,
        make,
        lambda *a, **o: getattr(fa, op)(*a, **o)[0],
        lambda *a, **o: reference_recurrent.recurrent(mode, *a, **o)[0],
        ((3, 2, 3, 2), (5, 3, 7, 40), (4, 37, 5, 19)),
        lambda dout, *a, **o: reference_recurrent.recurrent_backward(mode, dout, *a, **o),
        (0, 1, 2, 3, 4, 5),
        options,
        label="reverse" if options else "",
    )


def _unary(op: str, function: Any, slope: Callable[[NDArray], Any], make: Callable[..., Arguments]) -> OpCase:
    return OpCase(op, make, getattr(fa, op), function, FLAT, lambda dout, x: dout * slope(x))


def _normal(d: Draw, *shape: int) -> Arguments:
    return (d.normal(*shape),)


def _pooled(op: str) -> OpCase:
    """Windows of 3 by steps of 2 with padding, or 3 (by 2) that are fitted; of one axis the rows of the images."""
    flat, fitted, largest = op.endswith("1d"), op.startswith("adaptive"), "max" in op
    pooled = (lambda *a, **o: reference_pool.max_pool(*a, **o)[0]) if largest else reference_pool.avg_pool
    backward = reference_pool.max_pool_backward if largest else reference_pool.avg_pool_backward
    pair = (1, 3) if flat else (3, 2) if fitted else (3, 3)
    options: dict[str, Any] = {"adaptive": True}
    if not fitted:
        options = {"stride": (1, 2) if flat else (2, 2), "padding": (0, 1) if flat else (1, 1)}

    window = (3, 2, 1) if not fitted else (3,) if flat else (pair,)

    def plane(x: NDArray) -> NDArray:  # one axis is the second of two
        return x[..., None, :] if flat else x

    def make(d: Draw, h: int, w: int) -> Arguments:
        # Maxima of numbers so far apart that finite differences do not change their order.
        x = d.rng.permutation(np.arange(6 * h * w) / 4).astype(d.dtype) if largest else d.normal(6 * h * w)
        return (x.reshape((2, 3 * h, w) if flat else (2, 3, h, w)),)

    return OpCase(
        op,
        make,
        lambda x: getattr(fa, op)(x, *window),
        lambda x: pooled(plane(x), pair, **options).squeeze(-2) if flat else pooled(x, pair, **options),
        ((5, 3), (3, 70)),
        lambda dout, x: backward(plane(dout), plane(x), pair, **options).reshape(x.shape),
    )


# The table -----------------------------------------------------------------------------------------------------------

OP_CASES: tuple[OpCase, ...] = (
    OpCase(
        "matmul",
        lambda d, m, n, k: (d.normal(m, k), d.normal(k, n)),
        fa.matmul,
        reference.matmul,
        ((3, 5, 4), (1, 65, 700), (130, 200, 520)),
        reference.matmul_backward,
        (0, 1),
    ),
    OpCase(
        "matmul",
        lambda d, m, n, k: (d.normal(m, k), d.normal(k, n), d.normal(n), d.normal(m, n)),
        _fused,
        lambda a, b, bias, residual: reference.matmul(a, b, bias=bias, activation="gelu_tanh", residual=residual),
        ((3, 5, 4), (67, 65, 70)),
        _fused_backward,
        (0, 1, 2, 3),
        label="fused",
    ),
    *(
        OpCase(
            "conv2d",
            lambda d, n, c, o, *size: (d.normal(n, c, *size), d.normal(o, c, 3, 3), d.normal(o)),
            functools.partial(_convolve, layout),
            lambda x, weight, bias: reference_conv.conv2d(x, weight, bias, padding=(1, 1, 1, 1)),
            ((2, 2, 3, 4, 5), (3, 17, 50, 9, 14)),
            lambda dout, x, weight, bias: reference_conv.conv2d_backward(dout, x, weight, bias, padding=(1, 1, 1, 1)),
            (0, 1, 2),
            label=layout,
        )
        for layout in ("nchw", "nhwc")
    ),
    OpCase(
        "conv1d",
        lambda d, n, c, length: (d.normal(n, c, length), d.normal(2 * c, 1, 3)),
        lambda x, weight: fa.conv1d(x, weight, stride=2, groups=x.shape[1]),
        lambda x, weight: _depthwise(reference_conv.conv2d, x, weight),
        ((2, 3, 7), (2, 9, 70)),
        lambda dout, x, weight: [
            g[:, :, 0] for g in _depthwise(reference_conv.conv2d_backward, x, weight, dout[:, :, None])[:2]
        ],
        (0, 1),
        label="depthwise",
    ),
    _attention("", 201, 64),
    _attention("causal, grouped", 201, 64, kv_heads=1, is_causal=True, enable_gqa=True),
    _attention("boolean mask", 70, 16, "bool"),
    _attention("additive mask", 70, 16, "additive"),
    OpCase(
        "scaled_dot_product_attention",
        _attention_options,
        functools.partial(_with_options, fa.scaled_dot_product_attention),
        lambda *a: _with_options(reference.attention, *a)[:1],
        ((4, 3), (70, 16)),
        _with_options_backward,
        (0, 1, 2, 3, 4),
        label="softcap, slopes, sinks",
    ),
    OpCase(
        "attention_with_kv_cache",
        lambda d, rows, dim: (d.normal(2, 2, rows, dim), d.normal(2, 2, 3 * rows, dim), d.normal(2, 2, 3 * rows, dim)),
        _with_cache,
        lambda q, k, v: reference.attention(q, k, v, is_causal=True, causal_align="bottom_right"),
        ((4, 3), (1, 64), (37, 64)),
    ),
    OpCase("softmax", _normal, fa.softmax, reference.softmax, ROWS, reference.softmax_backward),
    OpCase(
        "softmax",
        _normal,
        fa.softmax,
        reference.softmax,
        ROWS,
        reference.softmax_backward,
        options={"axis": 0},
        label="first axis",
    ),
    OpCase(
        "log_softmax",
        _normal,
        fa.log_softmax,
        reference.log_softmax,
        ROWS,
        lambda dout, x: reference.softmax_backward(dout, x, log=True),
    ),
    OpCase(
        "layer_norm",
        lambda d, rows, n: (d.normal(rows, n), d.normal(n), d.normal(n)),
        lambda x, weight, bias: fa.layer_norm(x, x.shape[-1], weight, bias),
        lambda x, weight, bias: reference.layer_norm(x, 1, weight, bias),
        ROWS,
        lambda dout, x, weight, bias: reference.layer_norm_backward(dout, x, 1, weight),
        (0, 1, 2),
    ),
    *(
        OpCase(
            "gelu",
            _normal,
            fa.gelu,
            reference.gelu,
            FLAT,
            reference.gelu_backward,
            options={"approximate": form},
            label=label,
        )
        for form, label in (("none", "erf"), ("tanh", "tanh"))
    ),
    *(
        OpCase(
            op,
            _normal,
            getattr(fa, op),
            lambda x, op=op: reference.activate(x, op),
            FLAT,
            lambda dout, x, op=op: reference.activate_backward(dout, x, op),
        )
        for op in ("silu", "relu", "sigmoid")
    ),
    OpCase(
        "swiglu",
        lambda d, n: (d.normal(n), d.normal(n)),
        fa.swiglu,
        reference.swiglu,
        FLAT,
        reference.swiglu_backward,
        (0, 1),
    ),
    OpCase(
        "batch_norm",
        lambda d, n, c: (d.normal(n, c, 3, 3), d.normal(c), d.normal(c)),
        lambda x, weight, bias: fa.batch_norm(x, None, None, weight, bias, True),
        reference_batch_norm.batch_norm,
        ((3, 2), (40, 33)),
        lambda dout, x, weight, bias: reference_batch_norm.batch_norm_backward(dout, x, weight),
        (0, 1, 2),
    ),
    OpCase(
        "batch_norm",
        lambda d, n, c: (d.normal(n, c), d.normal(c), d.normal(c), d.normal(c), d.positive(c) + d.dtype.type(1)),
        lambda x, weight, bias, mean, var: fa.batch_norm(x, mean, var, weight, bias),
        reference_batch_norm.batch_norm,
        ((3, 2), (300, 70)),
        lambda dout, x, weight, bias, mean, var: reference_batch_norm.batch_norm_backward(dout, x, weight, mean, var),
        (0, 1, 2),
        label="evaluation",
    ),
    *(_pooled(f"{kind}_pool{n}d") for kind in ("max", "avg", "adaptive_max", "adaptive_avg") for n in (1, 2)),
    OpCase(
        "rms_norm",
        lambda d, rows, n: (d.normal(rows, n), d.normal(n)),
        lambda x, weight: fa.rms_norm(x, x.shape[-1], weight, eps=1e-5),
        lambda x, weight: reference.rms_norm(x, 1, weight),
        ROWS,
        lambda dout, x, weight: reference.rms_norm_backward(dout, x, 1, weight),
        (0, 1),
    ),
    OpCase(
        "rope",
        lambda d, rows, pairs: (d.normal(2, rows, 2 * pairs), *fa.rope_cos_sin(rows, 2 * pairs, dtype=d.state)),
        fa.rope,
        reference.rope,
        ((3, 2), (37, 33)),
        lambda dout, x, cos, sin: reference.rope(dout, cos, sin, inverse=True),
    ),
    *(
        _recurrent(op, mode, gates, **options)
        for op, mode, gates in (("rnn", "tanh", 1), ("lstm", "lstm", 4), ("gru", "gru", 3))
        for options in ({}, {"reverse": True})
    ),
    OpCase(
        "cross_entropy",
        lambda d, rows, n: (d.normal(rows, n), d.ids(n, rows)),
        fa.cross_entropy,
        reference_losses.cross_entropy,
        ROWS,
        reference_losses.cross_entropy_backward,
        statistic=True,
    ),
    OpCase(
        "linear_cross_entropy",
        lambda d, rows, n: (d.normal(rows, 9), d.normal(n, 9), d.ids(n, rows), d.normal(n)),
        fa.linear_cross_entropy,
        reference_losses.linear_cross_entropy,
        ROWS,
        reference_losses.linear_cross_entropy_backward,
        (0, 1, 3),
        statistic=True,
    ),
    OpCase(
        "logsumexp",
        _normal,
        fa.logsumexp,
        lambda x: np.log(reference.total(np.exp(x))),
        ROWS,
        lambda dout, x: dout[..., None] * reference.softmax(x),
    ),
    OpCase(
        "embedding",
        lambda d, rows, n: (d.normal(rows, n), d.ids(rows, 2 * rows)),
        lambda weight, index: fa.embedding(index, weight),
        lambda weight, index: reference.embedding(index, weight),
        ROWS,
        lambda dout, weight, index: reference.embedding_backward(dout, index, weight),
    ),
    _unary("exp", np.exp, np.exp, _normal),
    _unary("log", np.log, lambda x: 1 / x, lambda d, n: (d.positive(n),)),
    _unary("tanh", np.tanh, lambda x: 1 - np.tanh(x) * np.tanh(x), _normal),
    _unary("erf", reference.erf, lambda x: np.exp(-(x * x)) * x.dtype.type(TWO_OVER_SQRT_PI), _normal),
    OpCase(
        "dropout",
        _normal,
        lambda x: fa.dropout(x, P, seed=SEED),
        _dropped,
        ((37,), (2500,)),
        _dropped,
    ),
    OpCase(
        "adam_step",
        lambda d, n: (d.normal(n), d.normal(n), d.normal(n, dtype=d.state), d.positive(n, dtype=d.state)),
        _adam,
        lambda p, g, m, v, **options: reference.adam(p, g, m, v, v, **options),
        FLAT,
        options={"step": 3, "lr": 0.1, "weight_decay": 0.1, "decoupled": True},
    ),
    OpCase(
        "sgd_step",
        lambda d, n: (d.normal(n), d.normal(n), d.normal(n, dtype=d.state)),
        _sgd,
        reference.sgd,
        FLAT,
        options={"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    ),
    OpCase(
        "grad_norm",
        lambda d, n: (d.normal(n), d.dtype),
        lambda g, dtype: np.asarray(fa.grad_norm([g])).astype(dtype),  # a float, whatever the dtype
        lambda g, _: np.sqrt(np.asarray(reference.total(g * g))),
        FLAT,
    ),
    OpCase("grad_scale", _normal, _grad_scale, lambda g: g * g.dtype.type(0.3), FLAT),
    *(
        OpCase(
            op,
            lambda d, n: (np.zeros(n, d.dtype), d.dtype),
            lambda x, _, op=op: getattr(fa, op)(x, seed=SEED),
            lambda x, dtype, numbers=numbers: np.asarray(numbers(x.size, dtype, SEED)).astype(x.dtype),
            ((37,), (2500,)),
        )
        for op, numbers in (("uniform_", reference.uniform), ("normal_", reference.normal))
    ),
)
