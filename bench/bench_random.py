"""uniform_ and normal_. Every library draws other numbers, so the moments are what is checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Arrays, Call, Case, with_pytest

SIZE = 1 << 24


def _good(numbers: Any, mean: float, std: float) -> Any:
    """1 if mean and deviation are what they should be within 6 deviations of their own, else 0."""
    off_mean = abs(numbers.mean(dtype=np.float64) - mean) * numbers.size**0.5 / std
    off_std = abs(numbers.std(dtype=np.float64) - std) * numbers.size**0.5 / std
    return np.float32(off_mean < 6 and off_std < 6)


def _case(kind: str, n: int) -> Case:
    mean, std = (0.5, 12**-0.5) if kind == "uniform" else (0.0, 1.0)

    def ours(inputs: Arrays) -> Call:
        (array,) = inputs
        return lambda: fa.uniform_(array) if kind == "uniform" else fa.normal_(array)

    def numpy(inputs: Arrays) -> Call:
        (array,) = inputs
        rng = np.random.default_rng()
        draw = rng.random if kind == "uniform" else rng.standard_normal
        return lambda: draw(dtype=np.float32, out=array)

    def torch(inputs: Arrays) -> Call:
        import torch

        tensor = torch.from_numpy(inputs[0])
        return lambda: tensor.uniform_() if kind == "uniform" else tensor.normal_()

    return Case(
        op="random",
        name=f"float32 {kind} {n}",
        make=lambda rng: (np.zeros(n, np.float32),),
        contestants={"fastattn": ours, "numpy": numpy, "torch": torch},
        reference=lambda zeros: zeros.dtype.type(1),
        pick=lambda numbers: (_good(numbers, mean, std),),
        bytes=4.0 * 2 * n,  # a store reads its line first
        traffic="update",
        quick=kind == "uniform",
        strong=False,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for kind in ("uniform", "normal"):
        yield _case(kind, 1000 if tiny else SIZE)


def test_random(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
