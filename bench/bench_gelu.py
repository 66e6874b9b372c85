"""gelu in both forms, forward, and forward with backward."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, sample_rows, shrink, with_gradients, with_pytest

# (rows, width), whether in --quick
SHAPES = [((2048, 512), False), ((8192, 768), True)]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: Any) -> Any:
    """By the C library, number by number: for checking."""
    return _erf(x).astype(x.dtype)


def gelu(x: Any, approximate: str) -> Any:
    half = x.dtype.type(0.5)
    if approximate == "none":
        return half * x * (1 + erf(x * x.dtype.type(0.5**0.5)))
    return half * x * (1 + np.tanh(x.dtype.type((2 / np.pi) ** 0.5) * (x + x.dtype.type(0.044715) * x * x * x)))


def _slope(x: Any, approximate: str) -> Any:
    one = x.dtype.type
    if approximate == "none":
        return one(0.5) * (1 + erf(x * one(0.5**0.5))) + x * np.exp(-x * x / 2) * one((2 * np.pi) ** -0.5)
    c = one((2 / np.pi) ** 0.5)
    t = np.tanh(c * (x + one(0.044715) * x * x * x))
    return one(0.5) * (1 + t) + one(0.5) * x * (1 - t * t) * c * (1 + one(3 * 0.044715) * x * x)


def _torch(approximate: str) -> Any:
    def function(x: Any) -> Any:
        import torch

        return torch.nn.functional.gelu(x, approximate=approximate)

    return function


def _forward(shape: tuple[int, ...], approximate: str, quick: bool) -> Case:
    rows = sample_rows(shape[0])
    contestants = {
        "fastattn": on_arrays(lambda x: fa.gelu(x, approximate)),
        "torch": on_torch(_torch(approximate)),
    }
    if approximate == "tanh":  # NumPy has no erf
        contestants["numpy"] = on_arrays(lambda x: gelu(x, "tanh"))
    return Case(
        op="gelu",
        name=f"float32 {approximate} {shape[0]} x {shape[1]}",
        make=lambda rng: (normal(rng, *shape),),
        contestants=contestants,
        reference=lambda x: gelu(x[rows], approximate),
        pick=lambda out: (out[rows],),
        bytes=4.0 * 2 * shape[0] * shape[1],
        quick=quick,
    )


def _backward(shape: tuple[int, ...], approximate: str, quick: bool) -> Case:
    rows = sample_rows(shape[0])
    return Case(
        op="gelu",
        name=f"float32 {approximate} forward+backward {shape[0]} x {shape[1]}",
        make=lambda rng: (normal(rng, *shape), normal(rng, *shape)),
        contestants={
            "fastattn": with_gradients("fastattn", lambda x: fa.gelu(x, approximate)),
            "torch": with_gradients("torch", _torch(approximate)),
        },
        reference=lambda x, dout: (gelu(x[rows], approximate), dout[rows] * _slope(x[rows], approximate)),
        pick=lambda *results: tuple(r[rows] for r in results),
        bytes=4.0 * 5 * shape[0] * shape[1],
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for shape, quick in SHAPES:
        for approximate in ("tanh", "none"):
            yield _forward(shrink(shape) if tiny else shape, approximate, quick and approximate == "tanh")
            yield _backward(shrink(shape) if tiny else shape, approximate, quick and approximate == "tanh")


def test_gelu(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
