"""Adam and AdamW over a list of tensors, in place, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastattn import _C

from . import _kinds
from ._op import Array

_NAME = "adam_step"


def adam_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    exp_avgs: Sequence[Array],
    exp_avg_sqs: Sequence[Array],
    *,
    step: int | Array,
    lr: float | Array,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    amsgrad: bool = False,
    max_exp_avg_sqs: Sequence[Array] | None = None,
    maximize: bool = False,
    grad_scale: float | Array | None = None,
    found_inf: Array | None = None,
    masters: Sequence[Array] | None = None,
    zero_grads: bool = False,
    max_norm: float | None = None,
) -> float | None:
    r"""One step of Adam, or of AdamW with `decoupled`, for all tensors at once, in place.

    .. math:: m = \beta_1 m + (1 - \beta_1) g, \quad v = \beta_2 v + (1 - \beta_2) g^2, \quad
        p = p - \frac{lr}{1 - \beta_1^t} \frac{m}{\sqrt{v} / \sqrt{1 - \beta_2^t} + \mathrm{eps}}

    Args:
        params: parameters, contiguous, any floating dtype, changed in place.
        grads: their gradients, same shapes and dtypes.
        exp_avgs: m, same shapes, changed in place; float32 for 16-bit params, else of their dtype.
        exp_avg_sqs: v, likewise.
        step: t, 1 for the first step; a number, or an array of one. An array on a device is read there by the kernel, with
            no wait: what a CUDA graph that replays the step finds in it counts.
        lr: learning rate, likewise.
        betas: (beta1, beta2).
        eps: added to the root of v after the bias correction, as torch does.
        weight_decay: coupled (g += weight_decay * p) or, with `decoupled`, p *= 1 - lr * weight_decay.
        decoupled: AdamW.
        amsgrad: divide by the largest v so far, kept in `max_exp_avg_sqs`.
        max_exp_avg_sqs: for `amsgrad`, changed in place.
        maximize: step along the gradient.
        grad_scale: gradients are multiplied by it first, for example the inverse of a loss scale; likewise.
        found_inf: an array of one float32; nothing changes where it is not 0.
        masters: for 16-bit params: float32 copies that are updated in their place, and rounded into them.
        zero_grads: set the gradients to 0 in the same pass.
        max_norm: clip the gradients by their norm over all tensors, after `grad_scale`, as they are read. Nothing changes
            where that norm is inf or NaN.

    Returns:
        The norm of the gradients before the clip, with `max_norm`; else None.

    Raises:
        ValueError: lists of different lengths, shapes that differ, arrays that are not contiguous; nothing changes.
        TypeError: dtypes that are not floating, or mixed; a number that is none.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> p, g, m, v = np.ones(2), np.ones(2), np.zeros(2), np.zeros(2)
        >>> fa.adam_step([p], [g], [m], [v], step=1, lr=0.1)
        >>> p.round(6)
        array([0.9, 0.9])

    Source: Kingma and Ba, "Adam" (2015), algorithm 1; Loshchilov and Hutter, "Decoupled Weight Decay Regularization"
    (2019), algorithm 2; Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond" (2018), algorithm 2.
    """
    plan = AdamPlan(
        params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs=max_exp_avg_sqs, masters=masters, zero_grads=zero_grads
    )
    return plan.step(
        step=step, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, decoupled=decoupled, amsgrad=amsgrad,
        maximize=maximize, grad_scale=grad_scale, max_norm=max_norm, found_inf=found_inf,
    )  # fmt: skip


def _number(name: str, number: float | Array) -> Any:
    return number if isinstance(number, (int, float, np.generic)) else _kinds.raw(_NAME, name, number)


class AdamPlan:
    """`adam_step` on tensors that stay the same, prepared once: reading and checking them is not repeated.

    Args:
        params, grads, exp_avgs, exp_avg_sqs: as for `adam_step`; the plan keeps the arrays.
        max_exp_avg_sqs: for steps with `amsgrad`.
        masters: for 16-bit params.
        zero_grads: every step sets the gradients to 0 in the same pass.

    Raises:
        ValueError: lists of different lengths, shapes that differ, arrays that are not contiguous or overlap.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> p, g, m, v = np.ones(2), np.ones(2), np.zeros(2), np.zeros(2)
        >>> plan = fa.AdamPlan([p], [g], [m], [v], zero_grads=True)
        >>> plan.step(step=1, lr=0.1)
        >>> p.round(6), g
        (array([0.9, 0.9]), array([0., 0.]))

    Source: as for `adam_step`.
    """

    def __init__(
        self,
        params: Sequence[Array],
        grads: Sequence[Array],
        exp_avgs: Sequence[Array],
        exp_avg_sqs: Sequence[Array],
        *,
        max_exp_avg_sqs: Sequence[Array] | None = None,
        masters: Sequence[Array] | None = None,
        zero_grads: bool = False,
    ) -> None:
        lists = {
            "params": params, "grads": grads, "exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs,
            "max_exp_avg_sqs": max_exp_avg_sqs, "masters": masters,
        }  # fmt: skip
        arrays = [_kinds.raw_list(_NAME, name, given) for name, given in lists.items()]
        self._plan = _C.AdamPlan(*arrays, zero_grads)
        self._params = arrays[0]
        self._norm: Array | None = None  # on a device, what the norm is written to; made for the first clip
        written = (arrays for name, arrays in lists.items() if zero_grads or name != "grads")
        self._written = [a for arrays in written for a in arrays or ()]

    def step(
        self,
        *,
        step: int | Array,
        lr: float | Array,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        amsgrad: bool = False,
        maximize: bool = False,
        grad_scale: float | Array | None = None,
        max_norm: float | None = None,
        found_inf: Array | None = None,
    ) -> float | None:
        """One step; the arguments and the result are those of `adam_step`."""
        if max_norm is not None and self._norm is None:
            self._norm = _kinds.host_number(self._params)
        norm: float | None = self._plan.step(
            _kinds.raw(_NAME, "found_inf", found_inf), None if max_norm is None else self._norm, _number("step", step),
            _number("lr", lr), *betas, eps, weight_decay, 1.0 if grad_scale is None else _number("grad_scale", grad_scale),
            max_norm, decoupled, amsgrad, maximize,
        )  # fmt: skip
        _kinds.mutated(self._written)
        return norm if max_norm is None or self._norm is None else float(self._norm)
