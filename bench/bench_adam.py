"""adam_step: one step of AdamW over all parameters of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Arrays, Call, Case, with_pytest
from .parameters import SIZES, TINY, count, cut, flat_inputs, gpt_shapes, join, sample

LR, BETA1, BETA2, EPS, DECAY, STEP = 1e-3, 0.9, 0.999, 1e-8, 0.1, 10


def _adamw(p: Any, g: Any, m: Any, v: Any) -> Any:
    """The parameters after the step; in place where that is how NumPy would be written."""
    m = BETA1 * m + (1 - BETA1) * g
    v = BETA2 * v + (1 - BETA2) * g * g
    root = np.sqrt(v) / p.dtype.type((1 - BETA2**STEP) ** 0.5) + p.dtype.type(EPS)
    return p * p.dtype.type(1 - LR * DECAY) - p.dtype.type(LR / (1 - BETA1**STEP)) * m / root


def _case(size: str, tiny: bool) -> Case:
    shapes = gpt_shapes(*(TINY if tiny else SIZES[size]))
    n = count(shapes)
    where = sample(n)

    # A step changes its inputs, so every call after the first starts from another state: the work is the same. The
    # answer is that of the first, checked, call.
    def ours(inputs: Arrays) -> Call:
        p, g, m, v = (cut(x, shapes) for x in inputs)

        def call() -> Any:
            fa.adam_step(
                p, g, m, v, step=STEP, lr=LR, betas=(BETA1, BETA2), eps=EPS, weight_decay=DECAY, decoupled=True
            )
            return p

        return call

    def numpy(inputs: Arrays) -> Call:
        ps, gs, ms, vs = (cut(x, shapes) for x in inputs)

        def call() -> Any:
            for p, g, m, v in zip(ps, gs, ms, vs, strict=True):
                m *= BETA1
                m += (1 - BETA1) * g
                v *= BETA2
                v += (1 - BETA2) * g * g
                p *= 1 - LR * DECAY
                p -= (LR / (1 - BETA1**STEP)) * m / (np.sqrt(v) / (1 - BETA2**STEP) ** 0.5 + EPS)
            return ps

        return call

    def torch(inputs: Arrays) -> Call:
        import torch

        ps, gs, ms, vs = ([torch.from_numpy(x) for x in cut(x, shapes)] for x in inputs)
        for p, g in zip(ps, gs, strict=True):
            p.grad = g
        optimizer = torch.optim.AdamW(ps, LR, (BETA1, BETA2), EPS, DECAY, fused=True)
        for p, m, v in zip(ps, ms, vs, strict=True):
            optimizer.state[p] = {"step": torch.tensor(float(STEP - 1)), "exp_avg": m, "exp_avg_sq": v}

        def call() -> Any:
            optimizer.step()
            return ps

        return call

    return Case(
        op="adam",
        name=f"float32 AdamW {size}",
        make=lambda rng: flat_inputs(rng, shapes, ("normal", "normal", "normal", "positive")),
        contestants={"fastattn": ours, "numpy": numpy, "torch": torch},
        reference=lambda *inputs: _adamw(*(x[where] for x in inputs)),
        pick=lambda *params: (join(params)[where],),
        bytes=4.0 * 7 * n,  # p, g, m, v read; p, m, v written
        traffic="update",
        quick=size.startswith("small"),
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for size in SIZES:
        yield _case(size, tiny)


def test_adam(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
