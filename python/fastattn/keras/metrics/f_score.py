"""The harmonic mean of precision and recall."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import epsilon
from .metric import Array, Metric, floats, shapes


class FBetaScore(Metric):
    r"""A mean of precision and recall.

    .. math:: (1 + \beta^2) \frac{P R}{\beta^2 P + R}

    Args:
        average: None: each class; "micro": over all; "macro": the mean of the classes; "weighted": by their frequency.
        beta: how much recall counts, 1: as much.
        threshold: predictions above are positive; None: the highest of each sample is.
        name: what logs call it.
        dtype: accepted for Keras's sake.

    Raises:
        ValueError: an option out of range; labels or predictions that are not (samples, classes).

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> score = keras.metrics.FBetaScore(beta=2.0, threshold=0.5)
        >>> score.update_state(np.array([[1, 1], [1, 0], [1, 1]]), np.array([[0.2, 0.6], [0.2, 0.6], [0.6, 0.8]]))
        >>> score.result().round(4)
        array([0.3846, 0.9091])

    Source: scikit-learn, metrics.fbeta_score.
    """

    _direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        own = type(self).__name__
        if average not in (None, "micro", "macro", "weighted"):
            msg = f"{own}: average is {average!r}; expected None, 'micro', 'macro' or 'weighted'"
            raise ValueError(msg)
        if not isinstance(beta, float) or beta <= 0:
            msg = f"{own}: beta is {beta!r}; expected a float above 0"
            raise ValueError(msg)
        if threshold is not None and (not isinstance(threshold, float) or not 0 < threshold <= 1):
            msg = f"{own}: threshold is {threshold!r}; expected a float above 0, up to 1, or None"
            raise ValueError(msg)
        self.average, self.beta, self.threshold = average, beta, threshold
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all batches."""
        # (4, classes): true positives, false positives, false negatives, true ones.
        self.counts: Array = np.zeros((4, 1))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch."""
        y_true, y_pred = floats(y_true), floats(y_pred)
        if y_true.ndim != 2 or y_true.shape != y_pred.shape:
            msg = f"{type(self).__name__}: {shapes(y_true, y_pred)}; expected (samples, classes)"
            raise ValueError(msg)
        if self.threshold is None:
            # As high as the highest, and not 0.
            chosen = (y_pred >= y_pred.max(-1, keepdims=True)) & (abs(y_pred) > 1e-9)
        else:
            chosen = y_pred > self.threshold
        weight = np.ones((1, 1)) if sample_weight is None else floats(sample_weight).reshape(-1, 1)
        parts = (chosen * y_true, chosen * (1 - y_true), ~chosen * y_true, y_true)
        over = (0, 1) if self.average == "micro" else 0
        self.counts = self.counts + np.stack([np.atleast_1d((part * weight).sum(over)) for part in parts])

    def result(self) -> Any:
        """Of 0 to 1; an array where there is no average."""
        right, wrong, missed, true = self.counts
        # Denominators are epsilon away from 0, as Keras has them.
        precision, recall = right / (right + wrong + epsilon()), right / (right + missed + epsilon())
        scores = (1 + self.beta**2) * (precision * recall / (self.beta**2 * precision + recall + epsilon()))
        if self.average == "weighted":
            return float((scores * true / (true.sum() + epsilon())).sum())
        return scores if self.average is None else float(scores.mean())


class F1Score(FBetaScore):
    """FBetaScore of beta 1: the harmonic mean of precision and recall."""

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score", dtype: Any = None
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)
