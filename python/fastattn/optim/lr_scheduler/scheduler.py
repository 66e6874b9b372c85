"""LRScheduler: what sets the learning rate of an optimizer, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastattn.optim.optimizer import Optimizer


class LRScheduler:
    """Base of the schedules.

    A subclass defines `lr_at(step, base_lr, group)`, the learning rate of a group after `step` steps. One that can be
    combined with others on one optimizer also defines `factor(step, group)`, by which step number `step` multiplies the
    learning rate that is set. Or it defines `get_lr()`, as in torch. `step()` is called after each `optimizer.step()`.

    Args:
        optimizer: whose groups' `lr` is set.
        last_epoch: steps made before; -1 at the start.

    Raises:
        ValueError: `last_epoch` is not -1, and the optimizer has not been under a schedule before.

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
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch != -1 and "initial_lr" not in group:
                msg = f"{type(self).__name__}: last_epoch is {last_epoch}, but group {i} has no initial_lr; load its state"
                raise ValueError(msg)
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self.step()

    def lr_at(self, step: int, base_lr: float, group: int) -> float:
        """The learning rate of a group after `step` steps."""
        msg = f"{type(self).__name__} defines neither lr_at() nor get_lr()"
        raise NotImplementedError(msg)

    def factor(self, step: int, group: int) -> float | None:
        """By what step number `step` multiplies the learning rate of a group; None: `lr_at` says what to set."""
        return None

    def get_lr(self) -> list[float]:
        """The learning rates of the step that `last_epoch` counts."""
        lrs = []
        for i, (group, base) in enumerate(zip(self.optimizer.param_groups, self.base_lrs, strict=True)):
            factor = self.factor(self.last_epoch, i)
            lrs.append(self.lr_at(self.last_epoch, base, i) if factor is None else group["lr"] * factor)
        return lrs

    def get_last_lr(self) -> list[float]:
        """The learning rates that were set last."""
        return list(self._last_lr)

    def step(self, epoch: int | None = None) -> None:
        """Sets the learning rates for the next step, or those of step number `epoch`."""
        if epoch is None:
            self.last_epoch += 1
            self._set(self.get_lr())
        else:
            self.last_epoch = epoch
            self._set([self.lr_at(epoch, base, i) for i, base in enumerate(self.base_lrs)])

    def _set(self, lrs: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
        self._last_lr = list(lrs)

    def _undo(self) -> None:
        """Takes back the count of a step."""
        self.last_epoch -= 1

    def state_dict(self) -> dict[str, Any]:
        """What load_state_dict needs: numbers and lists of them, no functions."""
        return {key: value for key, value in vars(self).items() if key != "optimizer" and _plain(value)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state and sets its learning rates."""
        vars(self).update({key: value for key, value in state_dict.items() if key != "optimizer"})
        self._set(self._last_lr)


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    return value is None or isinstance(value, (bool, int, float, str))


def for_groups(name: str, what: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """An argument that is one for all groups, or a list of one for each."""
    n = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * n
    if len(values) != n:
        msg = f"{name}: {len(values)} {what} for {n} groups; expected one for each"
        raise ValueError(msg)
    return values
