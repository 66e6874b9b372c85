"""The losses as metrics, and what is measured of regressions."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from .. import losses
from .._tensors import same_rank
from ..config import epsilon
from .metric import Array, Mean, Metric, OfFunction, Plain, floats, shapes


class MeanSquaredError(Plain):
    """The mean of the squared errors."""

    _direction = "down"
    _function = staticmethod(losses.mean_squared_error)


class MeanAbsoluteError(Plain):
    """The mean of the absolute errors."""

    _direction = "down"
    _function = staticmethod(losses.mean_absolute_error)


class MeanAbsolutePercentageError(Plain):
    """The mean of the absolute errors in percent of the labels."""

    _direction = "down"
    _function = staticmethod(losses.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(Plain):
    """The mean of the squared differences of log(1 + y)."""

    _direction = "down"
    _function = staticmethod(losses.mean_squared_logarithmic_error)


class Hinge(Plain):
    """The mean of the hinge loss."""

    _direction = "down"
    _function = staticmethod(losses.hinge)


class SquaredHinge(Plain):
    """The mean of the squared hinge loss."""

    _direction = "down"
    _function = staticmethod(losses.squared_hinge)


class CategoricalHinge(Plain):
    """The mean of the hinge loss of one-hot labels."""

    _direction = "down"
    _function = staticmethod(losses.categorical_hinge)


class KLDivergence(Plain):
    """The mean divergence of predictions from labels."""

    _direction = "down"
    _function = staticmethod(losses.kl_divergence)


class Poisson(Plain):
    """The mean of the Poisson loss."""

    _direction = "down"
    _function = staticmethod(losses.poisson)


class LogCoshError(OfFunction):
    """The mean of log(cosh(error))."""

    _direction = "down"

    def __init__(self, name: str = "logcosh", dtype: Any = None) -> None:
        self._set(losses.log_cosh, name, dtype)


class BinaryCrossentropy(OfFunction):
    """The mean of binary_crossentropy."""

    _direction = "down"

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        self._set(losses.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing)


class CategoricalCrossentropy(OfFunction):
    """The mean of categorical_crossentropy."""

    _direction = "down"

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        self._set(losses.categorical_crossentropy, name, dtype, **options)


class SparseCategoricalCrossentropy(OfFunction):
    """The mean of sparse_categorical_crossentropy."""

    _direction = "down"

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        self._set(losses.sparse_categorical_crossentropy, name, dtype, **options)

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> None:
        """Takes a batch. What is ignored counts as 0, as in Keras, except that, with weights, it has none."""
        ignored = self._fn_kwargs["ignore_class"]
        if ignored is not None and sample_weight is not None:
            classes = floats(y_true)
            kept = floats(classes.reshape(classes.shape[: floats(y_pred).ndim - 1]) != ignored)
            mask = kept if mask is None else kept * floats(mask)
        super().update_state(y_true, y_pred, sample_weight, mask)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Array:
    """sum(u * v) of the two over their norms: 1 where they point the same way."""
    vectors = same_rank(floats(y_true), floats(y_pred))
    norms = [np.maximum(np.sqrt(np.square(v).sum(axis, keepdims=True)), epsilon()) for v in vectors]
    return np.asarray((vectors[0] / norms[0] * (vectors[1] / norms[1])).sum(axis))


class CosineSimilarity(OfFunction):
    """The mean cosine of the angles between predictions and labels."""

    _direction = "up"

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        self._set(cosine_similarity, name, dtype, axis=axis)


class RootMeanSquaredError(Mean):
    """The root of the mean of the squared errors."""

    _direction = "down"

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> None:
        """Takes a batch."""
        y_true, y_pred = same_rank(floats(y_true), floats(y_pred))
        super().update_state(np.square(y_pred - y_true), sample_weight, mask)

    def result(self) -> float:
        """The root of the mean."""
        return math.sqrt(super().result())


class R2Score(Metric):
    """The part of the labels' variance that the predictions explain, 1 at best.

    Args:
        class_aggregation: "uniform_average" of the outputs, "variance_weighted_average", or None: each.
        num_regressors: how many inputs there are, to adjust for them; 0: not.
        name: what logs call it.
        dtype: accepted for Keras's sake.

    Raises:
        ValueError: an option out of range; labels or predictions that are not (samples, outputs).

    Example:
        >>> from fastattn import keras
        >>> metric = keras.metrics.R2Score()
        >>> metric.update_state([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])
        >>> round(metric.result(), 4)
        0.5714

    Source: scikit-learn, metrics.r2_score.
    """

    _direction = "up"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(dtype, name)
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            msg = f"R2Score: class_aggregation is {class_aggregation!r}; expected 'uniform_average', "
            raise ValueError(msg + "'variance_weighted_average' or None")
        if num_regressors < 0:
            msg = f"R2Score: num_regressors is {num_regressors!r}; expected at least 0"
            raise ValueError(msg)
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all batches."""
        # Of each output: the sum of the weights, of the labels, of their squares, of the squared errors.
        self.sums: Array | None = None
        self.samples = 0

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch."""
        y_true, y_pred = same_rank(floats(y_true), floats(y_pred))
        if y_true.ndim != 2 or y_pred.ndim != 2:
            msg = f"R2Score: {shapes(y_true, y_pred)}; expected (samples, outputs)"
            raise ValueError(msg)
        weight = np.ones(()) if sample_weight is None else floats(sample_weight)
        weight = np.broadcast_to(weight[:, None] if weight.ndim == 1 else weight, y_true.shape)
        parts = [weight, weight * y_true, weight * y_true**2, weight * (y_true - y_pred) ** 2]
        sums = np.stack([part.sum(0) for part in parts])
        self.sums = sums if self.sums is None else self.sums + sums
        self.samples += y_true.size

    def result(self) -> Any:
        """The score, or one per output."""
        if self.sums is None:
            return 0.0
        count, total, squares, errors = self.sums
        variance = squares - total * (total / count)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = 1 - errors / variance
        scores = np.where(np.isinf(scores), 0.0, scores)
        score: Any = scores
        if self.class_aggregation == "uniform_average":
            score = float(scores.mean())
        elif self.class_aggregation is not None:
            score = float((variance * scores).sum() / variance.sum())
        if not self.num_regressors:
            return score
        left = self.samples - self.num_regressors - 1
        if left <= 0:
            msg = f"R2Score: {self.samples} values do not suffice to adjust for {self.num_regressors} regressors"
            warnings.warn(msg, stacklevel=2)
            return score
        return 1 - (1 - score) * (self.samples - 1) / left
