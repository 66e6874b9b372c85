"""Schedules that are functions of the number of steps alone."""

from __future__ import annotations

import math
from collections.abc import Callable

from fastattn.optim.optimizer import Optimizer

from .scheduler import LRScheduler, for_groups


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
        self.lr_lambdas = for_groups("LambdaLR", "functions", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return base_lr * self.lr_lambdas[group](step)  # type: ignore[no-any-return]


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


class CosineAnnealingWarmRestarts(LRScheduler):
    r"""Half a cosine from the first learning rate to eta_min in T_i steps, again and again, T_i growing by T_mult.

    .. math:: lr_t = \eta_{min} + (lr_0 - \eta_{min}) (1 + \cos(\pi T_{cur} / T_i)) / 2

    Args:
        optimizer: whose learning rates are set.
        T_0: steps of the first fall.
        T_mult: what each is longer by, an integer.
        eta_min: the lowest learning rate.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: `T_0` is not positive, or `T_mult` is below 1.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
        >>> schedule.step(2)
        >>> schedule.get_last_lr()
        [1.0]

    Source: Loshchilov and Hutter, "SGDR" (2017), equation 5.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_0 <= 0 or T_mult < 1 or not isinstance(T_0, int) or not isinstance(T_mult, int):
            msg = f"CosineAnnealingWarmRestarts: T_0 is {T_0} and T_mult {T_mult}; expected integers from 1 on"
            raise ValueError(msg)
        self.T_0 = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def lr_at(self, step: float, base_lr: float, group: int) -> float:
        length, at = self.T_0, float(step)
        while at >= length:
            at -= length
            length *= self.T_mult
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * at / length)) / 2
