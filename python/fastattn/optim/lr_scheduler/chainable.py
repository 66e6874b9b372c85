"""Schedules that multiply the learning rate, so that several can act on one optimizer."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

from fastattn.optim.optimizer import Optimizer

from .scheduler import LRScheduler, for_groups


class StepLR(LRScheduler):
    """Multiplies the learning rate by gamma every step_size steps.

    Args:
        optimizer: whose learning rates are set.
        step_size: the number of steps.
        gamma: the factor.
        last_epoch: steps made before; -1 at the start.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        return self.gamma if step > 0 and step % self.step_size == 0 else 1.0

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return base_lr * self.gamma ** (step // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiplies the learning rate by gamma at each milestone.

    Args:
        optimizer: whose learning rates are set.
        milestones: numbers of steps.
        gamma: the factor.
        last_epoch: steps made before; -1 at the start.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 5], gamma=0.5)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        return float(self.gamma ** self.milestones.count(step))

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return float(base_lr * self.gamma ** bisect_right(self.milestones, step))


class ConstantLR(LRScheduler):
    """`factor` times the first learning rate for total_iters steps, then that itself.

    Args:
        optimizer: whose learning rates are set.
        factor: 0 to 1.
        total_iters: the number of steps.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: `factor` outside 0 to 1.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=2)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            msg = f"ConstantLR: factor is {factor}; expected 0 to 1"
            raise ValueError(msg)
        self.reduction = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        if step == 0:
            return self.reduction
        return 1.0 / self.reduction if step == self.total_iters else 1.0

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return base_lr * (self.reduction if step < self.total_iters else 1.0)


class ExponentialLR(LRScheduler):
    """Multiplies the learning rate by gamma every step.

    Args:
        optimizer: whose learning rates are set.
        gamma: the factor.
        last_epoch: steps made before; -1 at the start.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.9]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        return self.gamma if step > 0 else 1.0

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return float(base_lr * self.gamma**step)


class PolynomialLR(LRScheduler):
    r"""A power of the line from the first learning rate to 0 in total_iters steps.

    .. math:: lr_t = lr_0 (1 - t / T)^p

    Args:
        optimizer: whose learning rates are set.
        total_iters: T.
        power: p.
        last_epoch: steps made before; -1 at the start.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=2)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        if step == 0 or step > self.total_iters:
            return 1.0
        return float(((1.0 - step / self.total_iters) / (1.0 - (step - 1) / self.total_iters)) ** self.power)

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return float(base_lr * (1.0 - min(self.total_iters, step) / self.total_iters) ** self.power)


class MultiplicativeLR(LRScheduler):
    """Multiplies the learning rate by lr_lambda(step) every step.

    Args:
        optimizer: whose learning rates are set.
        lr_lambda: a function of the number of steps, or one for each group.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: not one function for each group.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda step: 0.5)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        functions: list[Callable[[int], float]] = for_groups("MultiplicativeLR", "functions", lr_lambda, optimizer)
        self.lr_lambdas = functions
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        return self.lr_lambdas[group](step) if step > 0 else 1.0

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return base_lr * math.prod([self.lr_lambdas[group](t) for t in range(1, step + 1)])


class LinearLR(LRScheduler):
    """A line from start_factor to end_factor times the first learning rate in total_iters steps, then level.

    Args:
        optimizer: whose learning rates are set.
        start_factor: the factor at the start.
        end_factor: the factor at the end.
        total_iters: steps of the line.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: `start_factor` outside 0 to 1 (0 excluded), or `end_factor` outside 0 to 1.

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
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            msg = f"LinearLR: start_factor is {start_factor} and end_factor {end_factor}; expected 0 to 1, the first not 0"
            raise ValueError(msg)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int, group: int) -> float:
        if step == 0:
            return self.start_factor
        if step > self.total_iters:
            return 1.0
        rise = self.end_factor - self.start_factor
        return 1.0 + rise / (self.total_iters * self.start_factor + (step - 1) * rise)

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        part = min(1.0, step / self.total_iters) if self.total_iters > 0 else 1.0
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * part)


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

    def get_lr(self) -> list[float]:
        # From the learning rate that is set, so that it works beside other schedules, as torch's.
        t, n = self.last_epoch, self.T_max
        if t == 0:
            return [group["lr"] for group in self.optimizer.param_groups]
        lrs = []
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            if (t - 1 - n) % (2 * n) == 0:  # it was at the bottom, from where no factor leads up
                lrs.append(group["lr"] + (base - self.eta_min) * (1 - math.cos(math.pi / n)) / 2)
            else:
                factor = (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n))
                lrs.append(factor * (group["lr"] - self.eta_min) + self.eta_min)
        return lrs

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max)) / 2
