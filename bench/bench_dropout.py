"""dropout. Every library draws another mask, so what is checked holds for any: kept elements are scaled, and the share
of dropped ones is p."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, shrink, with_pytest

P = 0.1
# (rows, width), whether in --quick
SHAPES = [((2048, 128), False), ((8192, 768), True)]


def _numpy(x: Any) -> Any:
    return x * (np.random.default_rng().random(x.shape, dtype=x.dtype) >= P) / x.dtype.type(1 - P)


def _torch(x: Any) -> Any:
    import torch

    return torch.nn.functional.dropout(x, P)


def _marked(x: Any, out: Any) -> Any:
    """The result with x / (1 - p) put back where it was dropped; 0 if too many or too few were."""
    dropped = out == 0
    share_is_p = abs(dropped.mean() - P) < 6 * (P * (1 - P) / x.size) ** 0.5
    return np.where(dropped, x / x.dtype.type(1 - P), out) if share_is_p else np.zeros_like(x)


def cases(tiny: bool = False) -> Iterator[Case]:
    for full_shape, quick in SHAPES:
        shape = shrink(full_shape) if tiny else full_shape
        yield Case(
            op="dropout",
            name=f"float32 p {P} {shape[0]} x {shape[1]}",
            make=lambda rng, shape=shape: (normal(rng, *shape),),
            # The result comes with its input, which the check needs.
            contestants={
                "fastattn": on_arrays(lambda x: (x, fa.dropout(x, P))),
                "numpy": on_arrays(lambda x: (x, _numpy(x))),
                "torch": on_torch(lambda x: (x, _torch(x))),
            },
            reference=lambda x: x / x.dtype.type(1 - P),
            pick=lambda x, out: (_marked(x, out),),
            bytes=4.0 * 2 * shape[0] * shape[1],
            quick=quick,
        )


def test_dropout(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
