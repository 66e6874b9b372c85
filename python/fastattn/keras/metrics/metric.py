"""Metrics: what is added up over batches, and the number made of it. They compute on the host, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastattn.autograd.node import no_grad
from fastattn.metrics.metric import on_host

from .. import losses
from .._lookup import Configured, serialize, snake_case
from .._tensors import same_rank
from ..losses.functions import FUNCTIONS

Array = np.ndarray[Any, Any]


def floats(value: Any) -> Array:
    """Anything as a float64 array on the host."""
    return np.asarray(on_host(value), np.float64)


class Variable(np.ndarray[Any, Any]):
    """A number or an array of a metric's own, with Keras's ways to change it."""

    def assign(self, value: Any) -> Variable:
        """Takes a value."""
        self[...] = floats(value)
        return self

    def assign_add(self, value: Any) -> Variable:
        """Becomes greater by a value."""
        self[...] += floats(value)
        return self

    def assign_sub(self, value: Any) -> Variable:
        """Becomes less by a value."""
        self[...] -= floats(value)
        return self

    def numpy(self) -> Array:
        """The array."""
        return np.array(self)


class Metric(Configured):
    """Base: `update_state(y_true, y_pred, sample_weight)` takes a batch, `result()` gives the value so far.

    Args:
        dtype: accepted for Keras's sake; metrics are float64.
        name: what logs call it.

    Example:
        >>> from fastattn import keras
        >>> class Largest(keras.metrics.Metric):
        ...     def __init__(self, name="largest"):
        ...         super().__init__(name=name)
        ...         self.value = self.add_weight(name="value")
        ...     def update_state(self, y_true, y_pred, sample_weight=None):
        ...         self.value.assign(max(self.value, y_pred.max()))
        ...     def result(self):
        ...         return self.value
        >>> import numpy as np
        >>> largest = Largest()
        >>> largest.update_state(None, np.array([1.0, 3.0]))
        >>> float(largest.result())
        3.0
    """

    _not_in_config = ("dtype",)
    _direction: str | None = None  # "up" or "down": which way is better

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.dtype = dtype
        self.name = name or snake_case(type(self).__name__)
        self._variables: list[Variable] = []

    def add_weight(
        self, shape: Any = (), initializer: Any = "zeros", dtype: Any = None, name: str | None = None, **_: Any
    ) -> Variable:
        """A variable, at first, and after `reset_state`, 0."""
        if isinstance(shape, str):  # add_weight("name", ...), as the first Keras had it
            shape = ()
        variable = np.zeros(tuple(shape)).view(Variable)
        self._variables.append(variable)
        return variable

    add_variable = add_weight

    @property
    def variables(self) -> list[Variable]:
        """What it adds up in."""
        return list(self._variables)

    def reset_state(self) -> None:
        """Forgets all batches."""
        for variable in self._variables:
            variable[...] = 0

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Takes a batch."""
        raise NotImplementedError(f"{type(self).__name__} defines no update_state(y_true, y_pred)")

    def result(self) -> Any:
        """The value so far."""
        raise NotImplementedError(f"{type(self).__name__} defines no result()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def per_sample(
    values: Any, sample_weight: Any, reduce: Callable[..., Any], mask: Any = None
) -> tuple[Array, Array | None]:
    """Values as one per sample, weighted, and the weights of the samples."""
    values = floats(values)
    weight = None if sample_weight is None else floats(sample_weight)
    if mask is not None:
        weight = weight_of(weight, floats(mask))
    if weight is not None:
        values, weight = same_rank(values, weight)
        if values.ndim > weight.ndim:
            values = reduce(values, axis=tuple(range(weight.ndim, values.ndim)))
        ndim = weight.ndim
        try:
            weight = np.broadcast_to(weight, values.shape)
        except ValueError:
            msg = f"sample_weight has shape {weight.shape} and the values {values.shape}; they do not fit"
            raise ValueError(msg) from None
        values = values * weight
        if ndim > 1:
            weight = reduce(weight, axis=tuple(range(1, ndim)))
    if values.ndim > 1:
        values = reduce(values, axis=tuple(range(1, values.ndim)))
    return values, weight


def weight_of(weight: Array | None, mask: Array) -> Array:
    """The weights of samples of which those that are masked do not count."""
    if weight is None:
        return mask
    mask, weight = same_rank(mask, weight)
    return weight * mask


class Sum(Metric):
    """The sum of what it is given, weighted."""

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_weight()

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Takes values."""
        self.total += per_sample(values, sample_weight, np.sum)[0].sum()

    def result(self) -> float:
        """The sum."""
        return float(self.total)


class Mean(Metric):
    """The mean of what it is given, weighted.

    Args:
        name: what logs call it.
        dtype: accepted for Keras's sake.

    Example:
        >>> from fastattn import keras
        >>> mean = keras.metrics.Mean()
        >>> mean.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
        >>> mean.result()
        2.0
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total, self.count = self.add_weight(), self.add_weight()

    def update_state(self, values: Any, sample_weight: Any = None, mask: Any = None) -> None:
        """Takes values."""
        values, weight = per_sample(values, sample_weight, np.mean, mask)
        self.total += values.sum()
        self.count += weight.sum() if weight is not None else (len(values) if values.ndim else 1)

    def result(self) -> float:
        """The mean, 0 before the first values."""
        return float(self.total / self.count) if self.count else 0.0


class MeanMetricWrapper(Mean):
    """The mean of a function of (y_true, y_pred).

    Args:
        fn: gives a value per sample.
        name: the function's by default.
        dtype: accepted for Keras's sake.
        kwargs: what else the function gets.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> error = keras.metrics.MeanMetricWrapper(lambda y_true, y_pred: abs(y_true - y_pred), name="error")
        >>> error.update_state(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        >>> error.result()
        1.0
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name or getattr(fn, "__name__", None), dtype)
        self._fn, self._fn_kwargs = fn, kwargs
        known = isinstance(fn, losses.Loss) or any(fn is function for function in FUNCTIONS)
        if known and self._direction is None:
            self._direction = "down"

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> None:
        """Takes a batch."""
        with no_grad():
            values = self._fn(y_true, y_pred, **self._fn_kwargs)
        super().update_state(values, sample_weight, mask)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal object."""
        return {"fn": serialize(self._fn), "name": self.name, **self._fn_kwargs}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """The object that `get_config` describes."""
        from . import function

        return cls(**{**config, "fn": function(config["fn"])} if "fn" in config else config)


class OfFunction(MeanMetricWrapper):
    """A MeanMetricWrapper of a function of ours: options are arguments of the constructor, kept under their names."""

    def _set(self, fn: Callable[..., Any], name: str | None, dtype: Any, **options: Any) -> None:
        MeanMetricWrapper.__init__(self, fn, name or snake_case(type(self).__name__), dtype, **options)
        for option, value in options.items():
            setattr(self, option, value)

    get_config = Metric.get_config


class Plain(OfFunction):
    """One without options."""

    _function: Any

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self._set(type(self)._function, name, dtype)


def shapes(*values: Any) -> str:
    """How a message names the shapes of labels and predictions."""
    names: Sequence[str] = ("y_true", "y_pred")
    return " and ".join(f"{name} has shape {value.shape}" for name, value in zip(names, values, strict=True))
