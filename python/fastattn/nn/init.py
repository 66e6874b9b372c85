"""Fills for parameters, in place, from the global random stream (`fa.manual_seed`). They return the tensor."""

from __future__ import annotations

import math

from fastattn import ops
from fastattn.autograd.node import no_grad
from fastattn.autograd.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform random numbers of [a, b).

    Args:
        tensor: any floating dtype, contiguous.
        a: the smallest.
        b: the bound.

    Returns:
        `tensor`.

    Example:
        >>> import fastattn as fa
        >>> bool((fa.nn.init.uniform_(fa.empty(100), 1.0, 2.0) >= 1).all())
        True
    """
    ops.uniform_(tensor, a, b)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal random numbers.

    Args:
        tensor: any floating dtype, contiguous.
        mean: the mean.
        std: the standard deviation.

    Returns:
        `tensor`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.init.normal_(fa.empty(2), mean=3.0, std=0.0)
        tensor([3., 3.])
    """
    ops.normal_(tensor, mean, std)
    return tensor


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number everywhere.

    Args:
        tensor: the tensor.
        val: the number.

    Returns:
        `tensor`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.init.constant_(fa.empty(2), 3.0)
        tensor([3., 3.])
    """
    return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros.

    Args:
        tensor: the tensor.

    Returns:
        `tensor`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.init.zeros_(fa.empty(2))
        tensor([0., 0.])
    """
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones.

    Args:
        tensor: the tensor.

    Returns:
        `tensor`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.init.ones_(fa.empty(2))
        tensor([1., 1.])
    """
    return constant_(tensor, 1.0)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a nonlinearity wants its weights scaled.

    Args:
        nonlinearity: "linear", "sigmoid", "tanh", "relu", "leaky_relu" or "selu".
        param: the slope of leaky_relu, 0.01 by default.

    Returns:
        The factor.

    Raises:
        ValueError: another name.

    Example:
        >>> import fastattn as fa
        >>> round(fa.nn.init.calculate_gain("relu"), 4)
        1.4142

    Source: He et al., "Delving deep into rectifiers" (2015), section 2.2.
    """
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in gains:
        msg = f"calculate_gain: nonlinearity is {nonlinearity!r}; expected leaky_relu, {', '.join(gains)}"
        raise ValueError(msg)
    return gains[nonlinearity]


def _fans(name: str, tensor: Tensor) -> tuple[int, int]:
    """How many inputs and outputs a weight (out, in, ...) joins."""
    if tensor.ndim < 2:
        msg = f"{name}: shape is {tensor.shape}; expected at least 2 axes (out, in, ...)"
        raise ValueError(msg)
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    r"""Uniform of +- gain * sqrt(6 / (fan_in + fan_out)).

    Args:
        tensor: (out, in, ...).
        gain: the factor.

    Returns:
        `tensor`.

    Raises:
        ValueError: fewer than 2 axes.

    Example:
        >>> import fastattn as fa
        >>> bool((fa.nn.init.xavier_uniform_(fa.empty(3, 3)).abs() <= 1).all())
        True

    Source: Glorot and Bengio, "Understanding the difficulty of training deep networks" (2010), equation 16.
    """
    bound = gain * math.sqrt(6.0 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    r"""Normal of deviation gain * sqrt(2 / (fan_in + fan_out)).

    Args:
        tensor: (out, in, ...).
        gain: the factor.

    Returns:
        `tensor`.

    Raises:
        ValueError: fewer than 2 axes.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.init.xavier_normal_(fa.empty(3, 3)).shape
        (3, 3)

    Source: Glorot and Bengio, "Understanding the difficulty of training deep networks" (2010), equation 12.
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans("xavier_normal_", tensor))))


def _kaiming_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        msg = f'{name}: mode is {mode!r}; expected "fan_in" or "fan_out"'
        raise ValueError(msg)
    fan = _fans(name, tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    r"""Uniform of +- gain * sqrt(3 / fan).

    Args:
        tensor: (out, in, ...).
        a: the slope of leaky_relu.
        mode: "fan_in" or "fan_out".
        nonlinearity: as for calculate_gain.

    Returns:
        `tensor`.

    Raises:
        ValueError: fewer than 2 axes; an unknown `mode` or `nonlinearity`.

    Example:
        >>> import fastattn as fa
        >>> bool((fa.nn.init.kaiming_uniform_(fa.empty(3, 6)).abs() <= 1).all())
        True

    Source: He et al., "Delving deep into rectifiers" (2015), equation 10.
    """
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    r"""Normal of deviation gain / sqrt(fan).

    Args:
        tensor: (out, in, ...).
        a: the slope of leaky_relu.
        mode: "fan_in" or "fan_out".
        nonlinearity: as for calculate_gain.

    Returns:
        `tensor`.

    Raises:
        ValueError: fewer than 2 axes; an unknown `mode` or `nonlinearity`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.init.kaiming_normal_(fa.empty(3, 6)).shape
        (3, 6)

    Source: He et al., "Delving deep into rectifiers" (2015), equation 10.
    """
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))
