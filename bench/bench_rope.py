"""rope in both pairings, against its formula in NumPy and torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, shrink, with_pytest

# (batch, heads, tokens, width), whether in --quick
SHAPES = [((8, 4, 128, 32), False), ((1, 32, 2048, 128), True)]


def rope(x: Any, cos: Any, sin: Any) -> Any:
    """As transformers has it: by the halves."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def _torch(x: Any, cos: Any, sin: Any) -> Any:
    import torch

    half = x.shape[-1] // 2
    rotated = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * torch.cat([cos, cos], -1) + rotated * torch.cat([sin, sin], -1)


def _case(shape: tuple[int, ...], interleaved: bool, quick: bool) -> Case:
    contestants = {"fastattn": on_arrays(lambda *a: fa.rope(*a, interleaved=interleaved))}
    if not interleaved:
        contestants |= {"numpy": on_arrays(rope), "torch": on_torch(_torch)}

    def reference(x: Any, cos: Any, sin: Any) -> Any:
        x = x[:, -1]
        if not interleaved:
            return rope(x, cos, sin)
        turned = rope(np.concatenate([x[..., ::2], x[..., 1::2]], -1), cos, sin)
        return np.stack(np.split(turned, 2, -1), -1).reshape(x.shape)

    return Case(
        op="rope",
        name=f"float32 {'interleaved ' if interleaved else ''}{' x '.join(map(str, shape))}",
        make=lambda rng: (normal(rng, *shape), *fa.rope_cos_sin(shape[2], shape[3])),
        contestants=contestants,
        reference=reference,
        pick=lambda out: (out[:, -1],),
        bytes=4.0 * 2 * float(np.prod(shape)),
        quick=quick and not interleaved,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for shape, quick in SHAPES:
        for interleaved in (False, True):
            yield _case((*shrink(shape)[:-1], 8) if tiny else shape, interleaved, quick)


def test_rope(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
