"""Losses as functions (y_true, y_pred) -> one number per sample: the mean over the last axis, or along it."""

from __future__ import annotations

import warnings
from typing import Any

import fastattn as fa
from fastattn import ops
from fastattn.autograd.tensor import Tensor
from fastattn.nn import functional as F

from .._tensors import as_float, like, normalized, same_rank
from ..config import epsilon


def _pair(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_pred = as_float(y_pred)
    return same_rank(like(y_true, y_pred), y_pred)


def _same_shape(name: str, y_true: Tensor, y_pred: Tensor) -> None:
    if y_true.shape != y_pred.shape:
        msg = f"{name}: y_true has shape {y_true.shape} and y_pred {y_pred.shape}; expected the same"
        raise ValueError(msg)


def _clipped(p: Tensor) -> Tensor:
    """Probabilities away from 0 and 1."""
    return p.clamp(epsilon(), 1 - epsilon())


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """mean((y_true - y_pred)^2)."""
    y_true, y_pred = _pair(y_true, y_pred)
    return (y_true - y_pred).square().mean(-1)  # type: ignore[no-any-return]


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """mean(|y_true - y_pred|)."""
    y_true, y_pred = _pair(y_true, y_pred)
    return (y_true - y_pred).abs().mean(-1)  # type: ignore[no-any-return]


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """100 * mean(|y_true - y_pred| / max(|y_true|, epsilon))."""
    y_true, y_pred = _pair(y_true, y_pred)
    return ((y_true - y_pred) / y_true.abs().clamp(min=epsilon())).abs().mean(-1) * 100.0  # type: ignore[no-any-return]


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """mean((log(1 + y_true) - log(1 + y_pred))^2), both at least epsilon."""
    y_true, y_pred = _pair(y_true, y_pred)
    logs = [(y.clamp(min=epsilon()) + 1.0).log() for y in (y_pred, y_true)]
    return (logs[0] - logs[1]).square().mean(-1)  # type: ignore[no-any-return]


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """mean of e^2 / 2 where |e| <= delta, delta * |e| - delta^2 / 2 elsewhere; e = y_pred - y_true. Huber (1964)."""
    y_true, y_pred = _pair(y_true, y_pred)
    return F.huber_loss(y_pred, y_true.broadcast_to(y_pred.shape), "none", delta).mean(-1)


def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """mean(log(cosh(y_pred - y_true)))."""
    y_true, y_pred = _pair(y_true, y_pred)
    error = y_pred - y_true
    return (error + F.softplus(error * -2.0) - 0.6931471805599453).mean(-1)  # type: ignore[no-any-return]


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """-sum(u * v) of the two over their norms: -1 where they point the same way."""
    y_true, y_pred = _pair(y_true, y_pred)
    return -(normalized(y_true, axis) * normalized(y_pred, axis)).sum(axis)


def _signs(y_true: Tensor) -> Tensor:
    """Labels of 0 and 1 as -1 and 1; others stay."""
    return 2.0 * y_true - 1.0 if bool(((y_true == 0) | (y_true == 1)).all()) else y_true


def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """mean(max(1 - y_true * y_pred, 0)), labels -1 and 1 (or 0 and 1)."""
    y_pred = as_float(y_pred)
    return ops.relu(1.0 - _signs(like(y_true, y_pred)) * y_pred).mean(-1)  # type: ignore[no-any-return]


def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """mean(max(1 - y_true * y_pred, 0)^2), labels -1 and 1 (or 0 and 1)."""
    y_pred = as_float(y_pred)
    return ops.relu(1.0 - _signs(like(y_true, y_pred)) * y_pred).square().mean(-1)  # type: ignore[no-any-return]


def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """max(1 + the highest score of a wrong class - that of the right one, 0), labels one-hot."""
    y_pred = as_float(y_pred)
    y_true = like(y_true, y_pred)
    return ops.relu(((1.0 - y_true) * y_pred).amax(-1) - (y_true * y_pred).sum(-1) + 1.0)  # type: ignore[no-any-return]


def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """sum(y_true * log(y_true / y_pred)), both within epsilon..1."""
    y_pred = as_float(y_pred)
    y_true, y_pred = like(y_true, y_pred).clamp(epsilon(), 1), y_pred.clamp(epsilon(), 1)
    return (y_true * (y_true / y_pred).log()).sum(-1)  # type: ignore[no-any-return]


def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """mean(y_pred - y_true * log(y_pred + epsilon))."""
    y_true, y_pred = _pair(y_true, y_pred)
    return (y_pred - y_true * (y_pred + epsilon()).log()).mean(-1)  # type: ignore[no-any-return]


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """-mean(y_true * log(p) + (1 - y_true) * log(1 - p)).

    Args:
        y_true: labels of 0 and 1, or probabilities.
        y_pred: as y_true: probabilities p, kept epsilon from 0 and 1, or their logits.
        from_logits: y_pred are logits.
        label_smoothing: labels become that much nearer to 1/2.
        axis: of the mean.

    Returns:
        The shape of y_pred without the axis.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> round(keras.losses.binary_crossentropy([1.0, 0.0], fa.tensor([0.5, 0.5])).item(), 4)
        0.6931
    """
    y_pred = as_float(y_pred)
    y_true = like(y_true, y_pred)
    _same_shape("binary_crossentropy", y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        return F.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none").mean(axis)
    return F.binary_cross_entropy(_clipped(y_pred), y_true, reduction="none").mean(axis)


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """binary_crossentropy times (1 - p_t)^gamma, p_t the probability of the right label.

    Source: Lin et al., "Focal loss for dense object detection" (2017), equations 4 and 5."""
    y_pred = as_float(y_pred)
    y_true = like(y_true, y_pred)
    _same_shape("binary_focal_crossentropy", y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    p = ops.sigmoid(y_pred) if from_logits else y_pred
    losses = F.binary_cross_entropy(_clipped(p), y_true, reduction="none")
    right = y_true * p + (1 - y_true) * (1 - p)
    losses = (1.0 - right) ** gamma * losses
    if apply_class_balancing:
        losses = (y_true * alpha + (1 - y_true) * (1 - alpha)) * losses
    return losses.mean(axis)  # type: ignore[no-any-return]


def _categories(name: str, y_true: Any, y_pred: Any, label_smoothing: float, axis: int) -> tuple[Tensor, Tensor]:
    y_pred = as_float(y_pred)
    y_true = like(y_true, y_pred)
    _same_shape(name, y_true, y_pred)
    if y_pred.shape[axis] == 1:
        msg = f"{name}: y_pred has shape {y_pred.shape}, one class; binary_crossentropy is the loss of two classes"
        warnings.warn(msg, SyntaxWarning, stacklevel=3)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[-1]
    return y_true, y_pred


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """-sum(y_true * log(p)) along the classes.

    Args:
        y_true: one-hot, or probabilities.
        y_pred: as y_true: p, made to add up to 1 and kept epsilon from 0 and 1, or logits.
        from_logits: y_pred are logits.
        label_smoothing: labels become that much nearer to 1 / classes.
        axis: of the classes.

    Returns:
        The shape of y_pred without the axis.

    Raises:
        ValueError: shapes that differ.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> keras.losses.categorical_crossentropy([[0.0, 1.0]], fa.tensor([[0.5, 0.5]])).round(decimals=4)
        tensor([0.6931])
    """
    y_true, y_pred = _categories("categorical_crossentropy", y_true, y_pred, label_smoothing, axis)
    if from_logits:
        return -(y_true * ops.log_softmax(y_pred, axis)).sum(axis)  # type: ignore[no-any-return]
    return -(y_true * _clipped(y_pred / y_pred.sum(axis, keepdim=True)).log()).sum(axis)  # type: ignore[no-any-return]


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """-sum(alpha * (1 - p)^gamma * y_true * log(p)) along the classes. Lin et al. (2017), equation 5."""
    y_true, y_pred = _categories("categorical_focal_crossentropy", y_true, y_pred, label_smoothing, axis)
    p = ops.softmax(y_pred, axis) if from_logits else y_pred
    p = _clipped(p / p.sum(axis, keepdim=True))
    return ((1.0 - p) ** gamma * alpha * -y_true * p.log()).sum(axis)  # type: ignore[no-any-return]


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """-log(p) of the right class.

    Args:
        y_true: classes, the shape of y_pred without its axis of classes, or with 1 there.
        y_pred: p, made to add up to 1 and kept epsilon from 0 and 1, or logits.
        from_logits: y_pred are logits.
        ignore_class: samples of this class have the loss 0.
        axis: of the classes.

    Returns:
        The shape of y_pred without the axis.

    Raises:
        ValueError: shapes that do not fit; a class out of range.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> keras.losses.sparse_categorical_crossentropy([1], fa.tensor([[0.5, 0.5]])).round(decimals=4)
        tensor([0.6931])
    """
    name = "sparse_categorical_crossentropy"
    y_pred = as_float(y_pred)
    classes = fa.as_tensor(y_true, device=y_pred.device)
    classes = classes if classes.dtype == "int64" else classes.to("int64")
    if classes.ndim == y_pred.ndim and classes.shape[axis] == 1:
        classes = classes.squeeze(axis)
    scores = y_pred if axis in (-1, y_pred.ndim - 1) else y_pred.movedim(axis, -1)
    if classes.shape != scores.shape[:-1]:
        msg = (
            f"{name}: y_true has shape {classes.shape} and y_pred {y_pred.shape}; expected y_pred's without axis {axis}"
        )
        raise ValueError(msg)
    kept = None if ignore_class is None else classes != ignore_class
    if kept is not None:
        classes = classes * kept.to("int64")
    n = scores.shape[-1]
    if classes.numel() and (int(classes.min()) < 0 or int(classes.max()) >= n):
        msg = f"{name}: y_true has classes {int(classes.min())} to {int(classes.max())}; expected 0 to {n - 1}"
        raise ValueError(msg)
    if from_logits:
        losses = ops.cross_entropy(scores.reshape(-1, n), classes.reshape(-1), reduction="none").reshape(classes.shape)
    else:
        right = scores.gather(-1, classes.unsqueeze(-1)) / scores.sum(-1, keepdim=True)
        losses = -_clipped(right).log().squeeze(-1)
    return losses if kept is None else fa.where(kept, losses, losses.new_zeros(()))  # type: ignore[no-any-return]


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Tensor:
    """1 - 2 * sum(y_true * y_pred) / (sum(y_true) + sum(y_pred) + epsilon). Milletari et al., "V-Net" (2016), section 3."""
    y_true, y_pred = _pair(y_true, y_pred)
    over = tuple(range(y_pred.ndim)) if axis is None else axis
    both = (y_true * y_pred).sum(over)
    return 1 - 2.0 * both / (y_true.sum(over) + y_pred.sum(over) + epsilon())  # type: ignore[no-any-return]


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> Tensor:
    """1 - overlap / (overlap + alpha * missed + beta * wrong + epsilon).

    Source: Salehi, Erdogmus and Gholipour, "Tversky loss function for image segmentation" (2017), equation 4."""
    y_true, y_pred = _pair(y_true, y_pred)
    over = tuple(range(y_pred.ndim)) if axis is None else axis
    both = (y_true * y_pred).sum(over)
    missed, wrong = (y_true * (1 - y_pred)).sum(over), ((1 - y_true) * y_pred).sum(over)
    return 1 - both / (both + missed * alpha + wrong * beta + epsilon())  # type: ignore[no-any-return]


FUNCTIONS = [
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
]
SHORT = {
    "bce": binary_crossentropy,
    "kld": kl_divergence,
    "kullback_leibler_divergence": kl_divergence,
    "logcosh": log_cosh,
    "mae": mean_absolute_error,
    "mape": mean_absolute_percentage_error,
    "mse": mean_squared_error,
    "msle": mean_squared_logarithmic_error,
}
