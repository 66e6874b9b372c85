"""Batch normalisation, written for clarity. Every function computes in the dtype of its arguments; x is (N, C, ...)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .reference import total

NDArray = np.ndarray[Any, Any]


def _channels(x: NDArray) -> NDArray:
    """(C, M)."""
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def _shaped(rows: NDArray, like: NDArray) -> NDArray:
    """(C, M) as (N, C, ...)."""
    return np.moveaxis(rows.reshape(like.shape[1], like.shape[0], *like.shape[2:]), 0, 1)


def moments(x: NDArray) -> tuple[NDArray, NDArray]:
    """The mean and the variance of each channel."""
    rows = _channels(x)
    mean = total(rows) / rows.shape[1]
    return mean, total((rows - mean[:, None]) ** 2) / rows.shape[1]


def batch_norm(
    x: NDArray,
    weight: NDArray | None = None,
    bias: NDArray | None = None,
    mean: NDArray | None = None,
    var: NDArray | None = None,
    eps: float = 1e-5,
) -> NDArray:
    """Each channel to mean 0 and variance 1, scaled and shifted; by given statistics where there are some."""
    if mean is None or var is None:
        mean, var = moments(x)
    out = (_channels(x) - mean[:, None]) * (1 / np.sqrt(var + x.dtype.type(eps)))[:, None]
    out = out if weight is None else out * weight[:, None]
    return _shaped(out if bias is None else out + bias[:, None], x)


def running(x: NDArray, running_mean: NDArray, running_var: NDArray, momentum: float = 0.1) -> tuple[NDArray, NDArray]:
    """The running statistics after a batch."""
    mean, var = moments(x)
    count = x.size // x.shape[1]
    old, new = x.dtype.type(1 - momentum), x.dtype.type(momentum)
    return old * running_mean + new * mean, old * running_var + new * (var * count / (count - 1))


def batch_norm_backward(
    dout: NDArray,
    x: NDArray,
    weight: NDArray | None = None,
    mean: NDArray | None = None,
    var: NDArray | None = None,
    eps: float = 1e-5,
    *,
    magnitude: bool = False,
) -> tuple[NDArray, NDArray, NDArray]:
    """dx, dweight, dbias; given statistics are constants."""
    constant = mean is not None and var is not None
    if mean is None or var is None:
        mean, var = moments(x)
    rstd = (1 / np.sqrt(var + x.dtype.type(eps)))[:, None]
    unit, g = (_channels(x) - mean[:, None]) * rstd, _channels(dout)
    scale = rstd if weight is None else rstd * weight[:, None]
    if magnitude:
        unit, g, scale = np.abs(unit), np.abs(g), np.abs(scale)
    dweight, dbias = total(g * unit), total(g)
    if constant:
        return _shaped(g * scale, x), dweight, dbias
    count = x.dtype.type(g.shape[1])
    shared = dbias[:, None] / count + unit * dweight[:, None] / count
    return _shaped((g + shared if magnitude else g - shared) * scale, x), dweight, dbias
