"""Activations, as torch.nn.functional has them; most are made of functions of each element."""

from __future__ import annotations

from typing import Any

from fastattn import ops
from fastattn.autograd.arithmetic import where
from fastattn.autograd.creation import zeros_like
from fastattn.autograd.random import rand
from fastattn.autograd.tensor import Tensor

__all__ = [
    "celu",
    "elu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "prelu",
    "relu6",
    "selu",
    "silu",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
]

# `inplace` is accepted for torch's sake: the result is always a new tensor.


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above 0, negative_slope * x below."""
    return where(input > 0, input, input * negative_slope)  # type: ignore[no-any-return]


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x above 0, weight * x below; one weight, or one for each index of the second axis."""
    if weight.numel() != 1 and (weight.ndim != 1 or input.ndim < 2 or input.shape[1] != weight.numel()):
        msg = (
            f"prelu: weight has shape {weight.shape}; expected one number, or one for each index of axis 1 of the input"
        )
        raise ValueError(msg)
    if weight.numel() != 1:
        weight = weight.reshape(-1, *[1] * (input.ndim - 2))
    return where(input > 0, input, input * weight)  # type: ignore[no-any-return]


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha * (exp(x) - 1) below."""
    # The exponential sees no large number: its gradient, unused there, would be inf * 0.
    return where(input > 0, input, input.clamp(max=0).expm1() * alpha)  # type: ignore[no-any-return]


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha * (exp(x / alpha) - 1) below."""
    return where(input > 0, input, (input.clamp(max=0) / alpha).expm1() * alpha)  # type: ignore[no-any-return]


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """elu with the alpha and the scale that keep mean 0 and variance 1; Klambauer et al. (2017)."""
    return elu(input, 1.6732632423543772848170429916717) * 1.0507009873554804934193349852946


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x); see `fa.silu`."""
    return ops.silu(input)  # type: ignore[no-any-return]


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return input * softplus(input).tanh()


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x where beta * x is above the threshold."""
    scaled = input * beta
    return where(scaled > threshold, input, scaled.logaddexp(0.0) / beta)  # type: ignore[no-any-return]


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return -(-input).logaddexp(0.0)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - input.tanh()


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 within +- lambd, x outside."""
    return where(input.abs() > lambd, input, 0.0)  # type: ignore[no-any-return]


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd; 0 within +- lambd."""
    return where(input > lambd, input - lambd, where(input < -lambd, input + lambd, 0.0))  # type: ignore[no-any-return]


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x limited to min_val..max_val; gradient 0 at and beyond both."""
    return where((input > min_val) & (input < max_val), input, input.detach().clamp(min_val, max_val))  # type: ignore[no-any-return]


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x limited to 0..6."""
    return hardtanh(input, 0.0, 6.0)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """(x + 3) / 6, limited to 0..1."""
    return relu6(input + 3) / 6


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x)."""
    return input * hardsigmoid(input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x above the threshold, `value` elsewhere."""
    return where(input > threshold, input, value)  # type: ignore[no-any-return]


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along an axis times the sigmoid of the second."""
    if input.shape[dim] % 2:
        msg = f"glu: axis {dim} has length {input.shape[dim]}; expected an even one"
        raise ValueError(msg)
    a, b = input.chunk(2, dim)
    return a * b.sigmoid()


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """softmax(-x)."""
    return (-input).softmax(dim, dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A random sample of nearly one-hot vectors, softmax((logits + noise) / tau); `hard`: one-hot, with its gradient.

    Source: Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax" (2017), equation 2.
    """
    uniform = rand(logits.shape, dtype=logits.dtype).clamp(1e-20 if logits.itemsize > 4 else 1e-38)
    soft = ((logits - (-uniform.log()).log()) / tau).softmax(dim)
    if not hard:
        return soft
    one = zeros_like(soft).scatter_(dim, soft.argmax(dim, True), 1.0)
    return one - soft.detach() + soft  # type: ignore[no-any-return]
