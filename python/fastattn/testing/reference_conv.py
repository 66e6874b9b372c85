"""Convolution as `reference` writes things: in the dtype of its arguments, sums in index order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .reference import total

NDArray = np.ndarray[Any, Any]
Pair = Sequence[int]


def _taps(
    x: NDArray, weight: NDArray, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[NDArray, list[tuple[int, int, slice, slice]]]:
    """The padded images (N, C, H, W), and for every tap the slices of them that meet the outputs."""
    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    kernel = weight.shape[2:]
    out = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    ]
    slices = [
        [slice(i * d, i * d + (n - 1) * s + 1, s) for i in range(k)]
        for n, k, s, d in zip(out, kernel, stride, dilation, strict=True)
    ]
    return padded, [(i, j, rows, cols) for i, rows in enumerate(slices[0]) for j, cols in enumerate(slices[1])]


def conv2d(
    x: NDArray,
    weight: NDArray,
    bias: NDArray | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> NDArray:
    """(N, C, H, W) with (O, C / groups, KH, KW); padding is (top, left, bottom, right)."""
    padded, taps = _taps(x, weight, stride, padding, dilation)
    channels, outs = weight.shape[1], weight.shape[0] // groups
    results = []
    for g in range(groups):
        mine, w = padded[:, g * channels : (g + 1) * channels], weight[g * outs : (g + 1) * outs]
        shape = mine[:, :1, taps[0][2], taps[0][3]].shape
        result = np.zeros((len(x), outs, *shape[2:]), x.dtype)
        for c in range(channels):
            for i, j, rows, cols in taps:
                result = result + w[None, :, c, i, j, None, None] * mine[:, c, None, rows, cols]
        results.append(result)
    out = np.concatenate(results, 1)
    return out if bias is None else out + bias[:, None, None]


def conv2d_backward(
    dout: NDArray,
    x: NDArray,
    weight: NDArray,
    bias: NDArray | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[NDArray, NDArray, NDArray]:
    """Gradients of x, weight and bias."""
    padded, taps = _taps(x, weight, stride, padding, dilation)
    channels, outs = weight.shape[1], weight.shape[0] // groups
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    for g in range(groups):
        mine, gradient = padded[:, g * channels : (g + 1) * channels], dout[:, g * outs : (g + 1) * outs]
        to = dpadded[:, g * channels : (g + 1) * channels]
        w, dw = weight[g * outs : (g + 1) * outs], dweight[g * outs : (g + 1) * outs]
        for i, j, rows, cols in taps:
            for o in range(outs):
                to[:, :, rows, cols] += w[o, :, i, j, None, None] * gradient[:, o, None]
                dw[o, :, i, j] = total(mine[:, :, rows, cols] * gradient[:, o, None], (0, 2, 3))
    top, left = padding[:2]
    dx = dpadded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return dx, dweight, total(dout, (0, 2, 3))
