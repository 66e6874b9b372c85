"""Vectors along an axis: distances, normalisation, one-hot; and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastattn.autograd.joining import cat
from fastattn.autograd.node import kind_of, wrap
from fastattn.autograd.tensor import Tensor

__all__ = ["bilinear", "cosine_similarity", "normalize", "one_hot", "pad", "pairwise_distance"]


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """input / max(p-norm along an axis, eps)."""
    return input / input.norm(p, dim, True).clamp(eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along an axis."""
    a, b = x1 / x1.norm(2, dim, True).clamp(eps), x2 / x2.norm(2, dim, True).clamp(eps)
    return (a * b).sum(dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_o = input1^T weight_o input2 + bias_o; weight (out, in1, in2)."""
    n, m = weight.shape[1:]
    if input1.shape[-1] != n or input2.shape[-1] != m:
        msg = f"bilinear: inputs of {input1.shape[-1]} and {input2.shape[-1]} features; expected {n} and {m}"
        raise ValueError(msg)
    left = (input1 @ weight.permute(1, 0, 2).reshape(n, -1)).reshape(*input1.shape[:-1], weight.shape[0], m)
    out = (left * input2.unsqueeze(-2)).sum(-1)
    return out if bias is None else out + bias


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the place that each integer names, 0 elsewhere, along a new last axis.

    Args:
        tensor: integers from 0 on.
        num_classes: the length of the axis; the largest integer + 1 by default.

    Returns:
        (*shape, num_classes), int64.

    Raises:
        ValueError: an integer outside the classes.
        TypeError: not integers.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.one_hot(fa.tensor([0, 2]))
        tensor([[1, 0, 0],
                [0, 0, 1]])
    """
    ids = tensor._data
    if ids.dtype.kind not in "iu":
        msg = f"one_hot: dtype is {ids.dtype}; expected integers"
        raise TypeError(msg)
    if num_classes == -1:
        num_classes = int(ids.max()) + 1 if ids.size else 0
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < num_classes:
        msg = f"one_hot: {int(ids.min() if ids.min() < 0 else ids.max())} is outside the {num_classes} classes"
        raise ValueError(msg)
    return wrap((ids[..., None] == np.arange(num_classes)).astype(np.int64))


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Longer at the ends of the last axes.

    Args:
        input: any shape.
        pad: (before, after) of the last axis, then of the one before it, ...; negative numbers cut.
        mode: "constant", "reflect" (without the edge), "replicate" (of the edge) or "circular".
        value: what to fill with, 0 by default; only for "constant".

    Returns:
        A new tensor.

    Raises:
        ValueError: an odd number of numbers, too many, or more than there is to reflect or wrap.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.pad(fa.tensor([1.0, 2.0]), (1, 2), value=9.0)
        tensor([9., 1., 2., 9., 9.])
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        msg = f"pad: {len(pad)} numbers for {input.ndim} axes; expected two for each of the last axes"
        raise ValueError(msg)
    if mode not in ("constant", "reflect", "replicate", "circular"):
        msg = f'pad: mode is {mode!r}; expected "constant", "reflect", "replicate" or "circular"'
        raise ValueError(msg)
    if value is not None and mode != "constant":
        msg = f'pad: value is {value!r}, but mode is {mode!r}; only "constant" has one'
        raise ValueError(msg)
    out: Any = input
    for i in range(len(pad) // 2):
        out = _padded(out, input.ndim - 1 - i, pad[2 * i], pad[2 * i + 1], mode, value or 0)
    return out.clone() if out is input else out


def _padded(x: Tensor, d: int, before: int, after: int, mode: str, value: float) -> Tensor:
    cut = x.narrow(d, max(-before, 0), x.shape[d] - max(-before, 0) - max(-after, 0))
    before, after, n = max(before, 0), max(after, 0), cut.shape[d]
    if not before and not after:
        return cut
    if mode != "constant":
        limit = {"reflect": n - 1, "circular": n, "replicate": before + after if n else 0}[mode]
        if max(before, after) > limit:
            msg = f"pad: {max(before, after)} elements in mode {mode!r} on axis {d}, which has {n}; expected at most {limit}"
            raise ValueError(msg)
        at = np.arange(-before, n + after)
        if mode == "reflect":
            at = n - 1 - np.abs(n - 1 - np.abs(at))
        elif mode == "replicate":
            at = at.clip(0, n - 1)
        else:
            at = at % n
        return cut.index_select(d, wrap(at))
    sides = []
    for length in (before, after):
        filled = kind_of(x._data).empty((*cut.shape[:d], length, *cut.shape[d + 1 :]), x.dtype, x._data)
        filled[...] = value
        sides.append(wrap(filled))
    return cat([sides[0], cut, sides[1]], d)
