"""Schedules of the learning rate: closed forms of the number of steps, so that resuming is exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .optimizer import Optimizer

__all__ = ["CosineAnnealingLR", "LRScheduler", "LambdaLR", "LinearLR", "WarmupCosine"]


class LRScheduler:
    """Base of the schedules: `factor(step)` times each group's first learning rate.

    `step()` is called after each `optimizer.step()`.

    Args:
        optimizer: whose groups' `lr` is set.
        last_epoch: steps made before; -1 at the start.

    Example:
        >>> import fastattn as fa
        >>> class Halving(fa.optim.lr_scheduler.LRScheduler):
        ...     def lr_at(self, step, base_lr, group):
        ...         return base_lr / 2**step
        >>> schedule = Halving(fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0))
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]

    Source: torch.optim.lr_scheduler.LRScheduler's form of it.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        """The learning rate of a group after `step` steps."""
        raise TypeError(type(self).__name__)

    def get_last_lr(self) -> list[float]:
        """The learning rates that are set now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Sets the learning rates for the next step."""
        self.last_epoch += 1
        self._set()

    def _set(self) -> None:
        for i, (group, base) in enumerate(zip(self.optimizer.param_groups, self.base_lrs, strict=True)):
            group["lr"] = self.lr_at(self.last_epoch, base, i)

    def state_dict(self) -> dict[str, Any]:
        """What load_state_dict needs: numbers only."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state and sets the learning rates of its step."""
        self.last_epoch = int(state_dict["last_epoch"])
        self.base_lrs = list(state_dict["base_lrs"])
        self._set()


class LambdaLR(LRScheduler):
    """lr = first lr * lr_lambda(step).

    Args:
        optimizer: whose learning rates are set.
        lr_lambda: a function of the number of steps, or one for each group.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: not one function for each group.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        n = len(optimizer.param_groups)
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * n
        if len(self.lr_lambdas) != n:
            msg = f"LambdaLR: {len(self.lr_lambdas)} functions for {n} groups; expected one for each"
            raise ValueError(msg)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return base_lr * self.lr_lambdas[group](step)


class CosineAnnealingLR(LRScheduler):
    r"""Half a cosine from the first learning rate to eta_min in T_max steps (and back after them, as torch).

    .. math:: lr_t = \eta_{min} + (lr_0 - \eta_{min}) (1 + \cos(\pi t / T_{max})) / 2

    Args:
        optimizer: whose learning rates are set.
        T_max: steps of the fall.
        eta_min: the lowest learning rate.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: `T_max` is not positive.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
        >>> schedule.step()
        >>> round(schedule.get_last_lr()[0], 6)
        0.5

    Source: Loshchilov and Hutter, "SGDR" (2017), equation 5.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        if T_max <= 0:
            msg = f"CosineAnnealingLR: T_max is {T_max}; expected a positive number of steps"
            raise ValueError(msg)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max)) / 2


class LinearLR(LRScheduler):
    """A line from start_factor to end_factor times the first learning rate in total_iters steps, then level.

    Args:
        optimizer: whose learning rates are set.
        start_factor: the factor at the start.
        end_factor: the factor at the end.
        total_iters: steps of the line.
        last_epoch: steps made before; -1 at the start.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> fa.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5).get_last_lr()
        [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        part = min(1.0, step / self.total_iters) if self.total_iters > 0 else 1.0
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * part)


class WarmupCosine(LRScheduler):
    r"""A line up to the first learning rate in warmup_steps steps, then half a cosine down to min_factor of it.

    .. math:: lr_t = lr_0 \cdot \begin{cases} (t + 1) / w & t < w \\
        m + (1 - m)(1 + \cos(\pi (t - w) / (T - w))) / 2 & w \le t < T \\ m & t \ge T \end{cases}

    Args:
        optimizer: whose learning rates are set.
        warmup_steps: w; the first step is made with lr / w, none with 0.
        total_steps: T.
        min_factor: m.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: `warmup_steps` is not between 0 and `total_steps`.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> fa.optim.lr_scheduler.WarmupCosine(optimizer, warmup_steps=4, total_steps=10).get_last_lr()
        [0.25]

    Source: Loshchilov and Hutter, "SGDR" (2017), equation 5, after the warm-up of Goyal et al., "Accurate, large
    minibatch SGD" (2017), section 2.2.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        total_steps: int,
        min_factor: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= warmup_steps <= total_steps:
            msg = f"WarmupCosine: warmup_steps is {warmup_steps}; expected 0 to total_steps ({total_steps})"
            raise ValueError(msg)
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.min_factor = min_factor
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        if step < self.warmup_steps:
            return base_lr * (step + 1) / self.warmup_steps
        if step >= self.total_steps:
            return base_lr * self.min_factor
        part = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return base_lr * (self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * part)) / 2)
