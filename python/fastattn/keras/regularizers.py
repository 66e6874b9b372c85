"""Penalties on weights: callables (tensor) -> scalar, in Keras's layout of the weight."""

from __future__ import annotations

import math
from typing import Any

import fastattn as fa
from fastattn.autograd.tensor import Tensor

from ._lookup import Configured, Names, serialize
from ._tensors import normalized

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]


class Regularizer(Configured):
    """Base: `__call__(weight)` gives a scalar.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> class Sum(keras.regularizers.Regularizer):
        ...     def __call__(self, x):
        ...         return x.sum()
        >>> Sum()(fa.ones(3)).item()
        3.0
    """

    def __call__(self, x: Any) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(weight)")


def _factor(name: str, argument: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        msg = f"{name}: {argument} is {value!r}; expected a finite number of at least 0"
        raise ValueError(msg)
    return float(value)


class L1(Regularizer):
    """l1 * sum of the absolute values."""

    def __init__(self, l1: float | None = 0.01) -> None:
        self.l1 = _factor("L1", "l1", 0.01 if l1 is None else l1)

    def __call__(self, x: Any) -> Tensor:
        return fa.as_tensor(x).abs().sum() * self.l1


class L2(Regularizer):
    """l2 * sum of the squares."""

    def __init__(self, l2: float | None = 0.01) -> None:
        self.l2 = _factor("L2", "l2", 0.01 if l2 is None else l2)

    def __call__(self, x: Any) -> Tensor:
        return fa.as_tensor(x).square().sum() * self.l2


class L1L2(Regularizer):
    """l1 * sum of the absolute values + l2 * sum of the squares.

    Args:
        l1: the first factor.
        l2: the second.

    Raises:
        ValueError: a factor that is negative or not finite.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> keras.regularizers.L1L2(l1=1.0, l2=0.5)(fa.tensor([-2.0])).item()
        4.0
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _factor("L1L2", "l1", 0.0 if l1 is None else l1)
        self.l2 = _factor("L1L2", "l2", 0.0 if l2 is None else l2)

    def __call__(self, x: Any) -> Tensor:
        x = fa.as_tensor(x)
        total = x.abs().sum() * self.l1 if self.l1 else x.new_zeros(())
        return total + x.square().sum() * self.l2 if self.l2 else total  # type: ignore[no-any-return]


class OrthogonalRegularizer(Regularizer):
    """The mean absolute cosine between the rows of a matrix, or its columns.

    Args:
        factor: what it is multiplied by.
        mode: "rows" or "columns".

    Raises:
        ValueError: another mode, a negative factor, a weight that is no matrix.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> keras.regularizers.OrthogonalRegularizer(1.0)(fa.eye(2)).item()
        0.0
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = _factor("OrthogonalRegularizer", "factor", factor)
        if mode not in ("rows", "columns"):
            msg = f"OrthogonalRegularizer: mode is {mode!r}; expected 'rows' or 'columns'"
            raise ValueError(msg)
        self.mode = mode

    def __call__(self, x: Any) -> Tensor:
        x = fa.as_tensor(x)
        if x.ndim != 2:
            msg = f"OrthogonalRegularizer: the weight has shape {x.shape}; expected 2 axes"
            raise ValueError(msg)
        rows = normalized(x if self.mode == "rows" else x.T, 1)
        n = rows.shape[0]
        others = (rows @ rows.T) * (1 - fa.eye(n, dtype=x.dtype, device=x.device))
        return others.abs().sum() * (self.factor * 0.5 / (n * (n - 1) / 2))


# Keras's other spellings, which are called as well: regularizers.l2(0.01).
l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer

_NAMES = Names("regularizer", [L1, L2, L1L2, OrthogonalRegularizer])


def get(identifier: Any) -> Any:
    """The regularizer of a name, a config, a class or an object; None is None."""
    return None if identifier is None else _NAMES.get(identifier)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The regularizer that `serialize` described."""
    return _NAMES.get(config, custom_objects)
