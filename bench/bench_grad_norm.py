"""grad_norm: the norm of all gradients of a model; and clipping by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Arrays, Call, Case, with_pytest
from .parameters import SIZES, TINY, count, cut, flat_inputs, gpt_shapes


def _norm(size: str, tiny: bool) -> Case:
    shapes = gpt_shapes(*(TINY if tiny else SIZES[size]))

    def ours(inputs: Arrays) -> Call:
        grads = cut(inputs[0], shapes)
        return lambda: np.float64(fa.grad_norm(grads))

    def numpy(inputs: Arrays) -> Call:
        grads = cut(inputs[0], shapes)
        # not vdot: BLAS adds 38 million squares up in float32, and 5 digits are left
        return lambda: np.sqrt(sum(float(np.sum(np.square(g))) for g in grads))

    def torch(inputs: Arrays) -> Call:
        import torch

        grads = [torch.from_numpy(g) for g in cut(inputs[0], shapes)]
        return lambda: torch.nn.utils.get_total_norm(grads)

    return Case(
        op="grad_norm",
        name=f"float32 {size}",
        make=lambda rng: flat_inputs(rng, shapes, ("normal",)),
        contestants={"fastattn": ours, "numpy": numpy, "torch": torch},
        reference=lambda g: np.sqrt(np.sum(g.astype(np.float64) ** 2)),
        bytes=4.0 * count(shapes),
        traffic="read",
        quick=size.startswith("small"),
    )


def _clip(size: str, tiny: bool) -> Case:
    """The norm, and then all gradients scaled: two passes for everybody."""
    shapes = gpt_shapes(*(TINY if tiny else SIZES[size]))

    def ours(inputs: Arrays) -> Call:
        grads = cut(inputs[0], shapes)

        def call() -> Any:
            fa.grad_scale(grads, 1.0 / (fa.grad_norm(grads) + 1e-12))  # explain() computes no norm: 0
            return grads[0]

        return call

    def torch(inputs: Arrays) -> Call:
        import torch

        grads = [torch.from_numpy(g) for g in cut(inputs[0], shapes)]
        params = [torch.empty_like(g) for g in grads]
        for p, g in zip(params, grads, strict=True):
            p.grad = g

        def call() -> Any:
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            return grads[0]

        return call

    first_shape = next(iter(shapes.values()))

    def reference(g: Any) -> Any:
        first = g[: int(np.prod(first_shape))].reshape(first_shape)
        return first / g.dtype.type(np.sqrt(np.sum(g.astype(np.float64) ** 2)))

    return Case(
        op="grad_norm",
        name=f"float32 clip {size}",
        make=lambda rng: flat_inputs(rng, shapes, ("normal",)),
        contestants={"fastattn": ours, "torch": torch},
        reference=reference,
        bytes=4.0 * 3 * count(shapes),
        traffic="update",
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for size in SIZES:
        yield _norm(size, tiny)
        yield _clip(size, tiny)


def test_grad_norm(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
