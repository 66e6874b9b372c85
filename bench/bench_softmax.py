"""softmax and log_softmax: rows, columns, and the backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa
from fastattn.testing import reference

from .harness import Case, normal, on_arrays, on_torch, sample_rows, shrink, with_gradients, with_pytest

LARGE = (8192, 4096)  # over four times an L3 of 32 MB
# dtype, (rows, columns), axis, whether in --quick
FORWARD = [
    ("float32", (512, 512), -1, False),
    ("float32", LARGE, -1, True),
    ("float32", (4096, 4096), 0, False),
    ("float32", (2048, 50257), -1, False),
    ("float32", (1 << 18, 65), -1, False),  # short rows, the logits of characters
    ("bfloat16", (16384, 4096), -1, False),
]


def softmax(x: Any, axis: int = -1) -> Any:
    weights = np.exp(x - x.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def _gradient(x: Any, dout: Any) -> Any:
    out = softmax(x)
    return out, out * (dout - (out * dout).sum(-1, keepdims=True))


def _log_softmax(x: Any) -> Any:
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _torch(axis: int) -> Any:
    return lambda x: x.softmax(axis)


def _forward(dtype: str, shape: tuple[int, ...], axis: int, quick: bool) -> Case:
    other = sample_rows(shape[0] if axis == -1 else shape[1])
    where = (other, slice(None)) if axis == -1 else (slice(None), other)
    return Case(
        op="softmax",
        name=f"{dtype} {shape[0]} x {shape[1]} axis {axis}",
        make=lambda rng: (normal(rng, *shape, dtype=dtype),),
        contestants={
            "fastattn": on_arrays(lambda x: fa.softmax(x, axis)),
            "numpy": on_arrays(lambda x: softmax(x, axis)),
            "torch": on_torch(_torch(axis)),
        },
        reference=lambda x: reference.softmax(x[where], axis),
        pick=lambda out: (out[where],),
        dtype=dtype,
        bytes=2.0 * np.dtype(dtype).itemsize * shape[0] * shape[1],
        quick=quick,
    )


def _log(shape: tuple[int, ...]) -> Case:
    rows = sample_rows(shape[0])
    return Case(
        op="softmax",
        name=f"float32 log_softmax {shape[0]} x {shape[1]}",
        make=lambda rng: (normal(rng, *shape),),
        contestants={
            "fastattn": on_arrays(fa.log_softmax),
            "numpy": on_arrays(_log_softmax),
            "torch": on_torch(lambda x: x.log_softmax(-1)),
        },
        reference=lambda x: reference.log_softmax(x[rows]),
        pick=lambda out: (out[rows],),
        bytes=4.0 * 2 * shape[0] * shape[1],
    )


def _backward(shape: tuple[int, ...]) -> Case:
    rows = sample_rows(shape[0])
    return Case(
        op="softmax",
        name=f"float32 forward+backward {shape[0]} x {shape[1]}",
        make=lambda rng: (normal(rng, *shape), normal(rng, *shape)),
        contestants={
            "fastattn": with_gradients("fastattn", fa.softmax),
            "torch": with_gradients("torch", _torch(-1)),
        },
        reference=lambda x, dout: _gradient(x[rows], dout[rows]),
        pick=lambda *results: tuple(r[rows] for r in results),
        bytes=4.0 * 5 * shape[0] * shape[1],  # x to out, out and dout to dx
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for dtype, shape, axis, quick in FORWARD:
        yield _forward(dtype, shrink(shape) if tiny else shape, axis, quick)
    yield _log(shrink(LARGE) if tiny else LARGE)
    yield _backward(shrink(LARGE) if tiny else LARGE)


def test_softmax(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
