"""Schedules made of schedules, and the one that follows a measurement."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from fastattn.optim.optimizer import Optimizer

from .scheduler import LRScheduler, for_groups


class _Composite(LRScheduler):
    """Schedules of one optimizer."""

    _schedulers: list[LRScheduler]

    def _take(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        name = type(self).__name__
        if not schedulers:
            msg = f"{name}: schedulers is empty; expected at least one"
            raise ValueError(msg)
        self.optimizer = optimizer or schedulers[0].optimizer
        for i, scheduler in enumerate(schedulers):
            if scheduler.optimizer is not self.optimizer:
                msg = f"{name}: scheduler {i} is of another optimizer"
                raise ValueError(msg)
        self._schedulers = list(schedulers)
        self.base_lrs = [group["initial_lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "_schedulers"})

    def _undo(self) -> None:
        super()._undo()
        for scheduler in self._schedulers:
            scheduler._undo()


class SequentialLR(_Composite):
    """One schedule after the other, each from its beginning.

    Args:
        optimizer: that of the schedules.
        schedulers: schedules of one optimizer.
        milestones: the steps at which the second and each later one begin.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: schedules of several optimizers, or not one milestone fewer than schedules.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> warmup = fa.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
        >>> decay = fa.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
        >>> fa.optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], milestones=[2]).get_last_lr()
        [0.5]

    Source: torch.optim.lr_scheduler.SequentialLR's form of it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self._take(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            msg = f"SequentialLR: {len(milestones)} milestones for {len(schedulers)} schedulers; expected one fewer"
            raise ValueError(msg)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # Each schedule has made its first step already: back to the beginning, and only the first makes it.
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self._schedulers:
            scheduler._undo()
        self._schedulers[0].step()
        self._last_lr = self._schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Makes a step of the schedule whose turn it is."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            self._schedulers[i].step(0)
        else:
            self._schedulers[i].step()
        self._last_lr = self._schedulers[i].get_last_lr()


class ChainedScheduler(_Composite):
    """Several schedules at once: each step is one of all.

    Args:
        schedulers: schedules of one optimizer.
        optimizer: that of the schedules.

    Raises:
        ValueError: schedules of several optimizers.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> parts = [fa.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5) for _ in range(2)]
        >>> schedule = fa.optim.lr_scheduler.ChainedScheduler(parts)
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.25]

    Source: torch.optim.lr_scheduler.ChainedScheduler's form of it.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        self._take(schedulers, optimizer)
        self.last_epoch = 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """Makes a step of every schedule."""
        self.last_epoch += 1
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the learning rate by `factor` when a measurement has not improved for `patience` steps.

    Args:
        optimizer: whose learning rates are set.
        mode: "min" or "max": what is better.
        factor: below 1.
        patience: steps without improvement that are waited.
        threshold: what counts as an improvement.
        threshold_mode: "rel": it is a part of the best; "abs": a difference.
        cooldown: steps after a reduction in which none is counted as bad.
        min_lr: the lowest learning rate, or one for each group.
        eps: a change of less than this is not made.

    Raises:
        ValueError: an option out of range.

    Example:
        >>> import fastattn as fa
        >>> optimizer = fa.optim.SGD([fa.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = fa.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        >>> for loss in (2.0, 2.0):
        ...     schedule.step(loss)
        >>> schedule.get_last_lr()
        [0.1]

    Source: torch.optim.lr_scheduler.ReduceLROnPlateau's form of it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Any = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1:
            msg = f"ReduceLROnPlateau: factor is {factor}; expected a number below 1"
            raise ValueError(msg)
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            msg = (
                f'ReduceLROnPlateau: mode is {mode!r} and threshold_mode {threshold_mode!r}; expected "min" or "max", '
            )
            msg += '"rel" or "abs"'
            raise ValueError(msg)
        self.optimizer = optimizer
        self.mode, self.reduction, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = for_groups("ReduceLROnPlateau", "min_lr", min_lr, optimizer)
        self.last_epoch = 0
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Takes note of a measurement, and lowers the learning rates if it is time."""
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            old = [group["lr"] for group in self.optimizer.param_groups]
            new = [max(lr * self.reduction, low) for lr, low in zip(old, self.min_lrs, strict=True)]
            self._set([b if a - b > self.eps else a for a, b in zip(old, new, strict=True)])
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _better(self, current: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * current < sign * self.best * (1 - sign * self.threshold)
        return sign * current < sign * self.best - self.threshold
