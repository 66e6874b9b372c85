"""Sums over the first axis, the last, and all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastattn.ops.sum import sum_over

from .harness import Case, normal, on_arrays, on_torch, shrink, with_pytest

# (rows, width), whether in --quick
SHAPES = [((512, 128), False), ((8192, 768), True)]


def _case(shape: tuple[int, int], axes: tuple[int, ...], quick: bool) -> Case:
    return Case(
        op="sum",
        name=f"float32 {shape[0]} x {shape[1]} over {axes}",
        make=lambda rng: (np.abs(normal(rng, *shape)),),  # their sum does not cancel
        contestants={
            "fastattn": on_arrays(lambda x: sum_over(x, axes)),
            "numpy": on_arrays(lambda x: x.sum(axes)),
            "torch": on_torch(lambda x: x.sum(axes)),
        },
        reference=lambda x: np.asarray(x.sum(axes)),
        bytes=4.0 * shape[0] * shape[1],
        traffic="read",
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for shape, quick in SHAPES:
        for axes in ((0,), (1,), (0, 1)):
            yield _case(shrink(shape) if tiny else shape, axes, quick and axes == (0,))


def test_sum(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
