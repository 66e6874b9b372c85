"""Adam and AdamW over a list of tensors, in place, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from fastattn import _C

from . import _kinds
from ._op import Array


def adam_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    exp_avgs: Sequence[Array],
    exp_avg_sqs: Sequence[Array],
    *,
    step: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    amsgrad: bool = False,
    max_exp_avg_sqs: Sequence[Array] | None = None,
    maximize: bool = False,
    grad_scale: float | None = None,
    found_inf: Array | None = None,
    masters: Sequence[Array] | None = None,
    zero_grads: bool = False,
) -> None:
    r"""One step of Adam, or of AdamW with `decoupled`, for all tensors at once, in place.

    .. math:: m = \beta_1 m + (1 - \beta_1) g, \quad v = \beta_2 v + (1 - \beta_2) g^2, \quad
        p = p - \frac{lr}{1 - \beta_1^t} \frac{m}{\sqrt{v} / \sqrt{1 - \beta_2^t} + \mathrm{eps}}

    Args:
        params: parameters, contiguous, any floating dtype, changed in place.
        grads: their gradients, same shapes and dtypes.
        exp_avgs: m, same shapes, changed in place; float32 for 16-bit params, else of their dtype.
        exp_avg_sqs: v, likewise.
        step: t, 1 for the first step.
        lr: learning rate.
        betas: (beta1, beta2).
        eps: added to the root of v after the bias correction, as torch does.
        weight_decay: coupled (g += weight_decay * p) or, with `decoupled`, p *= 1 - lr * weight_decay.
        decoupled: AdamW.
        amsgrad: divide by the largest v so far, kept in `max_exp_avg_sqs`.
        max_exp_avg_sqs: for `amsgrad`, changed in place.
        maximize: step along the gradient.
        grad_scale: gradients are multiplied by it first, for example the factor of a clip by norm.
        found_inf: an array of one float32; nothing changes where it is not 0.
        masters: for 16-bit params: float32 copies that are updated in their place, and rounded into them.
        zero_grads: set the gradients to 0 in the same pass.

    Raises:
        ValueError: lists of different lengths, shapes that differ, arrays that are not contiguous; nothing changes.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> p, g, m, v = np.ones(2), np.ones(2), np.zeros(2), np.zeros(2)
        >>> fa.adam_step([p], [g], [m], [v], step=1, lr=0.1)
        >>> p.round(6)
        array([0.9, 0.9])

    Source: Kingma and Ba, "Adam" (2015), algorithm 1; Loshchilov and Hutter, "Decoupled Weight Decay Regularization"
    (2019), algorithm 2; Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond" (2018), algorithm 2.
    """
    name = "adam_step"
    lists = [
        _kinds.raw_list(name, argument, arrays)
        for argument, arrays in (
            ("params", params),
            ("grads", grads),
            ("exp_avgs", exp_avgs),
            ("exp_avg_sqs", exp_avg_sqs),
            ("max_exp_avg_sqs", max_exp_avg_sqs),
            ("masters", masters),
        )
    ]
    scale = 1.0 if grad_scale is None else grad_scale
    flag = _kinds.raw(name, "found_inf", found_inf)
    _C.adam_step(*lists, flag, step, lr, *betas, eps, weight_decay, scale, decoupled, amsgrad, maximize, zero_grads)
    _kinds.mutated(params, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, masters, grads if zero_grads else None)
