"""gelu in both forms and silu, forward, and forward with backward."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, sample_rows, shrink, with_gradients, with_pytest

# (rows, width), whether in --quick; the last is over four times an L3 of 32 MB
SHAPES = [((2048, 512), False), ((8192, 768), True), ((49152, 768), False)]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def erf(x: Any) -> Any:
    """By the C library, number by number: for checking."""
    return _erf(x).astype(x.dtype)


def gelu(x: Any, approximate: str) -> Any:
    half = x.dtype.type(0.5)
    if approximate == "none":
        return half * x * (1 + erf(x * x.dtype.type(0.5**0.5)))
    return half * x * (1 + np.tanh(x.dtype.type((2 / np.pi) ** 0.5) * (x + x.dtype.type(0.044715) * x * x * x)))


def _gelu_slope(x: Any, approximate: str) -> Any:
    one = x.dtype.type
    if approximate == "none":
        return one(0.5) * (1 + erf(x * one(0.5**0.5))) + x * np.exp(-x * x / 2) * one((2 * np.pi) ** -0.5)
    c = one((2 / np.pi) ** 0.5)
    t = np.tanh(c * (x + one(0.044715) * x * x * x))
    return one(0.5) * (1 + t) + one(0.5) * x * (1 - t * t) * c * (1 + one(3 * 0.044715) * x * x)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _torch(name: str, **options: Any) -> Any:
    def function(x: Any) -> Any:
        import torch

        return getattr(torch.nn.functional, name)(x, **options)

    return function


class Activation(NamedTuple):
    ours: Any
    torch: Any
    value: Any  # the reference
    slope: Any
    numpy: bool = True  # whether NumPy can do it


ACTIVATIONS = {
    "gelu tanh": Activation(
        functools.partial(fa.gelu, approximate="tanh"),
        _torch("gelu", approximate="tanh"),
        functools.partial(gelu, approximate="tanh"),
        functools.partial(_gelu_slope, approximate="tanh"),
    ),
    "gelu none": Activation(
        fa.gelu,
        _torch("gelu"),
        functools.partial(gelu, approximate="none"),
        functools.partial(_gelu_slope, approximate="none"),
        numpy=False,  # it has no erf
    ),
    "silu": Activation(
        fa.silu,
        _torch("silu"),
        lambda x: x * sigmoid(x),
        lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    ),
}


def _forward(shape: tuple[int, ...], name: str, quick: bool) -> Case:
    rows, f = sample_rows(shape[0]), ACTIVATIONS[name]
    contestants = {"fastattn": on_arrays(f.ours), "torch": on_torch(f.torch)}
    if f.numpy:
        contestants["numpy"] = on_arrays(f.value)
    return Case(
        op="activation",
        name=f"float32 {name} {shape[0]} x {shape[1]}",
        make=lambda rng: (normal(rng, *shape),),
        contestants=contestants,
        reference=lambda x: f.value(x[rows]),
        pick=lambda out: (out[rows],),
        bytes=4.0 * 2 * shape[0] * shape[1],
        quick=quick,
    )


def _backward(shape: tuple[int, ...], name: str, quick: bool) -> Case:
    rows, f = sample_rows(shape[0]), ACTIVATIONS[name]
    return Case(
        op="activation",
        name=f"float32 {name} forward+backward {shape[0]} x {shape[1]}",
        make=lambda rng: (normal(rng, *shape), normal(rng, *shape)),
        contestants={"fastattn": with_gradients("fastattn", f.ours), "torch": with_gradients("torch", f.torch)},
        reference=lambda x, dout: (f.value(x[rows]), dout[rows] * f.slope(x[rows])),
        pick=lambda *results: tuple(r[rows] for r in results),
        bytes=4.0 * 5 * shape[0] * shape[1],
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for shape, quick in SHAPES:
        for name in ACTIVATIONS:
            yield _forward(shrink(shape) if tiny else shape, name, quick)
            yield _backward(shrink(shape) if tiny else shape, name, quick and name == "gelu tanh")


def test_activation(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
