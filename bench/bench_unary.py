"""exp, log, tanh and erf, element by element."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .bench_activation import erf
from .harness import Case, normal, on_arrays, on_torch, with_pytest

# size, whether in --quick
SIZES = [(1 << 16, False), (1 << 24, True)]
SAMPLE = 1024  # elements that are checked


def _torch(name: str) -> Any:
    return lambda x: getattr(x, name)()


def cases(tiny: bool = False) -> Iterator[Case]:
    for full_size, quick in SIZES:
        n = 1000 if tiny else full_size
        for name in ("exp", "log", "tanh", "erf"):
            reference = erf if name == "erf" else getattr(np, name)
            contestants = {"fastattn": on_arrays(getattr(fa, name)), "torch": on_torch(_torch(name))}
            if name != "erf":  # NumPy has none
                contestants["numpy"] = on_arrays(reference)
            yield Case(
                op="unary",
                name=f"float32 {name} {n}",
                make=lambda rng, n=n: (np.abs(normal(rng, n)) + np.float32(0.1),),  # log wants positive numbers
                contestants=contestants,
                reference=lambda x, reference=reference: reference(x[:SAMPLE]),
                pick=lambda out: (out[:SAMPLE],),
                bytes=4.0 * 2 * n,
                quick=quick and name == "exp",
            )


def test_unary(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
