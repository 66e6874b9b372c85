"""Activations by name: functions of tensors."""

from __future__ import annotations

from typing import Any

import fastattn as fa
from fastattn import ops
from fastattn.autograd.tensor import Tensor
from fastattn.nn import functional as F

from ._lookup import Names, serialize

__all__ = [
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
]


def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """x above `threshold`, at most `max_value`; below, negative_slope * (x - threshold)."""
    if threshold == 0 and max_value is None:
        return F.leaky_relu(x, negative_slope) if negative_slope else ops.relu(x)
    above = F.threshold(x, threshold, 0.0) if threshold else ops.relu(x)
    if max_value is not None:
        above = above.clamp(0.0, max_value)
    return above - negative_slope * ops.relu(threshold - x) if negative_slope else above


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """x above 0, negative_slope * x below."""
    return F.leaky_relu(x, negative_slope)


def relu6(x: Any) -> Tensor:
    """x within 0..6."""
    return F.relu6(x)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) over its sum along an axis."""
    return ops.softmax(x, axis)  # type: ignore[no-any-return]


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """Logarithm of the softmax."""
    return ops.log_softmax(x, axis)  # type: ignore[no-any-return]


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha * (exp(x) - 1) below."""
    return F.elu(x, alpha)


def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha * (exp(x / alpha) - 1) below."""
    return F.celu(x, alpha)


def selu(x: Any) -> Tensor:
    """elu, scaled such that activations normalise themselves."""
    return F.selu(x)


def gelu(x: Any, approximate: bool = False) -> Tensor:
    """x * Phi(x), or its approximation by tanh."""
    return F.gelu(x, "tanh" if approximate else "none")


def silu(x: Any) -> Tensor:
    """x * sigmoid(x)."""
    return F.silu(x)


def mish(x: Any) -> Tensor:
    """x * tanh(softplus(x))."""
    return F.mish(x)


def glu(x: Any, axis: int = -1) -> Tensor:
    """The first half times the sigmoid of the second."""
    return F.glu(x, axis)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return ops.sigmoid(x)  # type: ignore[no-any-return]


def log_sigmoid(x: Any) -> Tensor:
    """Logarithm of the sigmoid."""
    return F.logsigmoid(x)


def hard_sigmoid(x: Any) -> Tensor:
    """x / 6 + 1/2 within 0..1."""
    return F.hardsigmoid(x)


def hard_silu(x: Any) -> Tensor:
    """x * hard_sigmoid(x)."""
    return F.hardswish(x)


def sparse_sigmoid(x: Any) -> Tensor:
    """(x + 1) / 2 within 0..1."""
    return F.hardtanh(x) * 0.5 + 0.5


def tanh(x: Any) -> Tensor:
    """Hyperbolic tangent."""
    return ops.tanh(x)  # type: ignore[no-any-return]


def hard_tanh(x: Any) -> Tensor:
    """x within -1..1."""
    return F.hardtanh(x)


def tanh_shrink(x: Any) -> Tensor:
    """x - tanh(x)."""
    return F.tanhshrink(x)


def soft_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """x nearer to 0 by `threshold`, 0 where it is within."""
    return F.softshrink(x, threshold)


def hard_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """x, 0 where it is within `threshold` of 0."""
    return F.hardshrink(x, threshold)


def threshold(x: Any, threshold: float, default_value: float) -> Tensor:
    """x above `threshold`, `default_value` elsewhere."""
    return F.threshold(x, threshold, default_value)


def softplus(x: Any) -> Tensor:
    """log(1 + exp(x))."""
    return F.softplus(x)


def squareplus(x: Any, b: float = 4) -> Tensor:
    """(x + sqrt(x^2 + b)) / 2. Barron, "Squareplus" (2021)."""
    return (x + (x * x + b).sqrt()) * 0.5  # type: ignore[no-any-return]


def sparse_plus(x: Any) -> Tensor:
    """0 up to -1, x from 1 on, (x + 1)^2 / 4 between."""
    return fa.where(x >= 1, x, (x.clamp(-1, 1) + 1).square() * 0.25)  # type: ignore[no-any-return]


def softsign(x: Any) -> Tensor:
    """x / (1 + abs(x))."""
    return F.softsign(x)


def exponential(x: Any) -> Tensor:
    """exp(x)."""
    return ops.exp(x)  # type: ignore[no-any-return]


def linear(x: Any) -> Any:
    """x."""
    return x


def sparsemax(x: Any, axis: int = -1) -> Tensor:
    """The nearest point to x of the probabilities along an axis.

    Source: Martins and Astudillo, "From softmax to sparsemax" (2016), algorithm 1."""
    moved = x.movedim(axis, -1)
    ordered = moved.sort(-1, descending=True)[0]
    sums = ordered.cumsum(-1)
    ranks = fa.arange(1, moved.shape[-1] + 1, device=x.device).to(x.dtype)
    count = (1 + ranks * ordered > sums).sum(-1, keepdim=True)
    cut = (sums.gather(-1, count - 1) - 1) / count.to(x.dtype)
    return ops.relu(moved - cut).movedim(-1, axis)  # type: ignore[no-any-return]


swish, hard_swish = silu, hard_silu
_NAMES = Names(
    "activation",
    [
        value
        for name, value in list(globals().items())
        if name in __all__ and name not in ("get", "deserialize", "serialize")
    ],
    {"swish": silu, "hard_swish": hard_silu},
)


def get(identifier: Any) -> Any:
    """The activation of a name, a config or a function; None is `linear`."""
    return linear if identifier is None else _NAMES.get(identifier)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The activation that `serialize` described."""
    return linear if config is None else _NAMES.get(config, custom_objects)
