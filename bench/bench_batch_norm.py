"""batch_norm in training, forward, and forward with backward; and in evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, with_gradients, with_pytest

EPS = 1e-5
# (N, C, H, W), whether in --quick
SHAPES = [((32, 64, 56, 56), True), ((64, 512, 7, 7), False), ((8192, 256, 1, 1), False)]
AXES = (0, 2, 3)


def _column(a: Any) -> Any:
    return a[:, None, None]


def batch_norm(x: Any, weight: Any, bias: Any) -> Any:
    centred = x - x.mean(AXES, keepdims=True)
    variance = (centred * centred).mean(AXES, keepdims=True)
    return centred / np.sqrt(variance + x.dtype.type(EPS)) * _column(weight) + _column(bias)


def _gradients(x: Any, weight: Any, bias: Any, dout: Any) -> Any:
    centred = x - x.mean(AXES, keepdims=True)
    rstd = 1 / np.sqrt((centred * centred).mean(AXES, keepdims=True) + x.dtype.type(EPS))
    unit = centred * rstd
    mean = dout.mean(AXES, keepdims=True), (dout * unit).mean(AXES, keepdims=True)
    dx = (dout - mean[0] - unit * mean[1]) * rstd * _column(weight)
    return unit * _column(weight) + _column(bias), dx, (dout * unit).sum(AXES), dout.sum(AXES)


def _torch(x: Any, weight: Any, bias: Any) -> Any:
    import torch

    return torch.nn.functional.batch_norm(x, None, None, weight, bias, True, 0.1, EPS)


def _ours(x: Any, weight: Any, bias: Any) -> Any:
    return fa.batch_norm(x, None, None, weight, bias, True, 0.1, EPS)


def _case(shape: tuple[int, ...], backward: bool, quick: bool) -> Case:
    elements, channels = float(np.prod(shape)), shape[1]
    size = "x".join(map(str, shape))
    if backward:
        return Case(
            op="batch_norm",
            name=f"float32 training forward+backward {size}",
            make=lambda rng: (
                normal(rng, *shape),
                normal(rng, channels),
                normal(rng, channels),
                normal(rng, *shape),
            ),
            contestants={"fastattn": with_gradients("fastattn", _ours), "torch": with_gradients("torch", _torch)},
            reference=_gradients,
            bytes=4.0 * 8 * elements,  # x twice to out, x and dout twice to dx
            quick=quick,
        )
    return Case(
        op="batch_norm",
        name=f"float32 training {size}",
        make=lambda rng: (normal(rng, *shape), normal(rng, channels), normal(rng, channels)),
        contestants={"fastattn": on_arrays(_ours), "numpy": on_arrays(batch_norm), "torch": on_torch(_torch)},
        reference=batch_norm,
        bytes=4.0 * 3 * elements,
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for backward in (False, True):
        for shape, quick in SHAPES:
            yield _case((4, 3, *shape[2:]) if tiny else shape, backward, quick)


def test_batch_norm(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
