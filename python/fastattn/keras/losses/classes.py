"""The losses as objects with options."""

from __future__ import annotations

from typing import Any

import fastattn as fa
from fastattn.autograd.tensor import Tensor

from . import functions
from .loss import Loss, LossFunctionWrapper

MEAN = "sum_over_batch_size"


class _Plain(LossFunctionWrapper):
    """A function without options."""

    _function: Any

    def __init__(self, reduction: str | None = MEAN, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(type(self)._function, reduction, name, dtype)

    get_config = Loss.get_config


class MeanSquaredError(_Plain):
    """mean((y_true - y_pred)^2)."""

    _function = staticmethod(functions.mean_squared_error)


class MeanAbsoluteError(_Plain):
    """mean(|y_true - y_pred|)."""

    _function = staticmethod(functions.mean_absolute_error)


class MeanAbsolutePercentageError(_Plain):
    """100 * mean(|y_true - y_pred| / |y_true|)."""

    _function = staticmethod(functions.mean_absolute_percentage_error)


class MeanSquaredLogarithmicError(_Plain):
    """mean((log(1 + y_true) - log(1 + y_pred))^2)."""

    _function = staticmethod(functions.mean_squared_logarithmic_error)


class LogCosh(_Plain):
    """mean(log(cosh(y_pred - y_true)))."""

    _function = staticmethod(functions.log_cosh)


class Hinge(_Plain):
    """mean(max(1 - y_true * y_pred, 0)), labels -1 and 1 (or 0 and 1)."""

    _function = staticmethod(functions.hinge)


class SquaredHinge(_Plain):
    """mean(max(1 - y_true * y_pred, 0)^2), labels -1 and 1 (or 0 and 1)."""

    _function = staticmethod(functions.squared_hinge)


class CategoricalHinge(_Plain):
    """max(1 + the highest score of a wrong class - that of the right one, 0)."""

    _function = staticmethod(functions.categorical_hinge)


class KLDivergence(_Plain):
    """sum(y_true * log(y_true / y_pred))."""

    _function = staticmethod(functions.kl_divergence)


class Poisson(_Plain):
    """mean(y_pred - y_true * log(y_pred))."""

    _function = staticmethod(functions.poisson)


class _WithOptions(LossFunctionWrapper):
    """A function whose options are the constructor's other arguments."""

    def _set(self, function: Any, reduction: str | None, name: str | None, dtype: str | None, **options: Any) -> None:
        super().__init__(function, reduction, name, dtype, **options)
        for option, value in options.items():
            setattr(self, option, value)

    get_config = Loss.get_config


class CosineSimilarity(_WithOptions):
    """-sum(u * v) of the two over their norms: -1 where they point the same way."""

    def __init__(
        self, axis: int = -1, reduction: str | None = MEAN, name: str | None = None, dtype: str | None = None
    ) -> None:
        self._set(functions.cosine_similarity, reduction, name, dtype, axis=axis)


class Huber(_WithOptions):
    """Squares within `delta`, absolute values beyond. Huber (1964)."""

    def __init__(
        self, delta: float = 1.0, reduction: str | None = MEAN, name: str = "huber_loss", dtype: str | None = None
    ) -> None:
        self._set(functions.huber, reduction, name, dtype, delta=delta)


class Dice(_WithOptions):
    """1 - 2 * overlap / sizes. Milletari et al., "V-Net" (2016), section 3."""

    def __init__(
        self, reduction: str | None = MEAN, name: str = "dice", axis: Any = None, dtype: str | None = None
    ) -> None:
        self._set(functions.dice, reduction, name, dtype, axis=axis)


class Tversky(_WithOptions):
    """1 - overlap / (overlap + alpha * missed + beta * wrong). Salehi et al. (2017), equation 4."""

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = MEAN,
        name: str = "tversky",
        axis: Any = None,
        dtype: str | None = None,
    ) -> None:
        self._set(functions.tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)


class BinaryCrossentropy(_WithOptions):
    """-mean(y_true * log(p) + (1 - y_true) * log(1 - p)); see `binary_crossentropy`.

    Args:
        from_logits: predictions are logits.
        label_smoothing: labels become that much nearer to 1/2.
        axis: of the mean.
        reduction: see `Loss`.
        name: what logs call it.
        dtype: what predictions are cast to.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> round(keras.losses.BinaryCrossentropy(from_logits=True)([[1.0]], fa.tensor([[0.0]])).item(), 4)
        0.6931
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str = "binary_crossentropy",
        dtype: str | None = None,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        self._set(functions.binary_crossentropy, reduction, name, dtype, **options)


class BinaryFocalCrossentropy(_WithOptions):
    """binary_crossentropy that weighs down what is nearly right. Lin et al. (2017)."""

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str = "binary_focal_crossentropy",
        dtype: str | None = None,
    ) -> None:
        options = {"apply_class_balancing": apply_class_balancing, "alpha": alpha, "gamma": gamma}
        options |= {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        self._set(functions.binary_focal_crossentropy, reduction, name, dtype, **options)


class CategoricalCrossentropy(_WithOptions):
    """-sum(y_true * log(p)), labels one-hot; see `categorical_crossentropy`."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str = "categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        self._set(functions.categorical_crossentropy, reduction, name, dtype, **options)


class CategoricalFocalCrossentropy(_WithOptions):
    """categorical_crossentropy that weighs down what is nearly right. Lin et al. (2017)."""

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str = "categorical_focal_crossentropy",
        dtype: str | None = None,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        self._set(functions.categorical_focal_crossentropy, reduction, name, dtype, alpha=alpha, gamma=gamma, **options)


class SparseCategoricalCrossentropy(_WithOptions):
    """-log(p) of the right class; see `sparse_categorical_crossentropy`.

    Args:
        from_logits: predictions are logits.
        ignore_class: samples of this class do not count, nor in the mean.
        reduction: see `Loss`.
        axis: of the classes.
        name: what logs call it.
        dtype: what predictions are cast to.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
        >>> round(loss([0, -1], fa.tensor([[0.5, 0.5], [0.5, 0.5]])).item(), 4)
        0.6931
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = MEAN,
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        self._set(functions.sparse_categorical_crossentropy, reduction, name, dtype, **options)

    def _mask(self, y_true: Any, y_pred: Tensor) -> Tensor | None:
        ignored = self._fn_kwargs["ignore_class"]
        if ignored is None:
            return None
        axis = self._fn_kwargs["axis"]
        classes = y_true.squeeze(axis) if y_true.ndim == y_pred.ndim and y_true.shape[axis] == 1 else y_true
        return fa.as_tensor(classes) != ignored  # type: ignore[no-any-return]


CLASSES = [
    MeanSquaredError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError,
    LogCosh,
    Hinge,
    SquaredHinge,
    CategoricalHinge,
    KLDivergence,
    Poisson,
    CosineSimilarity,
    Huber,
    Dice,
    Tversky,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalCrossentropy,
]
