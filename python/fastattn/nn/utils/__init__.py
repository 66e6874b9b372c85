"""What is done to a module from outside: to its gradients before the step, and to its mode to use it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from fastattn import ops
from fastattn._missing import missing
from fastattn.autograd.joining import cat
from fastattn.autograd.node import Base, no_grad
from fastattn.autograd.tensor import Tensor

from . import rnn

if TYPE_CHECKING:
    from fastattn.nn.module import Module

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "evaluation",
    "get_total_norm",
    "parameters_to_vector",
    "rnn",
    "vector_to_parameters",
]


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Base) else list(parameters)
    return [p.grad for p in listed if p.grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    r"""Scales all gradients so that their norm, as of one vector, is at most `max_norm`.

    .. math:: g = g \cdot \min(1, \mathrm{max\_norm} / (\lVert g \rVert + 10^{-6}))

    If the norm is inf or NaN nothing is scaled.

    Args:
        parameters: tensors; those without a gradient are skipped.
        max_norm: the largest norm.
        norm_type: p of the norm; inf for the largest absolute element.
        error_if_nonfinite: raise if the norm is inf or NaN.
        foreach: accepted for torch's sake.

    Returns:
        The norm before, a tensor without axes (float64).

    Raises:
        RuntimeError: the norm is not finite, with `error_if_nonfinite`; nothing has been scaled.

    Example:
        >>> import fastattn as fa
        >>> w = fa.zeros(2, requires_grad=True)
        >>> (w * fa.tensor([3.0, 4.0])).sum().backward()
        >>> float(fa.nn.utils.clip_grad_norm_([w], 1.0))
        5.0
        >>> round(float(w.grad.norm()), 4)
        1.0

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013), section 3.2.
    """
    grads = _gradients(parameters)
    total = _norm(grads, norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        msg = f"clip_grad_norm_: the norm of the gradients is {total}; nothing was scaled"
        raise RuntimeError(msg)
    _scale_to(grads, max_norm, total)
    return Tensor(np.asarray(total))


def _norm(tensors: list[Tensor], norm_type: float) -> float:
    """The norm of some tensors as one vector."""
    if norm_type == 2:
        return float(ops.grad_norm(tensors))
    if norm_type == math.inf:
        return max((float(g.abs().max()) for g in tensors if g.numel()), default=0.0)
    return float(sum(float((g.double().abs() ** norm_type).sum()) for g in tensors) ** (1.0 / norm_type))


def _scale_to(grads: list[Tensor], max_norm: float, total: float) -> None:
    factor = max_norm / (total + 1e-6)
    # A norm of inf or NaN has no factor that helps; unscaled, the gradients still show where it came from.
    if grads and factor < 1.0 and math.isfinite(total):
        ops.grad_scale(grads, factor)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of some tensors as one vector, a tensor without axes (float64)."""
    total = _norm([tensors] if isinstance(tensors, Tensor) else list(tensors), norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        msg = f"get_total_norm: the norm is {total}"
        raise RuntimeError(msg)
    return Tensor(np.asarray(total))


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scales all gradients by max_norm / total_norm where that is below 1; `total_norm` from get_total_norm."""
    _scale_to(_gradients(parameters), max_norm, float(total_norm))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters as one vector."""
    return cat([p.reshape(-1) for p in parameters])


@no_grad()
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Writes the elements of a vector to parameters, in order.

    Args:
        vec: as many elements as the parameters have.
        parameters: tensors.

    Raises:
        ValueError: another number of elements; nothing has been written.

    Example:
        >>> import fastattn as fa
        >>> w = fa.nn.Parameter(fa.zeros(2))
        >>> fa.nn.utils.vector_to_parameters(fa.ones(2), [w])
        >>> w.tolist()
        [1.0, 1.0]
    """
    targets = list(parameters)
    if vec.numel() != sum(p.numel() for p in targets):
        msg = f"vector_to_parameters: {vec.numel()} elements for {sum(p.numel() for p in targets)} of the parameters"
        raise ValueError(msg)
    for p, part in zip(targets, vec.split([p.numel() for p in targets]), strict=True):
        p.copy_(part.reshape(p.shape))


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limits every element of the gradients.

    Args:
        parameters: tensors; those without a gradient are skipped.
        clip_value: the largest absolute value.

    Example:
        >>> import fastattn as fa
        >>> w = fa.zeros(2, requires_grad=True)
        >>> (w * fa.tensor([3.0, -4.0])).sum().backward()
        >>> fa.nn.utils.clip_grad_value_([w], 1.0)
        >>> w.grad
        tensor([ 1., -1.])
    """
    for g in _gradients(parameters):
        g.clamp_(-clip_value, clip_value)


@contextmanager
def evaluation(module: Module) -> Iterator[None]:
    """Eval mode within a with block; every module below is put back into the mode it was in.

    Args:
        module: the module, with those below it.

    Example:
        >>> import fastattn as fa
        >>> model = fa.nn.Dropout()
        >>> with fa.nn.utils.evaluation(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    training = [m for m in module.modules() if m.training]
    try:
        for m in training:
            m.training = False
        yield
    finally:
        for m in training:
            m.training = True


__getattr__ = missing(__name__)
