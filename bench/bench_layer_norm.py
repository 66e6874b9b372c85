"""layer_norm, forward, and forward with backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, sample_rows, shrink, with_gradients, with_pytest

EPS = 1e-5
# (rows, width), whether in --quick; the last is over four times an L3 of 32 MB
SHAPES = [((2048, 128), False), ((8192, 768), True), ((8192, 4096), False)]


def layer_norm(x: Any, weight: Any, bias: Any, eps: float = EPS) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + x.dtype.type(eps)) * weight + bias


def _gradients(x: Any, weight: Any, bias: Any, dout: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + x.dtype.type(EPS))
    unit = centred * rstd
    g = dout * weight
    dx = (g - g.mean(-1, keepdims=True) - unit * (g * unit).mean(-1, keepdims=True)) * rstd
    return unit * weight + bias, dx, (dout * unit).sum(0), dout.sum(0)


def _torch(x: Any, weight: Any, bias: Any) -> Any:
    import torch

    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, EPS)


def _ours(x: Any, weight: Any, bias: Any) -> Any:
    return fa.layer_norm(x, weight.shape, weight, bias, EPS)


def _forward(rows: int, width: int, quick: bool) -> Case:
    some = sample_rows(rows)
    return Case(
        op="layer_norm",
        name=f"float32 {rows} x {width}",
        make=lambda rng: (normal(rng, rows, width), normal(rng, width), normal(rng, width)),
        contestants={
            "fastattn": on_arrays(_ours),
            "numpy": on_arrays(layer_norm),
            "torch": on_torch(_torch),
        },
        reference=lambda x, weight, bias: layer_norm(x[some], weight, bias),
        pick=lambda out: (out[some],),
        bytes=4.0 * 2 * rows * width,
        quick=quick,
    )


def _backward(rows: int, width: int, quick: bool) -> Case:
    return Case(
        op="layer_norm",
        name=f"float32 forward+backward {rows} x {width}",
        make=lambda rng: (
            normal(rng, rows, width),
            normal(rng, width),
            normal(rng, width),
            normal(rng, rows, width),
        ),
        contestants={
            "fastattn": with_gradients("fastattn", _ours),
            "torch": with_gradients("torch", _torch),
        },
        reference=_gradients,
        bytes=4.0 * 5 * rows * width,  # x to out, x and dout to dx
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for shape, quick in SHAPES:
        yield _forward(*(shrink(shape) if tiny else shape), quick)
    for shape, quick in SHAPES:
        yield _backward(*(shrink(shape) if tiny else shape), quick)


def test_layer_norm(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
