"""What is counted of true and false positives and negatives, at thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._tensors import same_rank
from .metric import Array, Metric, floats, shapes


def ratio(a: Any, b: Any) -> Any:
    """a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=np.asarray(b) != 0)


def prepared(
    y_true: Any, y_pred: Any, sample_weight: Any, top_k: int | None = None, class_id: int | None = None
) -> tuple[Array, Array, Array]:
    """Labels, predictions and weights of one shape."""
    y_pred, y_true = same_rank(floats(y_pred), floats(y_true))
    if y_true.shape != y_pred.shape:
        msg = f"{shapes(y_true, y_pred)}; expected the same"
        raise ValueError(msg)
    weight = np.ones(())
    if sample_weight is not None:
        weight = floats(sample_weight)[..., None]
        weight = weight if weight.ndim <= y_true.ndim else weight[..., 0]
    if top_k is not None:
        # Those that are not among the k highest are below every threshold; of equal ones the first are higher.
        best = np.argsort(-y_pred, axis=-1, kind="stable")[..., :top_k]
        among = np.zeros(y_pred.shape, np.bool_)
        np.put_along_axis(among, best, True, -1)
        y_pred = np.where(among, y_pred, -np.inf)
    if class_id is not None:
        if y_pred.ndim < 2:
            msg = f"class_id is {class_id} and y_pred has shape {y_pred.shape}; expected (samples, classes)"
            raise ValueError(msg)
        y_true, y_pred = y_true[..., class_id, None], y_pred[..., class_id, None]
    return y_true, y_pred, np.broadcast_to(weight, y_pred.shape)


def counts(
    y_true: Any,
    y_pred: Any,
    thresholds: Array,
    sample_weight: Any = None,
    top_k: int | None = None,
    class_id: int | None = None,
) -> Array:
    """(4, thresholds): true positives, false positives, true negatives, false negatives, weighted, at each threshold.

    A prediction is positive above the threshold.
    """
    return counted(*prepared(y_true, y_pred, sample_weight, top_k, class_id), thresholds)


def counted(y_true: Array, y_pred: Array, weight: Array, thresholds: Array) -> Array:
    """`counts` of labels, predictions and weights of one shape."""
    order = np.argsort(thresholds, kind="stable")
    # How many thresholds are below each prediction; then sums from above: what is positive at each threshold.
    below = np.searchsorted(thresholds[order], y_pred.reshape(-1), "left")
    below[np.isnan(y_pred.reshape(-1))] = 0
    labels, weight = y_true.reshape(-1).astype(np.bool_), weight.reshape(-1)
    out = np.empty((4, len(thresholds)))
    for row, chosen in enumerate((weight * labels, weight * ~labels)):
        sums = np.bincount(below, chosen, len(thresholds) + 1)
        above = sums[::-1].cumsum()[::-1]
        out[row, order] = above[1:]
        out[3 - row, order] = above[0] - above[1:]
    return out


def _thresholds(name: str, value: Any, default: float) -> Array:
    values = np.atleast_1d(np.asarray(default if value is None else value, np.float64))
    if value is not None and not ((values >= 0) & (values <= 1)).all():
        msg = f"{name}: thresholds are {values.tolist()}; expected within 0..1"
        raise ValueError(msg)
    return values


class _Counts(Metric):
    """One that adds up the four counts at its thresholds."""

    thresholds: Any
    class_id: int | None = None
    top_k: int | None = None

    def _at(self, thresholds: Array) -> None:
        self._levels = thresholds
        self.counts = self.add_weight((4, len(thresholds)))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch."""
        self.counts += counts(y_true, y_pred, self._levels, sample_weight, self.top_k, self.class_id)

    def _one(self, values: Any) -> Any:
        """A number of one threshold, an array of several."""
        return float(values[0]) if len(values) == 1 else np.array(values)


class _Count(_Counts):
    """One of the counts."""

    _row: int

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.thresholds = thresholds
        self._at(_thresholds(type(self).__name__, thresholds, 0.5))

    def result(self) -> Any:
        """How many, weighted; of several thresholds an array."""
        return self._one(self.counts[self._row])


class TruePositives(_Count):
    """How many are predicted and true."""

    _row = 0


class FalsePositives(_Count):
    """How many are predicted and not true."""

    _row = 1


class TrueNegatives(_Count):
    """How many are not predicted and not true."""

    _row = 2


class FalseNegatives(_Count):
    """How many are not predicted and true."""

    _row = 3


class _Rate(_Counts):
    """True positives over them and another count."""

    _direction = "up"
    _other: int

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        self.thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        # Of the k highest all are positive, the others below every finite number.
        self._at(_thresholds(type(self).__name__, thresholds, 0.5 if top_k is None else -1e10))

    def result(self) -> Any:
        """Of 0 to 1; of several thresholds an array."""
        return self._one(ratio(self.counts[0], self.counts[0] + self.counts[self._other]))


class Precision(_Rate):
    """Of what is predicted, the part that is true.

    Args:
        thresholds: predictions above are positive, 0.5 by default; several give an array.
        top_k: the k highest of each sample are positive.
        class_id: only this class counts.
        name: what logs call it.
        dtype: accepted for Keras's sake.

    Raises:
        ValueError: a threshold out of range, shapes that differ.

    Example:
        >>> from fastattn import keras
        >>> precision = keras.metrics.Precision()
        >>> precision.update_state([0, 1, 1, 1], [1, 0, 1, 1])
        >>> round(precision.result(), 4)
        0.6667
    """

    _other = 1


class Recall(_Rate):
    """Of what is true, the part that is predicted.

    Args:
        thresholds: predictions above are positive, 0.5 by default; several give an array.
        top_k: the k highest of each sample are positive.
        class_id: only this class counts.
        name: what logs call it.
        dtype: accepted for Keras's sake.

    Raises:
        ValueError: a threshold out of range, shapes that differ.

    Example:
        >>> from fastattn import keras
        >>> recall = keras.metrics.Recall()
        >>> recall.update_state([0, 1, 1, 1], [1, 0, 1, 1])
        >>> round(recall.result(), 4)
        0.6667
    """

    _other = 3
