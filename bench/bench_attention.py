"""Scaled dot-product attention: forward, forward with backward, and one query against many keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, sample_rows, shrink, with_gradients, with_pytest

# dtype, (B, H, T, D), causal, whether in --quick. FLOPs are 4 B H T T D forward and 2.5 times that backward, half if causal.
FORWARD = [
    ("float32", (1, 1, 8, 8), False, True),  # the cost of a call
    ("float32", (8, 12, 128, 64), True, False),
    ("float32", (8, 12, 128, 64), False, False),
    ("float32", (4, 12, 512, 64), True, False),
    ("float32", (4, 12, 512, 64), False, False),
    ("float32", (1, 12, 1024, 64), True, True),
    ("float32", (1, 12, 1024, 64), False, True),
    ("float32", (1, 8, 4096, 64), True, False),
    ("float32", (1, 8, 4096, 64), False, False),
    ("float32", (1, 32, 2048, 128), True, False),
    ("float32", (1, 32, 2048, 128), False, False),
    ("bfloat16", (1, 12, 1024, 64), True, True),
    ("bfloat16", (1, 8, 4096, 64), False, False),
    ("bfloat16", (1, 32, 2048, 128), True, False),
]
BACKWARD = [
    ("float32", (8, 12, 128, 64), True, False),
    ("float32", (1, 12, 1024, 64), True, True),
    ("float32", (1, 12, 1024, 64), False, False),
    ("float32", (1, 8, 4096, 64), True, False),
    ("float32", (1, 32, 2048, 128), True, False),
    ("bfloat16", (1, 12, 1024, 64), True, False),
]
# dtype, (B, H, Hkv, S, D), whether in --quick: decoding.
DECODE = [
    ("float32", (1, 12, 12, 1024, 64), True),
    ("float32", (8, 32, 32, 4096, 128), False),
    ("float32", (8, 32, 8, 4096, 128), False),
    ("bfloat16", (8, 32, 32, 4096, 128), False),
    ("bfloat16", (8, 32, 8, 4096, 128), False),
]
NUMPY_LIMIT = 1 << 30  # bytes of scores: NumPy holds all of them


def _weights(q: Any, k: Any, causal: bool, first_row: np.ndarray | None = None) -> Any:
    """softmax(q k^T / sqrt(D)), the rows of q being `first_row` of the sequence."""
    scores = q @ np.swapaxes(k, -1, -2) * q.dtype.type(q.shape[-1] ** -0.5)
    if causal:
        rows = np.arange(q.shape[-2]) if first_row is None else first_row
        scores = np.where(np.arange(k.shape[-2]) <= rows[:, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def causal_attention(q: Any, k: Any, v: Any) -> Any:
    return _weights(q, k, True) @ v


def _gradients(q: Any, k: Any, v: Any, dout: Any, causal: bool) -> Any:
    """out, dq, dk, dv of one head."""
    p = _weights(q, k, causal)
    out = p @ v
    dp = dout @ v.T
    ds = p * (dp - (dout * out).sum(-1, keepdims=True)) * q.dtype.type(q.shape[-1] ** -0.5)
    return out, ds @ k, ds.T @ q, p.T @ dout


def _torch(causal: bool) -> Any:
    def attention(q: Any, k: Any, v: Any) -> Any:
        import torch

        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return attention


def _label(shape: tuple[int, ...], causal: bool) -> str:
    return "x".join(map(str, shape)) + (" causal" if causal else " full")


def _forward(dtype: str, shape: tuple[int, ...], causal: bool, quick: bool) -> Case:
    batch, heads, length, dim = shape
    rows = sample_rows(length)
    pairs = length * (length + 1) / 2 if causal else float(length * length)
    contestants = {
        "fastattn": on_arrays(lambda q, k, v: fa.scaled_dot_product_attention(q, k, v, is_causal=causal)),
        "torch": on_torch(_torch(causal)),
    }
    if dtype != "bfloat16" and 4 * batch * heads * length * length <= NUMPY_LIMIT:
        contestants["numpy"] = on_arrays(lambda q, k, v: _weights(q, k, causal) @ v)
    return Case(
        op="attention",
        name=f"{dtype} forward " + _label(shape, causal),
        make=lambda rng: tuple(normal(rng, *shape, dtype=dtype) for _ in range(3)),
        contestants=contestants,
        reference=lambda q, k, v: _weights(q[:, :, rows], k, causal, rows) @ v,
        pick=lambda out: (out[:, :, rows],),
        dtype=dtype,
        flops=4.0 * batch * heads * dim * pairs,
        bytes=4.0 * np.dtype(dtype).itemsize * batch * heads * length * dim,
        quick=quick,
    )


def _backward(dtype: str, shape: tuple[int, ...], causal: bool, quick: bool) -> Case:
    batch, heads, length, dim = shape
    pairs = length * (length + 1) / 2 if causal else float(length * length)
    head = (batch - 1, heads - 1)  # the one that is checked

    def ours(q: Any, k: Any, v: Any) -> Any:
        return fa.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return Case(
        op="attention",
        name=f"{dtype} forward+backward " + _label(shape, causal),
        make=lambda rng: tuple(normal(rng, *shape, dtype=dtype) for _ in range(4)),
        contestants={
            "fastattn": with_gradients("fastattn", ours),
            "torch": with_gradients("torch", _torch(causal)),
        },
        reference=lambda *inputs: _gradients(*(x[head] for x in inputs), causal=causal),
        pick=lambda *results: tuple(r[head] for r in results),
        dtype=dtype,
        flops=14.0 * batch * heads * dim * pairs,
        bytes=12.0 * np.dtype(dtype).itemsize * batch * heads * length * dim,
        quick=quick,
    )


def _decode(dtype: str, shape: tuple[int, ...], quick: bool) -> Case:
    batch, heads, kv_heads, keys, dim = shape
    group = heads // kv_heads
    last = slice(batch - 1, batch)  # the row that is checked

    def torch(q: Any, k: Any, v: Any) -> Any:
        import torch

        return torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=group > 1)

    def make(rng: np.random.Generator) -> Any:
        kv = (normal(rng, batch, kv_heads, keys, dim, dtype=dtype) for _ in range(2))
        return normal(rng, batch, heads, 1, dim, dtype=dtype), *kv

    def reference(q: Any, k: Any, v: Any) -> Any:
        k, v = (np.repeat(x[last], group, 1) for x in (k, v))
        return _weights(q[last], k, False) @ v

    return Case(
        op="attention",
        name=f"{dtype} decode B{batch} H{heads}/{kv_heads} S{keys} D{dim}",
        make=make,
        contestants={
            "fastattn": on_arrays(lambda q, k, v: fa.scaled_dot_product_attention(q, k, v, enable_gqa=True)),
            "torch": on_torch(torch),
        },
        reference=reference,
        pick=lambda out: (out[last],),
        dtype=dtype,
        flops=4.0 * batch * heads * keys * dim,
        bytes=2.0 * np.dtype(dtype).itemsize * batch * kv_heads * keys * dim,
        traffic="read",
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for dtype, shape, causal, quick in FORWARD:
        yield _forward(dtype, shrink(shape) if tiny else shape, causal, quick)
    for dtype, shape, causal, quick in BACKWARD:
        yield _backward(dtype, shrink(shape) if tiny else shape, causal, quick)
    for dtype, shape, quick in DECODE:
        yield _decode(dtype, shrink(shape) if tiny else shape, quick)


def test_attention(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
