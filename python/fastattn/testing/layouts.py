"""The same values in other places: views whose strides a kernel may get wrong.

What lies between the elements of a view is NaN (or the largest integer), so that a kernel that reads it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .tolerance import is_float

NDArray = np.ndarray[Any, Any]


def _poisoned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
    if is_float(dtype):
        return np.full(shape, np.nan, dtype)
    return np.full(shape, True if dtype.kind == "b" else np.iinfo(dtype).max, dtype)


def contiguous(x: NDArray) -> NDArray:
    """Row-major."""
    return np.asarray(x, order="C")


def strided(x: NDArray) -> NDArray:
    """Every second element along every axis of a larger array."""
    if x.ndim == 0:
        return x
    view = _poisoned(tuple(2 * n for n in x.shape), x.dtype)[(slice(None, None, 2),) * x.ndim]
    view[...] = x
    return view


def reverse(x: NDArray) -> NDArray:
    """Negative strides along every axis."""
    if x.ndim == 0:
        return x
    backwards = (slice(None, None, -1),) * x.ndim
    return x[backwards].copy()[backwards]


def transposed(x: NDArray) -> NDArray:
    """Column-major: the first axis is the contiguous one."""
    return np.asarray(x, order="F")


def padded(x: NDArray) -> NDArray:
    """Contiguous along the last axis, rows 3 elements further apart than they are long, 1 element off alignment."""
    if x.ndim == 0:
        return x
    view = _poisoned((*x.shape[:-1], x.shape[-1] + 3), x.dtype)[..., 1 : x.shape[-1] + 1]
    view[...] = x
    return view


LAYOUTS: dict[str, Callable[[NDArray], NDArray]] = {
    "contiguous": contiguous,
    "strided": strided,
    "reverse": reverse,
    "transposed": transposed,
    "padded": padded,
}
