"""What is read off the curves of true and false positives over many thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..config import epsilon
from .confusion import _Counts, counted, prepared, ratio
from .metric import Array, floats

CURVES = ("ROC", "PR")
SUMMATIONS = ("interpolation", "majoring", "minoring")


class AUC(_Counts):
    """The area under a curve, of as many points as there are thresholds.

    Args:
        num_thresholds: how many, evenly within 0..1.
        curve: "ROC": true over false positive rate; "PR": precision over recall.
        summation_method: between two points "interpolation": the line (of PR the curve of Davis and Goadrich), "majoring":
            the higher, "minoring": the lower.
        name: what logs call it.
        dtype: accepted for Keras's sake.
        thresholds: those within 0..1 instead.
        multi_label: the mean of the areas of the labels (samples, labels), each with a curve of its own.
        num_labels: how many; found from the first batch.
        label_weights: of the labels, in that mean or in the one curve.
        from_logits: predictions are logits.

    Raises:
        ValueError: an option out of range, shapes that differ.

    Example:
        >>> from fastattn import keras
        >>> auc = keras.metrics.AUC(num_thresholds=3)
        >>> auc.update_state([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
        >>> auc.result()
        0.75

    Source: Davis and Goadrich, "The relationship between precision-recall and ROC curves" (2006), section 3.
    """

    _direction = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(dtype, name)
        if curve not in (*CURVES, *map(str.lower, CURVES)):
            msg = f"AUC: curve is {curve!r}; expected 'ROC' or 'PR'"
            raise ValueError(msg)
        if summation_method.lower() not in SUMMATIONS:
            msg = f"AUC: summation_method is {summation_method!r}; expected 'interpolation', 'majoring' or 'minoring'"
            raise ValueError(msg)
        if thresholds is None and num_thresholds < 2:
            msg = f"AUC: num_thresholds is {num_thresholds!r}; expected at least 2"
            raise ValueError(msg)
        if num_labels and not multi_label:
            msg = "AUC: num_labels is for multi_label=True"
            raise ValueError(msg)
        self.curve, self.summation_method = curve.upper(), summation_method.lower()
        self.multi_label, self.num_labels, self.label_weights = multi_label, num_labels, label_weights
        self.from_logits, self.thresholds = from_logits, thresholds
        inner = np.arange(1, num_thresholds - 1) / (num_thresholds - 1) if thresholds is None else np.sort(thresholds)
        self.num_thresholds = len(inner) + 2
        # The ends are beyond every probability.
        self._levels = np.array([-epsilon(), *inner, 1 + epsilon()])
        self.reset_state()

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal object."""
        config = super().get_config()
        return config if self.thresholds is not None else {k: v for k, v in config.items() if k != "thresholds"}

    def reset_state(self) -> None:
        """Forgets all batches."""
        self._sums: Array = np.zeros((4, self.num_thresholds, 1))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch."""
        y_true, y_pred, weight = prepared(y_true, y_pred, sample_weight)
        if self.from_logits:
            y_pred = 1 / (1 + np.exp(-y_pred))
        y_pred = y_pred.clip(0, 1)
        if not self.multi_label:
            if self.label_weights is not None:
                weight = weight * floats(self.label_weights)
            self._sums = self._sums + counted(y_true, y_pred, weight, self._levels)[..., None]
            return
        if y_pred.ndim != 2 or (self.num_labels or y_pred.shape[1]) != y_pred.shape[1]:
            msg = f"AUC: y_pred has shape {y_pred.shape}; expected (samples, {self.num_labels or 'labels'})"
            raise ValueError(msg)
        labels = range(y_pred.shape[1])
        columns = [counted(y_true[:, i], y_pred[:, i], weight[:, i], self._levels) for i in labels]
        self._sums = self._sums + np.stack(columns, -1)

    def result(self) -> float:
        """Of 0 to 1."""
        tp, fp, tn, fn = self._sums
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = _precision_recall(tp, fp, fn)
        else:
            recall = ratio(tp, tp + fn)
            x, y = (ratio(fp, fp + tn), recall) if self.curve == "ROC" else (recall, ratio(tp, tp + fp))
            low, high = np.minimum(y[:-1], y[1:]), np.maximum(y[:-1], y[1:])
            heights = {"interpolation": (low + high) / 2, "majoring": high, "minoring": low}
            areas = ((x[:-1] - x[1:]) * heights[self.summation_method]).sum(0)
        if not self.multi_label or self.label_weights is None:
            return float(areas.mean())
        weights = floats(self.label_weights)
        return float((areas * weights).sum() / weights.sum()) if weights.sum() else 0.0


def _precision_recall(tp: Array, fp: Array, fn: Array) -> Array:
    """The area under precision over recall, where between two points true positives grow in step with all positives."""
    positives = tp + fp
    more_true, more = tp[:-1] - tp[1:], positives[:-1] - positives[1:]
    slope = ratio(more_true, np.maximum(more, 0))
    intercept = tp[1:] - slope * positives[1:]
    both = (positives[:-1] > 0) & (positives[1:] > 0)
    growth = np.where(both, ratio(positives[:-1], np.maximum(positives[1:], 0)), 1.0)
    parts = ratio(slope * (more_true + intercept * np.log(growth)), np.maximum(tp[1:] + fn[1:], 0))
    return np.asarray(parts.sum(0))


class _BestAt(_Counts):
    """The best of one rate at the thresholds where another is at least `value`."""

    _direction = "up"
    _wanted = ""  # the name of the argument

    def __init__(
        self,
        value: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        own = type(self).__name__
        if not 0 <= value <= 1:
            msg = f"{own}: {self._wanted} is {value!r}; expected 0 to 1"
            raise ValueError(msg)
        if num_thresholds <= 0:
            msg = f"{own}: num_thresholds is {num_thresholds!r}; expected above 0"
            raise ValueError(msg)
        self.value, self.num_thresholds, self.class_id = value, num_thresholds, class_id
        self._at(np.linspace(0, 1, num_thresholds) if num_thresholds > 1 else np.array([0.5]))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal object."""
        config = {"num_thresholds": self.num_thresholds, "class_id": self.class_id, "name": self.name}
        return {self._wanted: self.value, **config}

    def _best(self, constrained: Any, dependent: Any) -> float:
        return float(np.where(constrained >= self.value, dependent, 0.0).max(initial=0.0))

    def _rates(self) -> dict[str, Any]:
        tp, fp, tn, fn = self.counts
        return {
            "sensitivity": ratio(tp, tp + fn),
            "specificity": ratio(tn, tn + fp),
            "precision": ratio(tp, tp + fp),
            "recall": ratio(tp, tp + fn),
        }


class SensitivityAtSpecificity(_BestAt):
    """The highest sensitivity where specificity is at least so much."""

    _wanted = "specificity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        """Of 0 to 1."""
        rates = self._rates()
        return self._best(rates["specificity"], rates["sensitivity"])


class SpecificityAtSensitivity(_BestAt):
    """The highest specificity where sensitivity is at least so much."""

    _wanted = "sensitivity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        """Of 0 to 1."""
        rates = self._rates()
        return self._best(rates["sensitivity"], rates["specificity"])


class PrecisionAtRecall(_BestAt):
    """The highest precision where recall is at least so much."""

    _wanted = "recall"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        """Of 0 to 1."""
        rates = self._rates()
        return self._best(rates["recall"], rates["precision"])


class RecallAtPrecision(_BestAt):
    """The highest recall where precision is at least so much."""

    _wanted = "precision"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)

    def result(self) -> float:
        """Of 0 to 1."""
        rates = self._rates()
        return self._best(rates["precision"], rates["recall"])
