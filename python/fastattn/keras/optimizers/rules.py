"""Steps that no fused kernel does, as array code over one parameter at a time, in the accumulator's dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastattn.autograd.tensor import Tensor
from fastattn.optim.optimizer import Optimizer, Params, zeros_like

State = dict[str, Any]


class Rule(Optimizer):
    """A subclass names its arrays, with their first values, and gives the step of one parameter."""

    _takes_grad_scale = True

    def __init__(self, params: Params, **options: Any) -> None:
        super().__init__(params, {"lr": 0.0, **options})

    def _arrays(self, group: dict[str, Any]) -> dict[str, float]:
        raise NotImplementedError(f"{type(self).__name__} defines no _arrays(group)")

    def _delta(self, group: dict[str, Any], state: State, g: Any) -> Any:
        """What the parameter becomes smaller by; updates the arrays of the state in place. state["step"] counts from 1."""
        raise NotImplementedError(f"{type(self).__name__} defines no _delta(group, state, g)")

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        masters = self._masters(params)
        for i, (p, grad) in enumerate(zip(params, grads, strict=True)):
            state = self.state[p]
            arrays = self._arrays(group)
            for name, first in arrays.items() if "step" not in state else ():
                state[name] = zeros_like(p)
                state[name]._data[...] = first
            state["step"] = state.get("step", 0) + 1
            value = (p if masters is None else masters[i])._data
            g = grad._data.astype(value.dtype, copy=False)
            if self._grad_scale is not None:
                g = g * self._grad_scale
            value -= self._delta(group, {**state, **{name: state[name]._data for name in arrays}}, g)
            if masters is not None:
                p._data[...] = value
            p._version[0] += 1


def _average(array: Any, value: Any, rho: float) -> None:
    """array = rho * array + (1 - rho) * value."""
    array *= rho
    array += (1 - rho) * value


class RMSprop(Rule):
    """Tieleman and Hinton, "Lecture 6.5: rmsprop" (2012); centered: Graves, "Generating sequences" (2013), section 2."""

    def _arrays(self, group: dict[str, Any]) -> dict[str, float]:
        wanted = {"velocity": True, "momentum": group["momentum"] > 0, "average_gradient": group["centered"]}
        return {name: 0.0 for name, there in wanted.items() if there}

    def _delta(self, group: dict[str, Any], state: State, g: Any) -> Any:
        _average(state["velocity"], g * g, group["rho"])
        variance = state["velocity"] + group["epsilon"]
        if group["centered"]:
            _average(state["average_gradient"], g, group["rho"])
            variance = variance - np.square(state["average_gradient"])
        delta = group["lr"] * g / np.sqrt(variance)
        if group["momentum"] > 0:
            state["momentum"] *= group["momentum"]
            state["momentum"] += delta
            return state["momentum"]
        return delta


class Adagrad(Rule):
    """Duchi, Hazan and Singer, "Adaptive subgradient methods" (2011), figure 1."""

    def _arrays(self, group: dict[str, Any]) -> dict[str, float]:
        return {"accumulator": group["initial_accumulator_value"]}

    def _delta(self, group: dict[str, Any], state: State, g: Any) -> Any:
        state["accumulator"] += g * g
        return group["lr"] * g / np.sqrt(state["accumulator"] + group["epsilon"])


class Adadelta(Rule):
    """Zeiler, "ADADELTA" (2012), algorithm 1."""

    def _arrays(self, group: dict[str, Any]) -> dict[str, float]:
        return {"accumulated_grad": 0.0, "accumulated_delta": 0.0}

    def _delta(self, group: dict[str, Any], state: State, g: Any) -> Any:
        _average(state["accumulated_grad"], g * g, group["rho"])
        rms = [np.sqrt(state[name] + group["epsilon"]) for name in ("accumulated_delta", "accumulated_grad")]
        delta = rms[0] * g / rms[1]
        _average(state["accumulated_delta"], delta * delta, group["rho"])
        return group["lr"] * delta


class Adamax(Rule):
    """Kingma and Ba, "Adam" (2015), algorithm 2."""

    def _arrays(self, group: dict[str, Any]) -> dict[str, float]:
        return {"momentum": 0.0, "norm": 0.0}

    def _delta(self, group: dict[str, Any], state: State, g: Any) -> Any:
        _average(state["momentum"], g, group["beta_1"])
        state["norm"][...] = np.maximum(group["beta_2"] * state["norm"], abs(g))
        return (
            group["lr"]
            * state["momentum"]
            / ((1 - group["beta_1"] ** state["step"]) * (state["norm"] + group["epsilon"]))
        )


def momenta(beta_1: float, steps: int) -> list[float]:
    """Those of Nadam's first steps."""
    return [beta_1 * (1 - 0.5 * 0.96**t) for t in range(1, steps + 1)]


class Nadam(Rule):
    """Dozat, "Incorporating Nesterov momentum into Adam" (2016), algorithm 8, its momentum growing as in section 3.2."""

    def _arrays(self, group: dict[str, Any]) -> dict[str, float]:
        return {"momentum": 0.0, "velocity": 0.0}

    def _delta(self, group: dict[str, Any], state: State, g: Any) -> Any:
        step = state["step"]
        mus = momenta(group["beta_1"], step + 1)
        product = float(np.prod(mus[:-1]))
        _average(state["momentum"], g, group["beta_1"])
        _average(state["velocity"], g * g, group["beta_2"])
        ahead = mus[-1] * state["momentum"] / (1 - product * mus[-1]) + (1 - mus[-2]) * g / (1 - product)
        return group["lr"] * ahead / (np.sqrt(state["velocity"] / (1 - group["beta_2"] ** step)) + group["epsilon"])


class Lion(Rule):
    """Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2."""

    def _arrays(self, group: dict[str, Any]) -> dict[str, float]:
        return {"momentum": 0.0}

    def _delta(self, group: dict[str, Any], state: State, g: Any) -> Any:
        delta = group["lr"] * np.sign(group["beta_1"] * state["momentum"] + (1 - group["beta_1"]) * g)
        _average(state["momentum"], g, group["beta_2"])
        return delta
