"""Sums and means of arrays over axes."""

from __future__ import annotations

import math
from typing import Any

from fastattn import _C

from ._native import new, preferred

LEAST = 1 << 16  # bytes from which the kernel is faster than NumPy


def sum_over(x: Any, axes: tuple[int, ...], keepdims: bool = False, mean: bool = False) -> Any:
    """The sum, or the mean, over some axes, on all threads where that is faster.

    16-bit floats are summed in float32 and rounded once; a mean is rounded once too, so the sum behind it may be larger
    than the dtype holds.

    Args:
        x: any shape and strides.
        axes: which, none of them negative or twice.
        keepdims: whether they stay, with length 1.
        mean: divide by the number of elements; NaN of none.
    """
    scale = 1.0
    if mean:
        count = math.prod([x.shape[i] for i in axes])
        scale = 1.0 / count if count else math.nan
    if not preferred(x, LEAST) or not axes:
        out = x.sum(axes, keepdims=keepdims)
        return out * scale if mean else out
    shape = tuple([n for i, n in enumerate(x.shape) if i not in axes])
    out = new(shape, x)
    _C.sum(x, out, axes, scale)
    return out.reshape([1 if i in axes else n for i, n in enumerate(x.shape)]) if keepdims else out
