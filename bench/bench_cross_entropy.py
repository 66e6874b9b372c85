"""cross_entropy, forward, and forward with backward: the mean over rows of logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, shrink, with_gradients, with_pytest

# (rows, classes), whether in --quick
SHAPES = [((2048, 65), False), ((1024, 50257), True)]


def cross_entropy(logits: Any, target: Any) -> Any:
    shifted = logits - logits.max(-1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(len(target)), target]
    return losses.mean()


def _gradients(logits: Any, target: Any, dout: Any) -> Any:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    slope = weights / weights.sum(-1, keepdims=True)
    slope[np.arange(len(target)), target] -= 1
    return cross_entropy(logits, target), slope * dout / logits.dtype.type(len(target))


def _torch(logits: Any, target: Any) -> Any:
    import torch

    return torch.nn.functional.cross_entropy(logits, target)


def _make(shape: tuple[int, ...], backward: bool) -> Any:
    def make(rng: np.random.Generator) -> Any:
        inputs = normal(rng, *shape), rng.integers(0, shape[1], shape[0])
        return (*inputs, np.array(1.0, np.float32)) if backward else inputs

    return make


def cases(tiny: bool = False) -> Iterator[Case]:
    for full_shape, quick in SHAPES:
        rows, classes = shape = shrink(full_shape) if tiny else full_shape
        yield Case(
            op="cross_entropy",
            name=f"float32 {rows} x {classes}",
            make=_make(shape, False),
            contestants={
                "fastattn": on_arrays(fa.cross_entropy),
                "numpy": on_arrays(cross_entropy),
                "torch": on_torch(_torch),
            },
            reference=cross_entropy,
            bytes=4.0 * rows * classes,
            traffic="read",
            quick=quick,
        )
        yield Case(
            op="cross_entropy",
            name=f"float32 forward+backward {rows} x {classes}",
            make=_make(shape, True),
            contestants={
                "fastattn": with_gradients("fastattn", fa.cross_entropy),
                "torch": with_gradients("torch", _torch),
            },
            reference=_gradients,
            bytes=4.0 * 3 * rows * classes,  # the logits twice, their gradient once
        )


def test_cross_entropy(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
