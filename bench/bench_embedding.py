"""embedding, forward, and forward with backward (the gradient of the whole table)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, shrink, with_gradients, with_pytest

# (indices, rows of the table, width), whether in --quick
SHAPES = [((2048, 65, 128), True), ((8192, 50257, 768), False)]


def _gradients(weight: Any, index: Any, dout: Any) -> Any:
    dweight = np.zeros_like(weight)
    np.add.at(dweight, index, dout)
    return weight[index], dweight


def _ours(weight: Any, index: Any) -> Any:
    return fa.embedding(index, weight)


def _torch(weight: Any, index: Any) -> Any:
    import torch

    return torch.nn.functional.embedding(index, weight)


def _make(shape: tuple[int, ...], backward: bool) -> Any:
    n, rows, width = shape

    def make(rng: np.random.Generator) -> Any:
        inputs = normal(rng, rows, width), rng.integers(0, rows, n)
        return (*inputs, normal(rng, n, width)) if backward else inputs

    return make


def cases(tiny: bool = False) -> Iterator[Case]:
    for full_shape, quick in SHAPES:
        n, rows, width = shape = shrink(full_shape) if tiny else full_shape
        yield Case(
            op="embedding",
            name=f"float32 {n} of {rows} x {width}",
            make=_make(shape, False),
            contestants={
                "fastattn": on_arrays(_ours),
                "numpy": on_arrays(lambda weight, index: weight[index]),
                "torch": on_torch(_torch),
            },
            reference=lambda weight, index: weight[index],
            bytes=4.0 * 2 * n * width,
            quick=quick,
        )
        yield Case(
            op="embedding",
            name=f"float32 forward+backward {n} of {rows} x {width}",
            make=_make(shape, True),
            contestants={
                "fastattn": with_gradients("fastattn", _ours),
                "torch": with_gradients("torch", _torch),
            },
            reference=_gradients,
            bytes=4.0 * (3 * n * width + rows * width),
            quick=quick,
        )


def test_embedding(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
