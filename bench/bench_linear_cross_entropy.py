"""linear_cross_entropy, forward, and forward with backward: the mean over rows, without holding their logits.

torch's counterpart is the composition, linear and cross_entropy, which holds logits and their gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, shrink, with_gradients, with_pytest

# (rows, width, classes), whether in --quick
SHAPES = [((2048, 128, 65), False), ((1024, 768, 50257), True)]


def _logits(hidden: Any, weight: Any) -> Any:
    logits = hidden @ weight.T
    return logits - logits.max(-1, keepdims=True)


def linear_cross_entropy(hidden: Any, weight: Any, target: Any) -> Any:
    logits = _logits(hidden, weight)
    return (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(target)), target]).mean()


def _gradients(hidden: Any, weight: Any, target: Any, dout: Any) -> Any:
    slope = np.exp(_logits(hidden, weight))
    slope /= slope.sum(-1, keepdims=True)
    slope[np.arange(len(target)), target] -= 1
    slope *= dout / hidden.dtype.type(len(target))
    return linear_cross_entropy(hidden, weight, target), slope @ weight, slope.T @ hidden


def _torch(hidden: Any, weight: Any, target: Any) -> Any:
    from torch.nn import functional

    return functional.cross_entropy(functional.linear(hidden, weight), target)


def _make(shape: tuple[int, int, int], backward: bool) -> Any:
    rows, width, classes = shape

    def make(rng: np.random.Generator) -> Any:
        inputs = (
            normal(rng, rows, width),
            normal(rng, classes, width) * np.float32(0.05),
            rng.integers(0, classes, rows),
        )
        return (*inputs, np.array(1.0, np.float32)) if backward else inputs

    return make


def cases(tiny: bool = False) -> Iterator[Case]:
    for full_shape, quick in SHAPES:
        rows, width, classes = shape = shrink(full_shape) if tiny else full_shape
        flops = 2.0 * rows * width * classes
        table = width * (rows + classes)
        yield Case(
            op="linear_cross_entropy",
            name=f"float32 {rows} x {width} x {classes}",
            make=_make(shape, False),
            contestants={
                "fastattn": on_arrays(fa.linear_cross_entropy),
                "numpy": on_arrays(linear_cross_entropy),
                "torch": on_torch(_torch),
            },
            reference=linear_cross_entropy,
            flops=flops,
            bytes=4.0 * table,
            traffic="read",
            quick=quick,
        )
        yield Case(
            op="linear_cross_entropy",
            name=f"float32 forward+backward {rows} x {width} x {classes}",
            make=_make(shape, True),
            contestants={
                "fastattn": with_gradients("fastattn", fa.linear_cross_entropy),
                "torch": with_gradients("torch", _torch),
            },
            reference=_gradients,
            flops=3 * flops,
            bytes=4.0 * 2 * table,
            quick=quick,
        )


def test_linear_cross_entropy(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
