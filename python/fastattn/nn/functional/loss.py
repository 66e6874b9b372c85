"""Losses, as torch.nn.functional has them. `reduction` is "mean", "sum" or "none"."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from fastattn import ops
from fastattn.autograd.arithmetic import where
from fastattn.autograd.node import Base, Node, record, wrap
from fastattn.autograd.tensor import Tensor

from .activation import logsigmoid
from .vector import cosine_similarity, pairwise_distance

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
]


def _reduced(name: str, losses: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return losses.mean()
    if reduction == "sum":
        return losses.sum()
    if reduction == "none":
        return losses
    msg = f'{name}: reduction is {reduction!r}; expected "mean", "sum" or "none"'
    raise ValueError(msg)


def _compared(name: str, input: Tensor, target: Any, weight: Any = None) -> None:
    """Warns of shapes that broadcast: the mean of all pairs is rarely what is meant."""
    if getattr(target, "shape", ()) != input.shape:
        msg = (
            f"{name}: target is {getattr(target, 'shape', ())} and input {input.shape}; they are broadcast. Reshape one"
        )
        warnings.warn(msg, stacklevel=3)


def _same_shape(name: str, input: Tensor, target: Any) -> None:
    if getattr(target, "shape", ()) != input.shape:
        msg = f"{name}: target has shape {getattr(target, 'shape', ())}; expected {input.shape}, that of the input"
        raise ValueError(msg)


def _weighted(losses: Tensor, weight: Tensor | None) -> Tensor:
    return losses if weight is None else losses * weight


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """(input - target)^2."""
    _compared("mse_loss", input, target)
    return _reduced("mse_loss", _weighted((input - target).square(), weight), reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """|input - target|."""
    _compared("l1_loss", input, target)
    return _reduced("l1_loss", _weighted((input - target).abs(), weight), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where d = |input - target| is below beta, d - beta / 2 elsewhere."""
    if beta < 0:
        msg = f"smooth_l1_loss: beta is {beta}; expected at least 0"
        raise ValueError(msg)
    if beta == 0:
        return l1_loss(input, target, reduction)
    return huber_loss(input, target, reduction, beta, name="smooth_l1_loss") / beta


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
    *,
    name: str = "huber_loss",
) -> Tensor:
    """d^2 / 2 where d = |input - target| is below delta, delta * (d - delta / 2) elsewhere; `name` for its errors."""
    if delta <= 0:
        msg = f"{name}: delta is {delta}; expected a number above 0"
        raise ValueError(msg)
    _compared(name, input, target)
    d = (input - target).abs()
    losses = where(d < delta, d.square() * 0.5, (d - 0.5 * delta) * delta)
    return _reduced(name, _weighted(losses, weight), reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(target * log(input) + (1 - target) * log(1 - input)) of probabilities; the logarithms are at least -100."""
    name = "binary_cross_entropy"
    _same_shape(name, input, target)
    if bool(((input._data < 0) | (input._data > 1)).any()):
        msg = f"{name}: input has elements outside 0 to 1; expected probabilities. For logits see {name}_with_logits"
        raise ValueError(msg)
    return _reduced(name, _weighted(_bernoulli_nll(input, target), weight), reduction)


def _logs(p: Any) -> tuple[Any, Any]:
    """log(p) and log(1 - p), at least -100."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100)


def _bernoulli_nll(p: Tensor, target: Tensor) -> Tensor:
    log_p, log_q = _logs(p._data)
    out = wrap((target._data - 1) * log_q - target._data * log_p)
    return record(
        "binary_cross_entropy", out, (p, target), _bernoulli_nll_backward, (p._data, target._data), (p, target)
    )


def _bernoulli_nll_backward(node: Node, dout: Any) -> tuple[Any, Any]:
    p, t = node.saved
    log_p, log_q = _logs(p)
    # At 0 and 1 the gradient is large, but finite: 1e12.
    return dout * (p - t) / np.maximum((1 - p) * p, 1e-12), dout * (log_q - log_p)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(input), without overflow; `pos_weight` times the part of the target's 1."""
    name = "binary_cross_entropy_with_logits"
    _same_shape(name, input, target)
    one = -logsigmoid(input)
    losses = (1 - target) * (input + one) + (target if pos_weight is None else target * pos_weight) * one
    return _reduced(name, _weighted(losses, weight), reduction)


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target * (log(target) - input): `input` are log-probabilities, `target` too with `log_target`.

    The divergence itself is reduction="batchmean": the sum, divided by the first axis; "mean" divides by all elements.
    """
    losses = target.exp() * (target - input) if log_target else target.xlogy(target) - target * input
    if reduction == "batchmean":
        return losses.sum() / input.shape[0]
    return _reduced("kl_div", losses, reduction)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log(var) + (input - target)^2 / var) / 2, var at least eps; `full` adds log(2 pi) / 2."""
    var = var if isinstance(var, Base) else wrap(np.full(input.shape, var, input.dtype))
    if bool((var._data < 0).any()):
        msg = "gaussian_nll_loss: var has elements below 0; expected variances"
        raise ValueError(msg)
    # The limit passes the gradient on, as torch's does.
    safe: Any = var + (var.detach().clamp(eps) - var.detach())
    losses = (safe.log() + (input - target).square() / safe) * 0.5
    return _reduced("gaussian_nll_loss", losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """exp(input) - target * input, or input - target * log(input + eps); `full` adds Stirling's term for targets above 1."""
    losses = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        t: Any = where(target > 1, target, 1.0)
        stirling = t * t.log() - t + 0.5 * (2 * math.pi * t).log()
        losses = losses + where(target > 1, stirling, 0.0)
    return _reduced("poisson_nll_loss", losses, reduction)


def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target * input)), targets 1 and -1."""
    _same_shape("soft_margin_loss", input, target)
    return _reduced("soft_margin_loss", -logsigmoid(target * input), reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """The mean over classes of binary_cross_entropy_with_logits."""
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    return _reduced("multilabel_soft_margin_loss", _weighted(losses, weight).mean(-1), reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over the other classes of max(0, margin - x_target + x_class)^p, divided by the number of classes."""
    if p not in (1, 2):
        msg = f"multi_margin_loss: p is {p}; expected 1 or 2"
        raise ValueError(msg)
    rows = input if input.ndim == 2 else input.unsqueeze(0)
    ids = _class_ids("multi_margin_loss", target.reshape(-1, 1), rows.shape[1])
    gaps = (margin - rows.gather(1, ids) + rows).clamp(0)
    gaps = gaps if p == 1 else gaps.square()
    if weight is not None:
        gaps = gaps * weight[ids]
    losses = gaps.scatter(1, ids, 0.0).sum(1) / rows.shape[1]
    return _reduced("multi_margin_loss", losses if input.ndim == 2 else losses[0], reduction)


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """input where the target is 1, max(0, margin - input) where it is -1."""
    zero = input * 0
    losses = where(target != 1, (margin - input).clamp(0), zero) + where(target != -1, input, zero)
    return _reduced("hinge_embedding_loss", losses, reduction)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin), targets 1 and -1."""
    return _reduced("margin_ranking_loss", (-target * (input1 - input2) + margin).clamp(0), reduction)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1."""
    cos = cosine_similarity(input1, input2, -1)
    losses = where(target == 1, 1 - cos, where(target == -1, (cos - margin).clamp(0), 0.0))
    return _reduced("cosine_embedding_loss", losses, reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |anchor - positive| - |anchor - negative| + margin), in the p-norm; `swap`: or |positive - negative|."""
    to_positive = pairwise_distance(anchor, positive, p, eps)
    to_negative = pairwise_distance(anchor, negative, p, eps)
    if swap:
        to_negative = to_negative.minimum(pairwise_distance(positive, negative, p, eps))
    return _reduced("triplet_margin_loss", (to_positive - to_negative + margin).clamp(0), reduction)


# Classes ------------------------------------------------------------------------------------------------------------


def _class_ids(name: str, target: Tensor, classes: int) -> Tensor:
    """The targets, which must be of 0 to classes - 1."""
    ids = target._data
    if ids.dtype.kind not in "iu":
        msg = f"{name}: target is {ids.dtype}; expected class ids, int64"
        raise TypeError(msg)
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < classes:
        msg = f"{name}: target {int(ids.min() if ids.min() < 0 else ids.max())} is outside the {classes} classes"
        raise IndexError(msg)
    return target


def _class_weights(name: str, weight: Tensor | None, classes: int) -> None:
    if weight is not None and weight.shape != (classes,):
        msg = f"{name}: weight has shape {weight.shape}; expected ({classes},), a number for each class"
        raise ValueError(msg)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-input[target] * weight[target] of log-probabilities (N, C), (C,) or (N, C, d1, ...); the mean is by weight.

    Args:
        input: log-probabilities.
        target: class ids, (N,), () or (N, d1, ...).
        weight: a number for each class, (C,).
        ignore_index: a target of this value counts for nothing.
        reduction: "mean", "sum" or "none".

    Raises:
        IndexError: a target out of range.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.nll_loss(fa.tensor([[-1.0, -2.0]]), fa.tensor([1]))
        tensor(2.)
    """
    name = "nll_loss"
    rows = input if input.ndim < 2 else input.movedim(1, -1)
    classes = rows.shape[-1]
    if target.shape != rows.shape[:-1]:
        msg = f"{name}: target has shape {target.shape} for an input of {input.shape}; expected {rows.shape[:-1]}"
        raise ValueError(msg)
    _class_weights(name, weight, classes)
    kept = target != ignore_index
    ids = _class_ids(name, where(kept, target, 0), classes)
    losses = -rows.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    counts: Any = kept.to(rows.dtype)
    if weight is not None:
        counts = counts * weight.detach()[ids]
        losses = losses * weight[ids]
    losses = where(kept, losses, 0.0)
    return losses.sum() / counts.sum() if reduction == "mean" else _reduced(name, losses, reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of logits against class ids or probabilities; see `fa.cross_entropy`.

    Args:
        input: logits, (N, C), (C,) or (N, C, d1, ...).
        target: class ids, (N,), () or (N, d1, ...), int32 or int64; or probabilities, the shape of `input`.
        weight: (C,), what a class counts for.
        ignore_index: a class id of this value counts for nothing.
        reduction: "mean", "sum" or "none".
        label_smoothing: the share, 0 to 1, of a target that is spread over all classes.

    Returns:
        A scalar, or losses, one a row, for "none".

    Raises:
        ValueError: shapes that do not fit; `label_smoothing` outside 0 to 1.
        IndexError: a target out of range.

    Example:
        >>> import fastattn as fa
        >>> round(fa.nn.functional.cross_entropy(fa.zeros(2, 4), fa.tensor([0, 3])).item(), 4)
        1.3863
    """
    return ops.cross_entropy(  # type: ignore[no-any-return]
        input, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
    )
