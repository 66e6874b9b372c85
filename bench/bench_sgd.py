"""sgd_step: one step with momentum over all parameters of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fastattn as fa

from .harness import Arrays, Call, Case, with_pytest
from .parameters import SIZES, TINY, count, cut, flat_inputs, gpt_shapes, join, sample

LR, MOMENTUM = 1e-2, 0.9


def _case(size: str, tiny: bool) -> Case:
    shapes = gpt_shapes(*(TINY if tiny else SIZES[size]))
    n = count(shapes)
    where = sample(n)

    def ours(inputs: Arrays) -> Call:
        params, grads, buffers = (cut(x, shapes) for x in inputs)

        def call() -> Any:
            fa.sgd_step(params, grads, buffers, lr=LR, momentum=MOMENTUM)
            return params

        return call

    def numpy(inputs: Arrays) -> Call:
        params, grads, buffers = (cut(x, shapes) for x in inputs)

        def call() -> Any:
            for p, g, b in zip(params, grads, buffers, strict=True):
                b *= MOMENTUM
                b += g
                p -= LR * b
            return params

        return call

    def torch(inputs: Arrays) -> Call:
        import torch

        params, grads, buffers = ([torch.from_numpy(x) for x in cut(x, shapes)] for x in inputs)
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        optimizer = torch.optim.SGD(params, LR, MOMENTUM, fused=True)
        for p, b in zip(params, buffers, strict=True):
            optimizer.state[p] = {"momentum_buffer": b}

        def call() -> Any:
            optimizer.step()
            return params

        return call

    def reference(p: Any, g: Any, b: Any) -> Any:
        p, g, b = (x[where] for x in (p, g, b))
        return p - p.dtype.type(LR) * (p.dtype.type(MOMENTUM) * b + g)

    return Case(
        op="sgd",
        name=f"float32 momentum {size}",
        make=lambda rng: flat_inputs(rng, shapes, ("normal", "normal", "normal")),
        contestants={"fastattn": ours, "numpy": numpy, "torch": torch},
        reference=reference,
        pick=lambda *params: (join(params)[where],),
        bytes=4.0 * 5 * n,  # p, g, b read; p, b written
        traffic="update",
        quick=size.startswith("small"),
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for size in SIZES:
        yield _case(size, tiny)


def test_sgd(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
