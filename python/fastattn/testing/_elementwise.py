"""The part of `reference` that goes element by element: activations, arithmetic, rotary embedding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

NDArray = np.ndarray[Any, Any]


def _of_floats(function: Any, x: NDArray) -> NDArray:
    """A function of Python's math module, element by element, rounded to the dtype of x."""
    return np.array([function(float(v)) for v in x.reshape(-1)], np.float64).reshape(x.shape).astype(x.dtype)


def erf(x: NDArray) -> NDArray:
    """The error function, to float64."""
    return _of_floats(math.erf, x)


ROOT_TWO_OVER_PI = math.sqrt(2 / math.pi)


def gelu(x: NDArray, approximate: str = "none") -> NDArray:
    """x Phi(x), or its tanh form."""
    y: NDArray
    if approximate == "tanh":
        y = 0.5 * x * (1 + np.tanh(ROOT_TWO_OVER_PI * (x + 0.044715 * x * x * x)))
    else:
        y = 0.5 * x * _of_floats(math.erfc, x * -math.sqrt(0.5))
    return y


def gelu_backward(dout: NDArray, x: NDArray, approximate: str = "none") -> NDArray:
    """dx."""
    slope: NDArray
    if approximate == "tanh":
        t = np.tanh(ROOT_TWO_OVER_PI * (x + 0.044715 * x * x * x))
        inner = ROOT_TWO_OVER_PI * (1 + 3 * 0.044715 * x * x)
        slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner
    else:
        density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        slope = 0.5 * _of_floats(math.erfc, x * -math.sqrt(0.5)) + x * density
    return dout * slope


def _sigmoid(x: NDArray) -> NDArray:
    y: NDArray = 1 / (1 + np.exp(-x))
    return y


def activate(x: NDArray, name: str) -> NDArray:
    """gelu, gelu_tanh, silu, relu or sigmoid."""
    if name.startswith("gelu"):
        return gelu(x, "tanh" if name == "gelu_tanh" else "none")
    if name == "silu":
        return np.where(x == -np.inf, -np.zeros_like(x), x * _sigmoid(x))  # its limit, where the product is NaN
    return np.maximum(x, x.dtype.type(0)) if name == "relu" else _sigmoid(x)


def activate_backward(dout: NDArray, x: NDArray, name: str) -> NDArray:
    """dx."""
    if name.startswith("gelu"):
        return gelu_backward(dout, x, "tanh" if name == "gelu_tanh" else "none")
    s = _sigmoid(x)
    slope: NDArray = s * (1 - s)
    if name == "silu":
        slope = s + x * slope
    elif name == "relu":
        slope = (x > 0).astype(x.dtype)
    return dout * slope


def swiglu(gate: NDArray, up: NDArray) -> NDArray:
    """silu(gate) up."""
    out: NDArray = activate(gate, "silu") * up
    return out


def swiglu_backward(dout: NDArray, gate: NDArray, up: NDArray) -> tuple[NDArray, NDArray]:
    """dgate, dup."""
    return activate_backward(dout * up, gate, "silu"), dout * activate(gate, "silu")


def binary(ufunc: Any, a: Any, b: Any) -> NDArray:
    """NumPy's function."""
    out: NDArray = ufunc(a, b)
    return out


def rope(x: NDArray, cos: NDArray, sin: NDArray, interleaved: bool = False, inverse: bool = False) -> NDArray:
    """Pairs turned by the angles of broadcast tables of one column a pair; the other elements as they are."""
    pairs = cos.shape[-1]
    first = slice(0, 2 * pairs, 2) if interleaved else slice(0, pairs)
    second = slice(1, 2 * pairs, 2) if interleaved else slice(pairs, 2 * pairs)
    a, b, sine = x[..., first], x[..., second], -sin if inverse else sin
    out = x.copy()
    out[..., first] = a * cos - b * sine
    out[..., second] = b * cos + a * sine
    return out
