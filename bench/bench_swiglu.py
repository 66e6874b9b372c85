"""swiglu, forward, and forward with backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fastattn as fa

from .bench_activation import sigmoid
from .harness import Case, normal, on_arrays, on_torch, sample_rows, shrink, with_gradients, with_pytest

# (rows, width), whether in --quick
SHAPES = [((2048, 512), False), ((4096, 2048), True)]


def swiglu(gate: Any, up: Any) -> Any:
    return gate * sigmoid(gate) * up


def _gradients(gate: Any, up: Any, dout: Any) -> Any:
    s = sigmoid(gate)
    return gate * s * up, dout * up * s * (1 + gate * (1 - s)), dout * gate * s


def _torch(gate: Any, up: Any) -> Any:
    import torch

    return torch.nn.functional.silu(gate) * up


def _case(rows: int, width: int, gradients: bool, quick: bool) -> Case:
    some = sample_rows(rows)
    inputs = 3 if gradients else 2
    if gradients:
        contestants = {"fastattn": with_gradients("fastattn", fa.swiglu), "torch": with_gradients("torch", _torch)}
    else:
        contestants = {"fastattn": on_arrays(fa.swiglu), "numpy": on_arrays(swiglu), "torch": on_torch(_torch)}
    function = _gradients if gradients else swiglu
    return Case(
        op="swiglu",
        name=f"float32 {'forward+backward ' if gradients else ''}{rows} x {width}",
        make=lambda rng: tuple(normal(rng, rows, width) for _ in range(inputs)),
        contestants=contestants,
        reference=lambda *arrays: function(*(a[some] for a in arrays)),
        pick=lambda *results: tuple(r[some] for r in results),
        bytes=4.0 * (8 if gradients else 3) * rows * width,
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for gradients in (False, True):
        for shape, quick in SHAPES:
            yield _case(*(shrink(shape) if tiny else shape), gradients, quick)


def test_swiglu(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
