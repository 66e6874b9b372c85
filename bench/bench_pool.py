"""max_pool2d, avg_pool2d and global average pooling, forward, and forward with backward; maxima in both layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastattn as fa

from .harness import Case, normal, on_arrays, on_torch, with_gradients, with_pytest

Shape = tuple[int, int, int, int]
# (what, (N, C, H, W), kernel, stride), whether in --quick. Kernel 0: the whole plane.
CASES: list[tuple[str, Shape, int, int, bool]] = [
    ("max", (32, 64, 56, 56), 2, 2, True),
    ("max", (16, 64, 112, 112), 3, 2, False),
    ("avg", (32, 64, 56, 56), 2, 2, False),
    ("adaptive_avg", (64, 512, 7, 7), 0, 0, False),
]


def windows(x: Any, kernel: int, stride: int) -> Any:
    """(N, C, OH, OW, kernel, kernel), without padding."""
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def _numpy(what: str, x: Any, kernel: int, stride: int) -> Any:
    if what == "adaptive_avg":
        return x.mean((2, 3), keepdims=True)
    return getattr(windows(x, kernel, stride), {"max": "max", "avg": "mean"}[what])((4, 5))


def _call(library: Any, what: str, kernel: int, stride: int, **options: Any) -> Callable[[Any], Any]:
    if what == "adaptive_avg":
        return lambda x: library.adaptive_avg_pool2d(x, 1)
    return lambda x: getattr(library, f"{what}_pool2d")(x, kernel, stride, **options)


def _torch(what: str, kernel: int, stride: int, last: bool) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        import torch

        pool = _call(torch.nn.functional, what, kernel, stride)
        return pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) if last else pool(x)

    return call


def _channels_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same of (N, H, W, C)."""

    def call(*arrays: Any) -> Any:
        out = function(*(np.moveaxis(a, -1, 1) for a in arrays))
        return tuple(np.moveaxis(a, 1, -1) for a in out) if isinstance(out, tuple) else np.moveaxis(out, 1, -1)

    return call


def _gradients(what: str, kernel: int, stride: int) -> Callable[[Any, Any], Any]:
    """Windows do not overlap, and no two elements of one are equal."""

    def reference(x: Any, dout: Any) -> Any:
        out = _numpy(what, x, kernel, stride)
        if what == "adaptive_avg":
            return out, np.broadcast_to(dout / (x.shape[2] * x.shape[3]), x.shape)
        wide = [np.repeat(np.repeat(a, kernel, 2), kernel, 3) for a in (out, dout)]
        return out, np.where(x == wide[0], wide[1], 0) if what == "max" else wide[1] / kernel**2

    return reference


def _case(what: str, shape: Shape, kernel: int, stride: int, last: bool, backward: bool, quick: bool) -> Case:
    n, c, h, w = shape
    out = (1, 1) if kernel == 0 else ((h - kernel) // stride + 1, (w - kernel) // stride + 1)
    layout = {"layout": "nhwc"} if last else {}
    ours, theirs = _call(fa, what, kernel, stride, **layout), _torch(what, kernel, stride, last)
    inputs, outputs = ((n, h, w, c), (n, *out, c)) if last else (shape, (n, c, *out))
    size = "x".join(map(str, shape))
    moved = n * c * (h * w + out[0] * out[1])
    op = "pool"
    name = f"{what} float32 {'forward+backward ' if backward else ''}{size}, {kernel or 'all'} by {stride or 'one'}"
    name += " nhwc" if last else ""
    if backward:
        return Case(
            op=op,
            name=name,
            make=lambda rng: (normal(rng, *inputs), normal(rng, *outputs)),
            contestants={"fastattn": with_gradients("fastattn", ours), "torch": with_gradients("torch", theirs)},
            reference=_channels_last(_gradients(what, kernel, stride)) if last else _gradients(what, kernel, stride),
            bytes=4.0 * 2 * moved,
            quick=quick,
        )

    def pooled(x: Any) -> Any:
        return _numpy(what, x, kernel, stride)

    reference = _channels_last(pooled) if last else pooled
    return Case(
        op=op,
        name=name,
        make=lambda rng: (normal(rng, *inputs),),
        contestants={
            "fastattn": on_arrays(ours),
            "numpy": on_arrays(reference),
            "torch": on_torch(theirs),
        },
        reference=reference,
        bytes=4.0 * moved,
        quick=quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for backward in (False, True):
        for what, shape, kernel, stride, quick in CASES:
            if backward and kernel != stride:
                continue  # NumPy has no short word for overlapping ones
            for last in (False, True) if what == "max" else (False,):
                yield _case(what, (2, 3, *shape[2:]) if tiny else shape, kernel, stride, last, backward, quick)


def test_pool(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
