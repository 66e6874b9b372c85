"""Keras's optimizers: what they all do, around a step of fastattn.optim's kind."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastattn import ops
from fastattn.autograd.node import no_grad
from fastattn.autograd.tensor import Tensor
from fastattn.optim import Optimizer as Inner
from fastattn.optim.optimizer import zeros_like

from .._lookup import Configured, serialize, snake_case
from . import schedules

# What each optimizer takes besides its own options.
COMMON: dict[str, Any] = {
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
    "name": None,
    "decay": 0.0,
}


class LearningRate(float):
    """A learning rate, which the ways to read and to set a Keras variable work on."""

    _of: Optimizer

    def numpy(self) -> float:
        """The number."""
        return float(self)

    def assign(self, value: Any) -> None:
        """Sets the rate of the optimizer."""
        self._of.learning_rate = value


class Optimizer(Configured):
    """Base: clips gradients, decays weights, and makes a step.

    A subclass names its own options in `_own`, and gives the step: `_inner(groups)`, an optimizer of fastattn.optim's kind,
    and `_before(scale)`, which sets its options for the step to come.

    Args:
        learning_rate: a number, a schedule or a function of nothing.
        options: weight_decay: weights lose that times the rate first; clipnorm: the largest norm of the gradient of each
            weight; global_clipnorm: of all of them together; clipvalue: the largest absolute value; use_ema, ema_momentum,
            ema_overwrite_frequency: a running average of the weights, which replaces them every so many steps and after
            training; loss_scale_factor: what the loss was multiplied by; gradient_accumulation_steps: how many gradients
            make a step; name; decay: the rate over 1 + decay * steps, as in the first Keras; lr: the rate.

    Raises:
        TypeError: both spellings of an option, or an unknown one.
        ValueError: an option out of range.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> w = fa.ones(1, requires_grad=True)
        >>> optimizer = keras.optimizers.SGD(0.5)
        >>> optimizer.build([w])
        >>> w.sum().backward()
        >>> optimizer.apply()
        >>> w.tolist(), optimizer.iterations
        ([0.5], 1)

    Source: keras.optimizers.Optimizer's form of it.
    """

    _own: tuple[str, ...] = ()
    _rate = 0.001
    _decays = False  # the step itself decays the weights

    def __init__(self, learning_rate: Any = None, **options: Any) -> None:
        own = type(self).__name__
        if "lr" in options:
            if learning_rate is not None:
                msg = f"{own}: lr and learning_rate are the same option; pass one of them"
                raise TypeError(msg)
            learning_rate = options.pop("lr")
        unknown = [key for key in options if key not in COMMON]
        if unknown:
            expected = ", ".join(["learning_rate", *self._own, *COMMON])
            msg = f"{own}: unknown option {unknown[0]!r}; expected {expected}"
            raise TypeError(msg)
        values = {**COMMON, **options}
        self.weight_decay = values["weight_decay"]
        self.clipnorm, self.clipvalue = values["clipnorm"], values["clipvalue"]
        self.global_clipnorm = values["global_clipnorm"]
        self.use_ema, self.ema_momentum = values["use_ema"], values["ema_momentum"]
        self.ema_overwrite_frequency = values["ema_overwrite_frequency"]
        self.loss_scale_factor = values["loss_scale_factor"]
        self.gradient_accumulation_steps = values["gradient_accumulation_steps"]
        self.name = values["name"] or snake_case(own)
        self.decay = values["decay"] or 0.0
        self._check()
        self._steps = 0
        self.inner: Inner | None = None
        self._excluded: tuple[set[int], list[str]] = (set(), [])
        self._learning_rate: Any = self._rate if learning_rate is None else learning_rate
        self._check_rate(self._learning_rate)

    def _check(self) -> None:
        own = type(self).__name__
        if sum(value is not None for value in (self.clipnorm, self.clipvalue, self.global_clipnorm)) > 1:
            msg = f"{own}: only one of clipnorm, clipvalue and global_clipnorm can be set"
            raise ValueError(msg)
        if self.use_ema and not 0 <= self.ema_momentum <= 1:
            msg = f"{own}: ema_momentum is {self.ema_momentum!r}; expected 0 to 1"
            raise ValueError(msg)
        for option, least in (("ema_overwrite_frequency", 1), ("gradient_accumulation_steps", 2)):
            value = getattr(self, option)
            if value is not None and (not hasattr(value, "__index__") or value < least):
                msg = f"{own}: {option} is {value!r}; expected an integer of at least {least}, or None"
                raise ValueError(msg)
        if not self.decay >= 0:
            msg = f"{own}: decay is {self.decay!r}; expected at least 0"
            raise ValueError(msg)

    def _check_rate(self, rate: Any) -> None:
        number = isinstance(rate, (int, float, np.number, np.ndarray, Tensor)) and not isinstance(rate, bool)
        if not callable(rate) and not number:
            msg = f"{type(self).__name__}: learning_rate is {rate!r}; expected a number, a schedule or a function"
            raise ValueError(msg)

    # The learning rate ----------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> LearningRate:
        """The rate of the next step."""
        if isinstance(self._learning_rate, schedules.LearningRateSchedule):
            rate = float(self._learning_rate(self._steps))
        else:
            rate = float(self._learning_rate() if callable(self._learning_rate) else self._learning_rate)
        now = LearningRate(rate / (1.0 + self.decay * self._steps) if self.decay else rate)
        now._of = self
        return now

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._check_rate(value)
        if isinstance(self._learning_rate, schedules.LearningRateSchedule) and not callable(value):
            msg = f"{type(self).__name__}: the learning rate is a schedule; it cannot be set to a number"
            raise TypeError(msg)
        self._learning_rate = value

    lr = learning_rate

    @property
    def iterations(self) -> int:
        """Steps so far."""
        return self._steps // (self.gradient_accumulation_steps or 1)

    # Steps ----------------------------------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether it has its parameters."""
        return self.inner is not None

    def exclude_from_weight_decay(
        self, var_list: Iterable[Tensor] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Keeps weights from decaying, those given and those in whose names one of `var_names` is; before `build`."""
        if self.built:
            msg = f"{type(self).__name__}: exclude_from_weight_decay comes before the optimizer is built"
            raise ValueError(msg)
        self._excluded = ({id(p) for p in var_list or ()}, list(var_names or ()))

    def _is_decayed(self, p: Tensor) -> bool:
        ids, names = self._excluded
        return id(p) not in ids and not any(re.search(name, str(getattr(p, "name", ""))) for name in names)

    def build(self, parameters: Iterable[Tensor]) -> None:
        """Takes over the parameters that `apply` changes."""
        parameters = list(parameters)
        decayed = [p for p in parameters if self._is_decayed(p)]
        excluded = [p for p in parameters if not self._is_decayed(p)]
        self._parameters = parameters
        self._decayed = decayed if self.weight_decay and not self._decays else []
        wd = float(self.weight_decay or 0.0) if self._decays else 0.0
        groups = [(decayed, wd), (excluded, 0.0)]
        options = [{"weight_decay": wd} if self._decays else {} for _, wd in groups]
        chosen = [{"params": group[0], **option} for group, option in zip(groups, options, strict=True) if group[0]]
        self.inner = self._inner(chosen)

    def _inner(self, groups: list[dict[str, Any]]) -> Inner:
        raise NotImplementedError(f"{type(self).__name__} defines no _inner(groups)")

    def _before(self, inner: Inner, lr: float, scale: float | None) -> None:
        """Sets the options of the step to come: the rate, and what gradients are multiplied by."""
        for group in inner.param_groups:
            group["lr"] = lr
        inner._grad_scale = scale

    def _arrays(self, inner: Inner) -> list[str]:
        """The arrays that the step keeps of each parameter, by their names in the state."""
        raise NotImplementedError(f"{type(self).__name__} defines no _arrays(inner)")

    @property
    def variables(self) -> list[Any]:
        """The steps so far, the rate where it is a number, and the arrays of each parameter."""
        rate = [] if callable(self._learning_rate) else [np.float32(self._learning_rate)]
        out: list[Any] = [np.int32(self._steps), *rate]
        if self.inner is None:
            return out
        names = self._arrays(self.inner)
        names += ["average"] * bool(self.use_ema) + ["accumulated"] * bool(self.gradient_accumulation_steps)
        state = self.inner.state
        return out + [state[p].get(name, zeros_like(p))._data for name in names for p in self._parameters]

    def zero_grad(self) -> None:
        """Drops the gradients."""
        self._built().zero_grad()

    def _built(self) -> Inner:
        if self.inner is None:
            msg = f"{type(self).__name__}: it has no parameters; call build(parameters) first"
            raise ValueError(msg)
        return self.inner

    def apply(self, grads: Iterable[Any] | None = None, trainable_variables: Iterable[Tensor] | None = None) -> None:
        """One step from the gradients.

        Args:
            grads: the gradients; None: those that `backward` has left in the parameters.
            trainable_variables: whose they are; the first call builds the optimizer with them.

        Raises:
            ValueError: no parameter has a gradient, or `build` is missing.
        """
        if trainable_variables is not None and not self.built:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        inner = self._built()
        if grads is not None:
            for p, grad in zip(trainable_variables or self._parameters, grads, strict=True):
                p.grad = grad
        params = [p for p in self._parameters if p.grad is not None]
        if not params:
            msg = f"{type(self).__name__}: no parameter has a gradient"
            raise ValueError(msg)
        if len(params) < len(self._parameters):
            missing = [str(getattr(p, "name", i)) for i, p in enumerate(self._parameters) if p.grad is None]
            msg = f"{type(self).__name__}: no gradient for parameter {', '.join(missing)}; did the loss depend on it?"
            warnings.warn(msg, stacklevel=2)
        with no_grad():
            if self._accumulates(inner, params):
                scale = self._clip(params)
                lr = float(self.learning_rate)
                self._decay(inner, lr)
                self._before(inner, lr, scale)
                try:
                    inner.step()
                finally:
                    inner._grad_scale = None
            self._average(inner)
        self._steps += 1

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Tensor]]) -> None:
        """`apply` of pairs."""
        grads, variables = zip(*grads_and_vars, strict=True)
        self.apply(grads, variables)

    def _accumulates(self, inner: Inner, params: list[Tensor]) -> bool:
        """Unscales the gradients and adds them up; whether a step is due."""
        for p in params if self.loss_scale_factor is not None else ():
            assert p.grad is not None
            p.grad = p.grad / self.loss_scale_factor
        steps = self.gradient_accumulation_steps
        if steps is None:
            return True
        due = (self._steps + 1) % steps == 0
        for p in params:
            assert p.grad is not None
            total = inner.state[p].setdefault("accumulated", zeros_like(p))
            total._data[...] += p.grad._data
            if due:
                p.grad = (total / steps).to(p.dtype)
                total._data[...] = 0
        return bool(due)

    def _clip(self, params: list[Tensor]) -> float | None:
        """Clips the gradients; what is left to the step is a factor for all of them."""
        if self.global_clipnorm:
            norm = ops.grad_norm([p.grad.contiguous() for p in params if p.grad is not None])
            # NaN or inf in one gradient is NaN in all, as without clipping it would soon be.
            factor = min(1.0, self.global_clipnorm / norm) if norm else 1.0
            return factor + (norm - norm) if factor < 1 or norm != norm else None
        for p in params if self.clipnorm or self.clipvalue else ():
            assert p.grad is not None
            if self.clipvalue:
                p.grad = p.grad.clamp(-self.clipvalue, self.clipvalue)
            else:
                norm = ops.grad_norm([p.grad.contiguous()])
                p.grad = p.grad * (self.clipnorm / max(norm, self.clipnorm))
        return None

    def _decay(self, inner: Inner, lr: float) -> None:
        for p in self._decayed:
            if p.grad is None:
                continue
            master = inner.state[p].get("master")
            (p if master is None else master)._data[...] *= 1 - self.weight_decay * lr
            if master is not None:
                p._data[...] = master._data
            p._version[0] += 1

    def _average(self, inner: Inner) -> None:
        if not self.use_ema:
            return
        momentum = self.ema_momentum if self.iterations else 0.0
        for p in self._parameters:
            average = inner.state[p].setdefault("average", zeros_like(p))
            average._data[...] = momentum * average._data + (1 - momentum) * p._data
        if self.ema_overwrite_frequency and (self.iterations + 1) % self.ema_overwrite_frequency == 0:
            self.finalize_variable_values()

    def finalize_variable_values(self, var_list: Any = None) -> None:
        """Puts the running average in the weights' place, where there is one; `fit` calls it after the last epoch."""
        inner = self._built()
        for p in self._parameters if self.use_ema and self._steps else ():
            p._data[...] = inner.state[p]["average"]._data
            p._version[0] += 1

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`, which `apply` divides the gradients by."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    # On disk --------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The options that make an equal optimizer."""
        rate = self._learning_rate
        rate = serialize(rate) if callable(rate) else float(rate)
        common = {option: getattr(self, option) for option in COMMON}
        return {"learning_rate": rate, **common, **{option: getattr(self, option) for option in self._own}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """The optimizer that `get_config` describes."""
        rate = config.get("learning_rate")
        rate = schedules.deserialize(rate) if isinstance(rate, (dict, str)) else rate
        return cls(**{**config, "learning_rate": rate})

    def state_dict(self) -> dict[str, Any]:
        """fastattn.optim's form of the state, with the steps so far and the rate."""
        rate = None if callable(self._learning_rate) else float(self._learning_rate)
        return {**self._built().state_dict(), "iterations": self._steps, "learning_rate": rate}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state of the same parameters."""
        self._built().load_state_dict(state_dict)
        self._steps = int(state_dict["iterations"])
        if state_dict.get("learning_rate") is not None:
            self._learning_rate = float(state_dict["learning_rate"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name} learning_rate={float(self.learning_rate)}>"
