"""Losses, by name, as functions and as objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._lookup import Names, serialize
from .._tensors import classification
from .classes import CLASSES as _CLASSES
from .classes import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Dice,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
    Tversky,
)
from .functions import FUNCTIONS as _FUNCTIONS
from .functions import SHORT as _SHORT
from .functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    cosine_similarity,
    dice,
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
    tversky,
)
from .loss import Loss, LossFunctionWrapper

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "LossFunctionWrapper",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "deserialize",
    "dice",
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
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]

_NAMES = Names(
    "loss", [*_FUNCTIONS, *_CLASSES, LossFunctionWrapper], {**_SHORT, **{k.upper(): v for k, v in _SHORT.items()}}
)


def get(identifier: Any) -> Any:
    """The loss of a name, a config, a class, a function or an object; a function's name gives the function; None is None."""
    return None if identifier is None else _NAMES.get(identifier)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The loss that `serialize` described."""
    return _NAMES.get(config, custom_objects)


def resolve(identifier: Any, y_true_shape: Sequence[Any], y_pred_shape: Sequence[Any]) -> Loss | None:
    """The `Loss` that compile(loss=identifier) means for labels and predictions of these shapes.

    Args:
        identifier: what `get` takes; "crossentropy" ("ce") is binary for one prediction, sparse for labels that are
            classes, categorical otherwise.
        y_true_shape: of the labels, the batch first.
        y_pred_shape: of the predictions.

    Returns:
        A loss with the name that logs show; None of None.

    Example:
        >>> from fastattn import keras
        >>> keras.losses.resolve("mse", (8, 1), (8, 1)).name
        'mse'
    """
    if identifier is None:
        return None
    if isinstance(identifier, str) and identifier.lower() in ("crossentropy", "ce"):
        loss = _NAMES.get(f"{classification(y_true_shape, y_pred_shape)}_crossentropy")
    else:
        loss = _NAMES.get(identifier)
    if isinstance(loss, Loss):
        return loss
    return LossFunctionWrapper(loss, name=identifier if isinstance(identifier, str) else None)
