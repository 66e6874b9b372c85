"""What weights are brought back to after a step: callables (ndarray) -> ndarray, in Keras's layout of the weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._lookup import Configured, Names, serialize
from .config import epsilon

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]

Axis = int | Sequence[int]


class Constraint(Configured):
    """Base: `__call__(weight)` gives the weight as it should be.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> class AtMostOne(keras.constraints.Constraint):
        ...     def __call__(self, w):
        ...         return np.minimum(w, 1)
        >>> AtMostOne()(np.array([0.5, 2.0]))
        array([0.5, 1. ])
    """

    def __call__(self, w: Any) -> Any:
        return w


def _norms(w: Any, axis: Axis) -> Any:
    return np.sqrt(np.square(w).sum(axis=axis if isinstance(axis, int) else tuple(axis), keepdims=True))


class NonNeg(Constraint):
    """Negative weights become 0."""

    def __call__(self, w: Any) -> Any:
        return np.maximum(w, 0)


class UnitNorm(Constraint):
    """The norms along `axis` become 1."""

    def __init__(self, axis: Axis = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        return w / (epsilon() + _norms(w, self.axis))


class MinMaxNorm(Constraint):
    """Brings the norms along an axis into a range.

    Args:
        min_value: the smallest norm.
        max_value: the largest.
        rate: 1: at once; below: by that part of the way.
        axis: along which norms are taken; 0 is that of a Dense kernel's inputs.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.constraints.MinMaxNorm(max_value=1.0)(np.array([[3.0], [4.0]])).round(4)
        array([[0.6],
               [0.8]])
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axis = 0) -> None:
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        wanted = self.rate * np.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (epsilon() + norms))


class MaxNorm(Constraint):
    """Norms along `axis` above `max_value` become it. Srivastava et al., "Dropout" (2014), section 5.1."""

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Any) -> Any:
        return MinMaxNorm(0.0, self.max_value, axis=self.axis)(w)


# Keras's other spellings, which are called as well: constraints.max_norm(2).
max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

_NAMES = Names("constraint", [MaxNorm, NonNeg, UnitNorm, MinMaxNorm])


def get(identifier: Any) -> Any:
    """The constraint of a name, a config, a class or an object; None is None."""
    return None if identifier is None else _NAMES.get(identifier)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The constraint that `serialize` described."""
    return _NAMES.get(config, custom_objects)
