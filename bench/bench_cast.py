"""Casts between float32 and 16 bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, with_pytest

# size, whether in --quick
SIZES = [(1 << 16, False), (1 << 24, True)]
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": fa.bfloat16, "float16": fa.float16}


def _case(n: int, source: str, target: str, quick: bool) -> Case:
    x_dtype, dtype = DTYPES[source], DTYPES[target]
    return Case(
        op="cast",
        name=f"{source} to {target} {n}",
        make=lambda rng: (normal(rng, n).astype(x_dtype),),
        contestants={
            "fastattn": on_arrays(lambda x: fa.cast(x, dtype)),
            "numpy": on_arrays(lambda x: x.astype(dtype)),
        },
        reference=lambda x: x.astype(dtype if x.dtype == x_dtype else x.dtype),
        dtype=target,
        bytes=float(n * (x_dtype.itemsize + dtype.itemsize)),
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for size, quick in SIZES:
        for source, target in (("float32", "bfloat16"), ("bfloat16", "float32"), ("float32", "float16")):
            yield _case(1000 if tiny else size, source, target, quick and source == "float32")


def test_cast(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
