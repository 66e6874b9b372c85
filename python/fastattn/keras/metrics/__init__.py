"""Metrics by name; they compute on the host, in float64."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from .. import losses as _losses
from .._lookup import Names, serialize, snake_case
from .._tensors import classification
from ..losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from .accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from .confusion import FalseNegatives, FalsePositives, Precision, Recall, TrueNegatives, TruePositives
from .curves import AUC, PrecisionAtRecall, RecallAtPrecision, SensitivityAtSpecificity, SpecificityAtSensitivity
from .f_score import F1Score, FBetaScore
from .metric import Mean, MeanMetricWrapper, Metric, Sum
from .regression import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    R2Score,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]

_CLASSES = [value for value in list(globals().values()) if inspect.isclass(value) and issubclass(value, Metric)]
_SHORT = {
    "bce": BinaryCrossentropy,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
}
# A name is that of the class: "mean_squared_error" and "AUC" make one.
_NAMES = Names(
    "metric",
    _CLASSES,
    {
        **{snake_case(value.__name__): value for value in _CLASSES},
        **_SHORT,
        **{k.upper(): v for k, v in _SHORT.items()},
    },
)

# In a config "binary_accuracy" may be the function.
_FUNCTIONS = {value.__name__: value for value in list(globals().values()) if inspect.isfunction(value)}


def function(identifier: Any) -> Any:
    """What a MeanMetricWrapper is the mean of: a function by its name, or a loss."""
    return (
        _FUNCTIONS[identifier] if isinstance(identifier, str) and identifier in _FUNCTIONS else _losses.get(identifier)
    )


def get(identifier: Any) -> Any:
    """The metric of a name, a config, a class, a function or an object; None is None."""
    return None if identifier is None else _NAMES.get(identifier)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The metric that `serialize` described."""
    return _NAMES.get(config, custom_objects)


def resolve(identifier: Any, y_true_shape: Sequence[Any], y_pred_shape: Sequence[Any]) -> Metric:
    """The `Metric` that compile(metrics=[identifier]) means for labels and predictions of these shapes.

    Args:
        identifier: what `get` takes; "accuracy" ("acc") and "crossentropy" ("ce") are binary for one prediction, sparse for
            labels that are classes, categorical otherwise.
        y_true_shape: of the labels, the batch first.
        y_pred_shape: of the predictions.

    Returns:
        A metric with the name that logs show: `identifier` where that is a string.

    Example:
        >>> from fastattn import keras
        >>> keras.metrics.resolve("accuracy", (8,), (8, 10))
        <SparseCategoricalAccuracy name=accuracy>
    """
    shorthand = {"accuracy": "accuracy", "acc": "accuracy", "crossentropy": "crossentropy", "ce": "crossentropy"}
    kind = shorthand.get(identifier.lower()) if isinstance(identifier, str) else None
    if kind is not None:
        metric = _NAMES.get(f"{classification(y_true_shape, y_pred_shape)}_{kind}")
    else:
        metric = _NAMES.get(identifier)
    if not isinstance(metric, Metric):
        metric = MeanMetricWrapper(metric, name=_name_of(metric))
    if isinstance(identifier, str):
        metric.name = identifier
    return metric  # type: ignore[no-any-return]


def _name_of(function: Any) -> str:
    """What logs call a function, or a loss that is used as a metric."""
    name = getattr(function, "name", None) or getattr(function, "__name__", None)
    return str(name or snake_case(type(function).__name__))
