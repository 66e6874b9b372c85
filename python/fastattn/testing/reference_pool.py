"""Pooling, written for clarity: a list of windows per axis, and a loop over the pairs of them.

Every function computes in the dtype of its arguments. Arrays are (..., H, W); one axis is H = 1 of two.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .reference import total

NDArray = np.ndarray[Any, Any]
Pair = tuple[int, int]
Window = tuple[NDArray, int]  # the indices inside, and the elements with those of the padding


def windows(
    size: int, kernel: int, stride: int, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> list[Window]:
    """The windows of one axis."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (math.ceil if ceil_mode else math.floor)(span / stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    result = []
    for o in range(count):
        index = o * stride - padding + dilation * np.arange(kernel)
        result.append((index[(index >= 0) & (index < size)], int((index < size + padding).sum())))
    return result


def adaptive_windows(size: int, count: int) -> list[Window]:
    """As many windows as wanted, of nearly one size."""
    bounds = [(o * size // count, -(-(o + 1) * size // count)) for o in range(count)]
    return [(np.arange(start, end), end - start) for start, end in bounds]


def _grid(
    x: NDArray,
    size: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
    adaptive: bool = False,
) -> tuple[list[Window], list[Window]]:
    if adaptive:
        rows, cols = (adaptive_windows(x.shape[i - 2], size[i]) for i in (0, 1))
    else:
        rows, cols = (windows(x.shape[i - 2], size[i], stride[i], padding[i], dilation[i], ceil_mode) for i in (0, 1))
    return rows, cols


def _walk(grid: tuple[list[Window], list[Window]]) -> Iterator[tuple[int, int, NDArray, NDArray, int, int]]:
    """oh, ow, the rows and columns of the window as an index of it, and its elements without and with the padding."""
    for (i, (rows, tall)), (j, (cols, wide)) in itertools.product(enumerate(grid[0]), enumerate(grid[1])):
        yield i, j, rows[:, None], cols[None], rows.size * cols.size, tall * wide


def _largest(taken: NDArray) -> NDArray:
    """Where the maximum of the last axis is: the last NaN, else the first of equal ones."""
    last = taken.shape[-1] - 1
    nan = np.isnan(taken)
    return np.asarray(np.where(nan.any(-1), last - nan[..., ::-1].argmax(-1), taken.argmax(-1)))


def max_pool(x: NDArray, size: Pair, **options: Any) -> tuple[NDArray, NDArray]:
    """The maxima, and their positions h W + w."""
    grid = _grid(x, size, **options)
    shape = (*x.shape[:-2], len(grid[0]), len(grid[1]))
    out, index = np.empty(shape, x.dtype), np.empty(shape, np.int64)
    for i, j, rows, cols, count, _ in _walk(grid):
        if count == 0:  # a dilated window that steps over what there is
            out[..., i, j], index[..., i, j] = -np.inf, -1
            continue
        taken = x[..., rows, cols].reshape(*x.shape[:-2], count)
        tap = _largest(taken)
        out[..., i, j] = np.take_along_axis(taken, tap[..., None], -1)[..., 0]
        index[..., i, j] = (rows * x.shape[-1] + cols).ravel()[tap]
    return out, index


def max_pool_backward(dout: NDArray, x: NDArray, size: Pair, **options: Any) -> NDArray:
    index = max_pool(x, size, **options)[1]
    dx = np.zeros((*x.shape[:-2], x.shape[-2] * x.shape[-1]), x.dtype)
    for plane in np.ndindex(*x.shape[:-2]):
        for at, g in zip(index[plane].ravel(), dout[plane].ravel(), strict=True):
            if at >= 0:
                dx[plane][at] += g
    return dx.reshape(x.shape)


def _divisor(count: int, padded: int, count_include_pad: bool, divisor: int | None) -> int:
    return divisor or (padded if count_include_pad else max(count, 1))


def avg_pool(
    x: NDArray, size: Pair, count_include_pad: bool = True, divisor: int | None = None, **options: Any
) -> NDArray:
    """The averages."""
    grid = _grid(x, size, **options)
    out = np.empty((*x.shape[:-2], len(grid[0]), len(grid[1])), x.dtype)
    for i, j, rows, cols, count, padded in _walk(grid):
        taken = x[..., rows, cols].reshape(*x.shape[:-2], count)
        out[..., i, j] = total(taken) / x.dtype.type(_divisor(count, padded, count_include_pad, divisor))
    return out


def avg_pool_backward(
    dout: NDArray,
    x: NDArray,
    size: Pair,
    count_include_pad: bool = True,
    divisor: int | None = None,
    **options: Any,
) -> NDArray:
    dx = np.zeros_like(x)
    for i, j, rows, cols, count, padded in _walk(_grid(x, size, **options)):
        share = dout[..., i, j] / x.dtype.type(_divisor(count, padded, count_include_pad, divisor))
        dx[..., rows, cols] += share[..., None, None]
    return dx
