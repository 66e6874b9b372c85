"""Schedules of the learning rate and, against it, of the momentum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastattn.optim.optimizer import Optimizer

from .scheduler import LRScheduler, for_groups


class _Cycling(LRScheduler):
    """A schedule that may set the momentum too."""

    cycle_momentum: bool

    def _need_momentum(self, optimizer: Optimizer) -> None:
        if self.cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
            msg = f"{type(self).__name__}: the optimizer has no momentum; pass cycle_momentum=False"
            raise ValueError(msg)

    def momentum_at(self, step: int, group: int) -> float:
        """The momentum of a group after `step` steps."""
        raise NotImplementedError

    def _set(self, lrs: list[float]) -> None:
        super()._set(lrs)
        if self.cycle_momentum:
            for i, group in enumerate(self.optimizer.param_groups):
                momentum = self.momentum_at(self.last_epoch, i)
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum


class CyclicLR(_Cycling):
    """Up from base_lr to max_lr and down again along lines, again and again; the momentum goes the other way.

    Args:
        optimizer: whose learning rates are set.
        base_lr: the lowest learning rate, or one for each group.
        max_lr: the highest, of the first cycle, or one for each group.
        step_size_up: steps up.
        step_size_down: steps down, `step_size_up` by default.
        mode: "triangular"; "triangular2": each cycle half as high; "exp_range": gamma^step as high.
        gamma: of "exp_range".
        scale_fn: in place of a mode, a function that gives the height of a cycle.
        scale_mode: "cycle" or "iterations": what `scale_fn` is called with.
        cycle_momentum: whether the momentum is set.
        base_momentum: the lowest momentum, or one for each group.
        max_momentum: the highest, or one for each group.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: an unknown mode; an optimizer without momentum.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], momentum=0.9)
        >>> schedule = fa.optim.lr_scheduler.CyclicLR(optimizer, 0.0, 1.0, step_size_up=2)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]

    Source: Smith, "Cyclical learning rates for training neural networks" (2017), section 3.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.8,
        max_momentum: Any = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            msg = f'CyclicLR: mode is {mode!r}; expected "triangular", "triangular2" or "exp_range"'
            raise ValueError(msg)
        self.cycle_momentum = cycle_momentum
        self._need_momentum(optimizer)
        lowest = for_groups("CyclicLR", "base_lr", base_lr, optimizer)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, lowest, strict=True):
                group["lr"] = group["initial_lr"] = lr
        self.max_lrs = for_groups("CyclicLR", "max_lr", max_lr, optimizer)
        self.step_size_up = float(step_size_up)
        self.step_size_down = float(step_size_up if step_size_down is None else step_size_down)
        self.mode, self.gamma = mode, gamma
        self.scale_fn, self.scale_mode = scale_fn, scale_mode
        self.base_momentums = for_groups("CyclicLR", "base_momentum", base_momentum, optimizer)
        self.max_momentums = for_groups("CyclicLR", "max_momentum", max_momentum, optimizer)
        super().__init__(optimizer, last_epoch)

    def _height(self, step: int) -> float:
        """How far up the cycle is: 0 at the base, 1 at the top of the first."""
        total = self.step_size_up + self.step_size_down
        cycle = math.floor(1 + step / total)
        x = 1.0 + step / total - cycle
        up = self.step_size_up / total
        return (x / up if x <= up else (x - 1) / (up - 1)) * self._scale(cycle, step)

    def _scale(self, cycle: int, step: int) -> float:
        if self.scale_fn is not None:
            return self.scale_fn(cycle if self.scale_mode == "cycle" else step)
        if self.mode == "triangular2":
            return 1 / 2.0 ** (cycle - 1)
        return float(self.gamma**step) if self.mode == "exp_range" else 1.0

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        return float(base_lr + (self.max_lrs[group] - base_lr) * self._height(step))

    def momentum_at(self, step: int, group: int) -> float:
        high = self.max_momentums[group]
        return float(high - (high - self.base_momentums[group]) * self._height(step))


class OneCycleLR(_Cycling):
    """Up from max_lr / div_factor to max_lr, then down far below where it began; the momentum goes the other way.

    Args:
        optimizer: whose learning rates are set.
        max_lr: the highest learning rate, or one for each group.
        total_steps: the number of steps; or give the next two.
        epochs: times `steps_per_epoch` it is the number of steps.
        steps_per_epoch: see `epochs`.
        pct_start: the part of the steps that goes up.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether the momentum is set.
        base_momentum: the lowest momentum, or one for each group.
        max_momentum: the highest, or one for each group.
        div_factor: the first learning rate is max_lr / div_factor.
        final_div_factor: the last is the first / final_div_factor.
        three_phase: as many steps down to the first learning rate as up, then on to the last.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: no number of steps, or an option out of range; a step after the last.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], momentum=0.9)
        >>> fa.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, div_factor=4).get_last_lr()
        [0.25]

    Source: Smith and Topin, "Super-convergence" (2018), section 3.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None and epochs is not None and steps_per_epoch is not None:
            total_steps = epochs * steps_per_epoch
        if total_steps is None or total_steps <= 0:
            msg = f"OneCycleLR: total_steps is {total_steps}; expected a number of steps, or epochs and steps_per_epoch"
            raise ValueError(msg)
        if not 0 <= pct_start <= 1:
            msg = f"OneCycleLR: pct_start is {pct_start}; expected 0 to 1"
            raise ValueError(msg)
        if anneal_strategy not in ("cos", "linear"):
            msg = f'OneCycleLR: anneal_strategy is {anneal_strategy!r}; expected "cos" or "linear"'
            raise ValueError(msg)
        self.cycle_momentum = cycle_momentum
        self._need_momentum(optimizer)
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.max_lrs = for_groups("OneCycleLR", "max_lr", max_lr, optimizer)
        self.base_momentums = for_groups("OneCycleLR", "base_momentum", base_momentum, optimizer)
        self.max_momentums = for_groups("OneCycleLR", "max_momentum", max_momentum, optimizer)
        self.final_div_factor = final_div_factor
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, self.max_lrs, strict=True):
                group["initial_lr"] = lr / div_factor
        # (its last step, where the learning rate ends, where the momentum does)
        up = float(pct_start * total_steps) - 1
        self.phases = [[up, "max", "base"], [float(total_steps - 1), "min", "max"]]
        if three_phase:
            self.phases.insert(1, [float(2 * pct_start * total_steps) - 2, "initial", "max"])
        super().__init__(optimizer, last_epoch)

    def _at(self, step: int, initial: float, levels: dict[str, float], which: int) -> float:
        if step > self.total_steps:
            msg = f"OneCycleLR: step {step}; expected at most {self.total_steps}, its total_steps"
            raise ValueError(msg)
        begin, value = 0.0, initial
        for phase in self.phases:
            end, target = float(phase[0]), levels[str(phase[which])]  # type: ignore[arg-type]
            if step <= end or phase is self.phases[-1]:
                part = (step - begin) / (end - begin)
                if self.anneal_strategy == "linear":
                    return (target - value) * part + value
                return target + (value - target) / 2.0 * (math.cos(math.pi * part) + 1)
            begin, value = end, target
        return value

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        levels = {"initial": base_lr, "max": self.max_lrs[group], "min": base_lr / self.final_div_factor}
        return self._at(step, base_lr, levels, 1)

    def momentum_at(self, step: int, group: int) -> float:
        levels = {"base": self.base_momentums[group], "max": self.max_momentums[group]}
        return self._at(step, levels["max"], levels, 2)
