"""Losses as objects: what a function gives per sample, weighted and reduced."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import fastattn as fa
from fastattn.autograd.tensor import Tensor

from .._lookup import Configured, serialize, snake_case
from .._tensors import as_float, like, same_rank
from . import functions

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)


class Loss(Configured):
    """Base: `call(y_true, y_pred)` gives a loss per sample, which `__call__` weights and reduces.

    Args:
        name: what logs call it.
        reduction: "sum_over_batch_size" ("mean"): the mean over all elements; "sum"; "mean_with_sample_weight": the sum over
            that of the weights; None ("none"): none.
        dtype: what predictions are cast to; None: as they are.

    Raises:
        ValueError: another reduction.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> class Squares(keras.losses.Loss):
        ...     def call(self, y_true, y_pred):
        ...         return (y_true - y_pred).square()
        >>> Squares()([1.0, 2.0], fa.tensor([0.0, 0.0]), sample_weight=[1.0, 0.5]).item()
        1.5
    """

    _not_in_config = ("dtype",)
    _takes_classes = False  # labels are integers, and stay so

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: str | None = None
    ) -> None:
        if reduction not in REDUCTIONS:
            expected = ", ".join(map(repr, REDUCTIONS))
            msg = f"{type(self).__name__}: reduction is {reduction!r}; expected one of {expected}"
            raise ValueError(msg)
        self.name = name or snake_case(type(self).__name__)
        self.reduction = reduction
        self.dtype = dtype

    def call(self, y_true: Any, y_pred: Tensor) -> Tensor:
        """A loss per sample."""
        raise NotImplementedError(f"{type(self).__name__} defines no call(y_true, y_pred)")

    def _mask(self, y_true: Any, y_pred: Tensor) -> Tensor | None:
        """Which losses count."""
        return None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> Tensor:
        """The loss.

        Args:
            y_true: the labels.
            y_pred: the predictions.
            sample_weight: multiplies the loss of each sample, or, of the losses' shape, of each part of one.
            mask: which losses count; means are over those.

        Returns:
            A scalar, or the losses where there is no reduction.
        """
        y_pred = as_float(y_pred)
        if self.dtype is not None:
            y_pred = y_pred.to(self.dtype)
        y_true = fa.as_tensor(y_true, device=y_pred.device) if self._takes_classes else like(y_true, y_pred)
        losses = self.call(y_true, y_pred)
        own = self._mask(y_true, y_pred)
        if own is not None:
            mask = own if mask is None else own & fa.as_tensor(mask, device=own.device).bool()
        return self._reduced(losses, sample_weight, mask)

    def _reduced(self, losses: Tensor, sample_weight: Any, mask: Any) -> Tensor:
        weight = None if sample_weight is None else like(sample_weight, losses)
        if mask is not None:
            kept = like(mask, losses)
            if self.reduction in ("mean", "sum_over_batch_size"):
                # Such that the mean over all is that over those that count.
                valid = float(kept.sum())
                kept = kept * (kept.numel() / valid if valid else 0.0)
            if weight is not None:
                kept, weight = same_rank(kept, weight)
                kept = kept * weight
            weight = kept
        if weight is not None:
            losses, weight = same_rank(losses, weight)
            try:
                losses = losses * weight
            except ValueError:
                msg = f"{self.name}: sample_weight has shape {weight.shape} and the losses {losses.shape}; they do not fit"
                raise ValueError(msg) from None
        if self.reduction in (None, "none") or losses.shape in ((), (0,)):
            return losses
        total = losses.sum()
        if self.reduction == "sum":
            return total
        if self.reduction == "mean_with_sample_weight" and weight is not None:
            count = float(weight.sum())
        else:
            count = math.prod(losses.shape)
        return total / count if count else total * 0.0


class LossFunctionWrapper(Loss):
    """A function of (y_true, y_pred) as a loss.

    Args:
        fn: gives a loss per sample.
        reduction: see `Loss`.
        name: the function's by default.
        dtype: see `Loss`.
        kwargs: what else the function gets.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> loss = keras.losses.LossFunctionWrapper(keras.losses.huber, delta=0.5)
        >>> loss([[0.0]], fa.tensor([[2.0]])).item()
        0.875
    """

    def __init__(
        self,
        fn: Callable[..., Tensor],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", None), reduction, dtype)
        self.fn = fn
        self._fn_kwargs = kwargs
        self._takes_classes = fn is functions.sparse_categorical_crossentropy

    def call(self, y_true: Any, y_pred: Tensor) -> Tensor:
        """A loss per sample."""
        y_true, y_pred = same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal object."""
        return {"fn": serialize(self.fn), "reduction": self.reduction, "name": self.name, **self._fn_kwargs}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """The object that `get_config` describes."""
        from . import get

        return cls(**{**config, "fn": get(config["fn"])} if "fn" in config else config)
