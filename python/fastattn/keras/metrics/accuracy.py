"""The part of the predictions that are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastattn.metrics.metric import on_host

from .._tensors import same_rank
from .metric import Array, OfFunction, Plain, floats, shapes


def accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the two are equal, 0 elsewhere."""
    y_true, y_pred = same_rank(on_host(y_true), on_host(y_pred))
    return floats(y_true == y_pred)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """1 where the label, 0 or 1, is that of a prediction above `threshold` or not."""
    y_true, y_pred = same_rank(on_host(y_true), on_host(y_pred))
    return floats(y_true == (y_pred > threshold).astype(y_true.dtype))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the highest prediction is that of the one-hot label."""
    return floats(on_host(y_true).argmax(-1) == on_host(y_pred).argmax(-1))


def _classes(y_true: Any, y_pred: Array) -> Array:
    """Labels that are classes, without a last axis of 1."""
    y_true = on_host(y_true)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        msg = f"{shapes(y_true, y_pred)}; expected classes (...) and scores (..., classes)"
        raise ValueError(msg)
    return np.asarray(y_true)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the highest prediction is that of the class."""
    y_pred = on_host(y_pred)
    return floats(_classes(y_true, y_pred) == y_pred.argmax(-1))


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """1 where the class is among the k highest predictions, or as high as the last of them."""
    y_pred = on_host(y_pred)
    classes = _classes(y_true, y_pred).astype(np.int64)
    of_class = np.take_along_axis(y_pred, classes[..., None], -1)
    # NaN is not among the highest.
    return floats(((y_pred > of_class).sum(-1) < k) & np.isfinite(of_class[..., 0]))


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """1 where the class of the one-hot label is among the k highest predictions, or as high as the last of them."""
    return sparse_top_k_categorical_accuracy(on_host(y_true).argmax(-1), y_pred, k)


class Accuracy(Plain):
    """How often predictions equal labels."""

    _direction = "up"
    _function = staticmethod(accuracy)


class CategoricalAccuracy(Plain):
    """How often the highest prediction is that of the one-hot label."""

    _direction = "up"
    _function = staticmethod(categorical_accuracy)


class SparseCategoricalAccuracy(Plain):
    """How often the highest prediction is that of the class.

    Args:
        name: what logs call it.
        dtype: accepted for Keras's sake.

    Example:
        >>> from fastattn import keras
        >>> metric = keras.metrics.SparseCategoricalAccuracy()
        >>> metric.update_state([1, 1], [[0.1, 0.9], [0.8, 0.2]])
        >>> metric.result()
        0.5
    """

    _direction = "up"
    _function = staticmethod(sparse_categorical_accuracy)


class BinaryAccuracy(OfFunction):
    """How often a prediction is on the label's side of `threshold`."""

    _direction = "up"

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        if not 0 < threshold < 1:
            msg = f"BinaryAccuracy: threshold is {threshold!r}; expected within 0 and 1"
            raise ValueError(msg)
        self._set(binary_accuracy, name, dtype, threshold=threshold)


class TopKCategoricalAccuracy(OfFunction):
    """How often the class of the one-hot label is among the k highest predictions."""

    _direction = "up"

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        self._set(top_k_categorical_accuracy, name, dtype, k=k)


class SparseTopKCategoricalAccuracy(OfFunction):
    """How often the class is among the k highest predictions."""

    _direction = "up"

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: Any = None) -> None:
        self._set(sparse_top_k_categorical_accuracy, name, dtype, k=k)
