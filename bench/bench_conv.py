"""conv2d, forward, and forward with backward, in both layouts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa
from fastattn.testing import reference_conv

from .harness import Case, normal, on_arrays, on_torch, with_gradients, with_pytest

# (batch, channels, outputs, length of a side, taps of a side, groups), whether in --quick
SHAPES = [
    ((64, 1, 32, 28, 3, 1), True),
    ((64, 1, 32, 28, 5, 1), False),
    ((64, 32, 64, 14, 3, 1), True),
    ((64, 32, 64, 14, 5, 1), False),
    ((16, 64, 64, 56, 3, 1), False),
    ((16, 256, 256, 14, 1, 1), False),
    ((8, 64, 64, 56, 3, 64), True),
]


def _options(channels: int, weight: Any) -> dict[str, int]:
    """Of as many outputs as pixels; weight is (O, C / groups, K, K)."""
    return {"padding": weight.shape[-1] // 2, "groups": channels // weight.shape[1]}


def _torch(x: Any, weight: Any, bias: Any) -> Any:
    """torch's fast layout: channels last in memory. x is (N, H, W, C)."""
    import torch

    out = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, **_options(x.shape[-1], weight))
    return out.permute(0, 2, 3, 1)


def _ours(x: Any, weight: Any, bias: Any) -> Any:
    return fa.conv2d(x, weight, bias, **_options(x.shape[-1], weight), layout="nhwc")


def _torch_first(x: Any, weight: Any, bias: Any) -> Any:
    import torch

    return torch.nn.functional.conv2d(x, weight, bias, **_options(x.shape[1], weight))


def _ours_first(x: Any, weight: Any, bias: Any) -> Any:
    return fa.conv2d(x, weight, bias, **_options(x.shape[1], weight))


def _reference(last: bool, x: Any, weight: Any, bias: Any) -> Any:
    """The first image."""
    image = x[:1].transpose(0, 3, 1, 2) if last else x[:1]
    options = _options(image.shape[1], weight)
    out = reference_conv.conv2d(image, weight, bias, padding=(options["padding"],) * 4, groups=options["groups"])
    return out.transpose(0, 2, 3, 1) if last else out


def _gradients(last: bool, x: Any, weight: Any, bias: Any, dout: Any) -> Any:
    """The gradient of the first image."""
    image, gradient = (a[:1].transpose(0, 3, 1, 2) if last else a[:1] for a in (x, dout))
    options = _options(image.shape[1], weight)
    padding = (options["padding"],) * 4
    dx = reference_conv.conv2d_backward(gradient, image, weight, bias, padding=padding, groups=options["groups"])[0]
    return dx.transpose(0, 2, 3, 1) if last else dx


def _case(shape: tuple[int, ...], last: bool, backward: bool, quick: bool) -> Case:
    batch, channels, outs, side, taps, groups = shape
    image = (side, side)
    ours, theirs = (_ours, _torch) if last else (_ours_first, _torch_first)
    sizes = [(batch, *image, c) if last else (batch, c, *image) for c in (channels, outs)]
    weight = (outs, channels // groups, taps, taps)

    def make(rng: np.random.Generator) -> Any:
        arrays = normal(rng, *sizes[0]), normal(rng, *weight), normal(rng, outs)
        return (*arrays, normal(rng, *sizes[1])) if backward else arrays

    layout = "nhwc" if last else "nchw"
    name = f"float32 {'forward+backward ' if backward else ''}{layout} {batch} x {channels} -> {outs} of {side}, {taps} taps"
    name += f", {groups} groups" if groups > 1 else ""
    passes = 3 if backward else 1
    elements = math.prod(sizes[0]) + math.prod(sizes[1])
    return Case(
        op="conv",
        name=name,
        make=make,
        contestants={
            "fastattn": with_gradients("fastattn", ours) if backward else on_arrays(ours),
            "torch": with_gradients("torch", theirs) if backward else on_torch(theirs),
        },
        reference=lambda *arrays: (_gradients if backward else _reference)(last, *arrays),
        pick=(lambda *results: (results[1][:1],)) if backward else (lambda out: (out[:1],)),
        flops=2.0 * passes * batch * side * side * math.prod(weight),
        bytes=4.0 * passes * elements,
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for shape, quick in SHAPES:
        grouped = shape[5] > 1
        small = (2, 4 if grouped else min(shape[1], 3), 4, 6, shape[4], 4 if grouped else 1) if tiny else shape
        for backward in (False, True):
            for last in (True, False):
                yield _case(small, last, backward, quick and last)


def test_conv(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
