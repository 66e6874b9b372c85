"""Learning rates as functions of the steps so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._lookup import Configured, Names, serialize

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule(Configured):
    """Base: `__call__(step)` gives the rate after so many steps.

    Example:
        >>> from fastattn import keras
        >>> class Halving(keras.optimizers.schedules.LearningRateSchedule):
        ...     def __call__(self, step):
        ...         return 0.5 ** step
        >>> keras.optimizers.SGD(Halving()).learning_rate
        1.0
    """

    def __call__(self, step: Any) -> float:
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(step)")

    def _positive(self, argument: str) -> None:
        if not getattr(self, argument) > 0:
            msg = f"{type(self).__name__}: {argument} is {getattr(self, argument)!r}; expected above 0"
            raise ValueError(msg)


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate * decay_rate^(step / decay_steps), the exponent rounded down if `staircase`."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name
        self._positive("decay_steps")

    def __call__(self, step: Any) -> float:
        done = step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (math.floor(done) if self.staircase else done)  # type: ignore[no-any-return]


class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps), the quotient rounded down if `staircase`."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name
        self._positive("decay_steps")

    def __call__(self, step: Any) -> float:
        done = step / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * (math.floor(done) if self.staircase else done))  # type: ignore[no-any-return]


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[i] up to step boundaries[i], the last of them after."""

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(values) != len(boundaries) + 1:
            msg = f"PiecewiseConstantDecay: {len(boundaries)} boundaries and {len(values)} values; expected one value more"
            raise ValueError(msg)
        self.boundaries, self.values, self.name = boundaries, values, name

    def __call__(self, step: Any) -> float:
        return float(self.values[sum(step > boundary for boundary in self.boundaries)])


class PolynomialDecay(LearningRateSchedule):
    r"""From one rate to another by a power of the time that is left.

    .. math:: (lr_0 - lr_1) (1 - t / T)^p + lr_1

    Args:
        initial_learning_rate: lr_0.
        decay_steps: T.
        end_learning_rate: lr_1.
        power: p.
        cycle: begin anew after T, each time with one T more; else stay at lr_1.
        name: its name.

    Raises:
        ValueError: decay_steps is not positive.

    Example:
        >>> from fastattn import keras
        >>> keras.optimizers.schedules.PolynomialDecay(1.0, 4, end_learning_rate=0.0)(1)
        0.75
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.end_learning_rate, self.power, self.cycle, self.name = end_learning_rate, power, cycle, name
        self._positive("decay_steps")

    def __call__(self, step: Any) -> float:
        over = self.decay_steps
        if self.cycle:
            over *= max(math.ceil(step / over), 1)
        done = min(step, over) / over
        span = self.initial_learning_rate - self.end_learning_rate
        return float(span * (1 - done) ** self.power + self.end_learning_rate)


class CosineDecay(LearningRateSchedule):
    r"""Half a cosine from one rate to `alpha` times it, after a line up to it. Loshchilov and Hutter (2017), equation 5.

    .. math:: lr_0 ((1 - \alpha) (1 + \cos(\pi t / T)) / 2 + \alpha)

    Args:
        initial_learning_rate: lr_0, or where the line begins.
        decay_steps: T.
        alpha: what is left at last.
        name: its name.
        warmup_target: where the line ends and the cosine begins; None: no line.
        warmup_steps: the steps of the line.

    Raises:
        ValueError: decay_steps is not positive.

    Example:
        >>> from fastattn import keras
        >>> round(keras.optimizers.schedules.CosineDecay(1.0, 4)(2), 4)
        0.5
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial_learning_rate, self.decay_steps, self.alpha, self.name = (
            initial_learning_rate,
            decay_steps,
            alpha,
            name,
        )
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps
        self._positive("decay_steps")

    def __call__(self, step: Any) -> float:
        peak = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return (self.warmup_target - peak) * (step / self.warmup_steps) + peak  # type: ignore[no-any-return]
            step, peak = step - self.warmup_steps, self.warmup_target
        half = 0.5 * (1 + math.cos(math.pi * min(step, self.decay_steps) / self.decay_steps))
        return peak * ((1 - self.alpha) * half + self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """CosineDecay again and again: each time `t_mul` times as long, from `m_mul` times the rate.

    Args:
        initial_learning_rate: where the first begins.
        first_decay_steps: its length.
        t_mul: what the length grows by.
        m_mul: what the rate changes by.
        alpha: what is left at the end of each.
        name: its name.

    Raises:
        ValueError: first_decay_steps is not positive.

    Example:
        >>> from fastattn import keras
        >>> keras.optimizers.schedules.CosineDecayRestarts(1.0, 4)(4)
        1.0

    Source: Loshchilov and Hutter, "SGDR" (2017), section 3.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name
        self._positive("first_decay_steps")

    def __call__(self, step: Any) -> float:
        length, restarts, left = float(self.first_decay_steps), 0, float(step)
        while left >= length:
            left, length, restarts = left - length, length * self.t_mul, restarts + 1
        half = 0.5 * self.m_mul**restarts * (1 + math.cos(math.pi * left / length))
        return self.initial_learning_rate * ((1 - self.alpha) * half + self.alpha)


_NAMES = Names(
    "learning rate schedule",
    [ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay, CosineDecay, CosineDecayRestarts],
)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The schedule that `serialize` described."""
    return _NAMES.get(config, custom_objects)
