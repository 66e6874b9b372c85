"""Stochastic gradient descent over a list of tensors, in place, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from fastattn import _C

from . import _kinds
from ._op import Array


def sgd_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    momentum_buffers: Sequence[Array] | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    first_step: bool = False,
    masters: Sequence[Array] | None = None,
    grad_scale: float | None = None,
    zero_grads: bool = False,
) -> None:
    r"""One step of gradient descent, with momentum, for all tensors at once, in place.

    .. math:: b = \mu b + (1 - \tau) g, \quad p = p - lr \cdot b

    Args:
        params: parameters, contiguous, any floating dtype, changed in place.
        grads: their gradients, same shapes and dtypes.
        momentum_buffers: b, same shapes, changed in place; float32 for 16-bit params, else of their dtype. Needed where
            `momentum` is not 0.
        lr: learning rate.
        momentum: mu.
        dampening: tau.
        weight_decay: g += weight_decay * p first.
        nesterov: step along g + momentum * b.
        maximize: step along the gradient.
        first_step: b holds nothing yet and becomes g.
        masters: for 16-bit params: float32 copies that are updated in their place, and rounded into them.
        grad_scale: gradients are multiplied by it first.
        zero_grads: set the gradients to 0 in the same pass.

    Raises:
        ValueError: lists of different lengths, shapes that differ, arrays that are not contiguous; nothing changes.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> p, g = np.ones(2), np.ones(2)
        >>> fa.sgd_step([p], [g], lr=0.5)
        >>> p
        array([0.5, 0.5])

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), section 2, in
    torch.optim.SGD's form.
    """
    name = "sgd_step"
    lists = [
        _kinds.raw_list(name, argument, arrays)
        for argument, arrays in (
            ("params", params),
            ("grads", grads),
            ("momentum_buffers", momentum_buffers),
            ("masters", masters),
        )
    ]
    scale = 1.0 if grad_scale is None else grad_scale
    _C.sgd_step(*lists, lr, momentum, dampening, weight_decay, scale, nesterov, maximize, first_step, zero_grads)
    _kinds.mutated(params, momentum_buffers, masters, grads if zero_grads else None)
