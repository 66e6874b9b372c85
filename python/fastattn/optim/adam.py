"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from fastattn import ops
from fastattn.autograd.tensor import Tensor

from .optimizer import Optimizer, Params, alias, decayed, non_negative, zeros_like

_UNSET: Any = object()


class Adam(Optimizer):
    r"""Adam, all tensors of a group in one call.

    .. math:: m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        p_t = p_{t-1} - lr \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \mathrm{eps}}

    Args:
        params: parameters, or groups.
        lr: learning rate.
        betas: (beta1, beta2).
        eps: added to the root of v after the bias correction, as torch does.
        weight_decay: g += weight_decay * p first.
        amsgrad: divide by the largest v so far.
        foreach: accepted for torch's sake; all tensors are always one call.
        maximize: step along the gradient.
        capturable: accepted for torch's sake.
        differentiable: accepted for torch's sake.
        fused: accepted for torch's sake; it always is.
        learning_rate: Keras's name of `lr`.
        beta_1: Keras's name of the first beta.
        beta_2: Keras's name of the second.
        epsilon: Keras's name of `eps`.
        decay: Keras's: lr / (1 + decay * steps so far).

    Raises:
        ValueError: an option out of range.
        TypeError: both spellings of one option.

    Example:
        >>> import fastattn as fa
        >>> w = fa.ones(1, requires_grad=True)
        >>> optimizer = fa.optim.Adam([w], lr=0.1)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> round(w.item(), 4)
        0.9

    Source: Kingma and Ba, "Adam" (2015), algorithm 1; Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond"
    (2018), algorithm 2, for amsgrad.
    """

    _takes_grad_scale = True
    _decoupled = False
    _weight_decay = 0.0

    def __init__(
        self,
        params: Params,
        lr: float = _UNSET,
        betas: tuple[float, float] = _UNSET,
        eps: float = _UNSET,
        weight_decay: float = _UNSET,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        learning_rate: float | None = None,
        beta_1: float | None = None,
        beta_2: float | None = None,
        epsilon: float | None = None,
        decay: float = 0.0,
    ) -> None:
        name = type(self).__name__
        asked = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        given = {key: value for key, value in asked.items() if value is not _UNSET}
        aliases = {"learning_rate": learning_rate, "epsilon": epsilon}
        alias(name, given, aliases, "lr", "learning_rate")
        alias(name, given, aliases, "eps", "epsilon")
        if beta_1 is not None or beta_2 is not None:
            if "betas" in given:
                msg = f"{name}: betas and beta_1 or beta_2 are the same option; pass one of them"
                raise TypeError(msg)
            given["betas"] = (0.9 if beta_1 is None else beta_1, 0.999 if beta_2 is None else beta_2)
        defaults = {
            "lr": 1e-3,
            "betas": (0.9, 0.999),
            "eps": 1e-8,
            "weight_decay": self._weight_decay,
            **given,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decay": decay,
        }
        super().__init__(params, defaults)

    def _validate(self, group: dict[str, Any]) -> None:
        non_negative(type(self).__name__, group, "lr", "eps", "weight_decay", "decay")
        for i, beta in enumerate(group["betas"], 1):
            if not 0 <= beta < 1:
                msg = f"{type(self).__name__}: beta{i} is {beta!r}; expected at least 0 and below 1"
                raise ValueError(msg)

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        masters = self._masters(params)
        # One call for the parameters that have made the same number of steps: normally for all of them.
        by_step: dict[int, list[int]] = {}
        for i, p in enumerate(params):
            state = self.state[p]
            if "step" not in state:
                state["step"] = 0
                state["exp_avg"], state["exp_avg_sq"] = zeros_like(p), zeros_like(p)
                if group["amsgrad"]:
                    state["max_exp_avg_sq"] = zeros_like(p)
            by_step.setdefault(state["step"], []).append(i)
        for steps, chosen in by_step.items():
            states = [self.state[params[i]] for i in chosen]
            ops.adam_step(
                [params[i] for i in chosen],
                [grads[i] for i in chosen],
                [s["exp_avg"] for s in states],
                [s["exp_avg_sq"] for s in states],
                step=steps + 1,
                lr=decayed(group, steps),
                betas=group["betas"],
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                decoupled=self._decoupled,
                amsgrad=group["amsgrad"],
                max_exp_avg_sqs=[s["max_exp_avg_sq"] for s in states] if group["amsgrad"] else None,
                maximize=group["maximize"],
                grad_scale=self._grad_scale,
                masters=None if masters is None else [masters[i] for i in chosen],
            )
            for s in states:
                s["step"] = steps + 1


class AdamW(Adam):
    r"""Adam whose weight decay does not pass through the gradient, all tensors of a group in one call.

    .. math:: p_t = (1 - lr \cdot \lambda) p_{t-1}
        - lr \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \mathrm{eps}}

    Args:
        params, lr, betas, eps, amsgrad, maximize, decay and the Keras names: as for Adam.
        weight_decay: lambda, 0.01 by default.

    Raises:
        ValueError: an option out of range.
        TypeError: both spellings of one option.

    Example:
        >>> import fastattn as fa
        >>> w = fa.ones(1, requires_grad=True)
        >>> optimizer = fa.optim.AdamW([w], lr=0.1, weight_decay=0.5)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> round(w.item(), 4)
        0.85

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2.
    """

    _decoupled = True
    _weight_decay = 1e-2
