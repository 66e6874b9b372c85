"""SGD, with momentum."""

from __future__ import annotations

from typing import Any

from fastattn import ops
from fastattn.autograd.tensor import Tensor

from .optimizer import Optimizer, Params, alias, decayed, non_negative, zeros_like

_UNSET: Any = object()


class SGD(Optimizer):
    r"""Stochastic gradient descent, all tensors of a group in one call.

    .. math:: b_t = \mu b_{t-1} + (1 - \tau) g_t, \quad p_t = p_{t-1} - lr \cdot b_t

    Args:
        params: parameters, or groups.
        lr: learning rate.
        momentum: mu.
        dampening: tau.
        weight_decay: g += weight_decay * p first.
        nesterov: step along g + mu * b; needs momentum and no dampening.
        maximize: step along the gradient.
        learning_rate: Keras's name of `lr`.
        decay: Keras's: lr / (1 + decay * steps so far).

    Raises:
        ValueError: an option out of range.
        TypeError: both spellings of one option.

    Example:
        >>> import fastattn as fa
        >>> w = fa.ones(1, requires_grad=True)
        >>> optimizer = fa.optim.SGD([w], lr=0.5)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> w.tolist()
        [0.5]

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), section 2, in
    torch.optim.SGD's form.
    """

    _takes_grad_scale = True

    def __init__(
        self,
        params: Params,
        lr: float = _UNSET,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        learning_rate: float | None = None,
        decay: float = 0.0,
    ) -> None:
        given = {} if lr is _UNSET else {"lr": lr}
        alias("SGD", given, {"learning_rate": learning_rate}, "lr", "learning_rate")
        defaults = {
            "lr": given.get("lr", 1e-3),
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "decay": decay,
        }
        super().__init__(params, defaults)

    def _validate(self, group: dict[str, Any]) -> None:
        non_negative("SGD", group, "lr", "momentum", "weight_decay", "decay")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            msg = "SGD: nesterov needs a momentum above 0 and dampening 0"
            raise ValueError(msg)

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        masters = self._masters(params)
        # Parameters whose momentum starts now, and those that have some, are two calls.
        first = [i for i, p in enumerate(params) if group["momentum"] and "momentum_buffer" not in self.state[p]]
        steps = group.get("_steps", 0)
        for chosen, is_first in ((first, True), ([i for i in range(len(params)) if i not in set(first)], False)):
            if not chosen:
                continue
            buffers = None
            if group["momentum"]:
                for i in chosen if is_first else ():
                    self.state[params[i]]["momentum_buffer"] = zeros_like(params[i])
                buffers = [self.state[params[i]]["momentum_buffer"] for i in chosen]
            ops.sgd_step(
                [params[i] for i in chosen],
                [grads[i] for i in chosen],
                buffers,
                lr=decayed(group, steps),
                momentum=group["momentum"],
                dampening=group["dampening"],
                weight_decay=group["weight_decay"],
                nesterov=group["nesterov"],
                maximize=group["maximize"],
                first_step=is_first,
                grad_scale=self._grad_scale,
                masters=None if masters is None else [masters[i] for i in chosen],
            )
        if group["decay"]:
            group["_steps"] = steps + 1
