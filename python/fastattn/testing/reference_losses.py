"""What the losses compute: `reference`, continued."""

from __future__ import annotations

from typing import Any

import numpy as np

from .reference import NDArray, log_softmax, product, softmax, sum_to, total


def _labels(target: NDArray, rows: NDArray, weight: NDArray | None, ignore_index: int, smoothing: float) -> NDArray:
    """q: what each class of each row is scored with, (..., C)."""
    classes = rows.shape[-1]
    counts = np.ones(rows.shape[:-1], bool)
    if target.ndim == rows.ndim:
        y = target
    else:
        counts = target != ignore_index
        y = (np.arange(classes) == target[..., None]).astype(rows.dtype)
    q = (1 - smoothing) * y + (smoothing / classes if classes else 0)
    if weight is not None:
        q = weight * q
    return np.where(counts[..., None], q, 0).astype(rows.dtype)


def _divisor(target: NDArray, rows: NDArray, weight: NDArray | None, ignore_index: int) -> NDArray:
    """What a mean divides by."""
    if target.ndim == rows.ndim:
        return np.asarray(np.prod(rows.shape[:-1]), rows.dtype)
    counts = target != ignore_index
    if weight is None:
        return np.asarray(counts.sum(), rows.dtype)
    return np.asarray(total(weight[target[counts]].reshape(-1)) if counts.any() else 0, rows.dtype)


def _classes_last(x: NDArray) -> NDArray:
    return x if x.ndim < 3 else np.moveaxis(x, 1, -1)


def cross_entropy(
    logits: NDArray,
    target: NDArray,
    weight: NDArray | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> NDArray:
    """-sum(q * log_softmax(logits)), q of class ids or probabilities; classes along axis 1 (or the only one), as torch
    has them."""
    rows = _classes_last(logits)
    target = _classes_last(target) if target.ndim == logits.ndim else target
    q = _labels(target, rows, weight, ignore_index, label_smoothing)
    losses = -total(np.where(q == 0, 0, q * log_softmax(rows)).astype(rows.dtype))
    if reduction == "none":
        return losses
    summed = total(losses.reshape(-1))
    return summed if reduction == "sum" else np.asarray(summed / _divisor(target, rows, weight, ignore_index))


def _slope(
    dloss: NDArray, target: NDArray, rows: NDArray, weight: NDArray | None, ignore_index: int, reduction: str
) -> NDArray:
    """The gradient of the loss of every row, (..., 1)."""
    g = np.asarray(dloss)[..., None] * np.ones((*rows.shape[:-1], 1), rows.dtype)
    return g / _divisor(target, rows, weight, ignore_index) if reduction == "mean" else g


def cross_entropy_backward(
    dloss: NDArray,
    logits: NDArray,
    target: NDArray,
    weight: NDArray | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    magnitude: bool = False,
) -> NDArray:
    """dlogits."""
    rows = _classes_last(logits)
    target = _classes_last(target) if target.ndim == logits.ndim else target
    q = _labels(target, rows, weight, ignore_index, label_smoothing)
    sums = total(q, keepdims=True)
    g = _slope(dloss, target, rows, weight, ignore_index, reduction)
    given = softmax(rows) * sums
    g = np.where(sums == 0, 0, g * (given + q if magnitude else given - q)).astype(rows.dtype)
    return g if logits.ndim < 3 else np.moveaxis(g, -1, 1)


def cross_entropy_dtarget(
    dloss: NDArray,
    logits: NDArray,
    target: NDArray,
    weight: NDArray | None = None,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> NDArray:
    """The gradient of probabilities."""
    rows, y = _classes_last(logits), _classes_last(target)
    g = _slope(dloss, y, rows, weight, -100, reduction)
    g = -g * (1 - label_smoothing) * log_softmax(rows)
    g = (g if weight is None else g * weight).astype(rows.dtype)
    return g if logits.ndim < 3 else np.moveaxis(g, -1, 1)


def linear_cross_entropy(
    input: NDArray, weight: NDArray, target: NDArray, bias: NDArray | None = None, **options: Any
) -> NDArray:
    """cross_entropy of input @ weight^T + bias, input (N, D)."""
    logits = product(input, weight.T)
    return cross_entropy(logits if bias is None else logits + bias, target, **options)


def linear_cross_entropy_backward(
    dloss: NDArray, input: NDArray, weight: NDArray, target: NDArray, bias: NDArray | None = None, **options: Any
) -> tuple[NDArray, NDArray, NDArray]:
    """dinput, dweight, dbias."""
    logits = product(input, weight.T)
    g = cross_entropy_backward(dloss, logits if bias is None else logits + bias, target, **options)
    return product(g, weight), product(g.T, input), sum_to(g, g.shape[-1:])
