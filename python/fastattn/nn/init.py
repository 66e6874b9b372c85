"""Fills for parameters, in place, from the global random stream (`fa.manual_seed`). They return the tensor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastattn import ops
from fastattn._device import move
from fastattn._missing import missing
from fastattn.autograd.node import no_grad, wrap
from fastattn.autograd.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def _seed(generator: Any) -> int | None:
    return None if generator is None else int(generator.next_seed())


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform random numbers of [a, b).

    Args:
        tensor: any floating dtype, contiguous.
        a: the smallest.
        b: the bound.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

    Returns:
        `tensor`.

    Example:
        >>> import fastattn as fa
        >>> bool((fa.nn.init.uniform_(fa.empty(100), 1.0, 2.0) >= 1).all())
        True
    """
    ops.uniform_(tensor, a, b, seed=_seed(generator))
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal random numbers.

    Args:
        tensor: any floating dtype, contiguous.
        mean: the mean.
        std: the standard deviation.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

    Returns:
        `tensor`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.init.normal_(fa.empty(2), mean=3.0, std=0.0)
        tensor([3., 3.])
    """
    ops.normal_(tensor, mean, std, seed=_seed(generator))
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


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    r"""Uniform of +- gain * sqrt(6 / (fan_in + fan_out)).

    Args:
        tensor: (out, in, ...).
        gain: the factor.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

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
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    r"""Normal of deviation gain * sqrt(2 / (fan_in + fan_out)).

    Args:
        tensor: (out, in, ...).
        gain: the factor.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

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
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans("xavier_normal_", tensor))), generator)


def _kaiming_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        msg = f'{name}: mode is {mode!r}; expected "fan_in" or "fan_out"'
        raise ValueError(msg)
    fan = _fans(name, tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    r"""Uniform of +- gain * sqrt(3 / fan).

    Args:
        tensor: (out, in, ...).
        a: the slope of leaky_relu.
        mode: "fan_in" or "fan_out".
        nonlinearity: as for calculate_gain.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

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
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    r"""Normal of deviation gain / sqrt(fan).

    Args:
        tensor: (out, in, ...).
        a: the slope of leaky_relu.
        mode: "fan_in" or "fan_out".
        nonlinearity: as for calculate_gain.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

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
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity), generator)


@no_grad()
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """Normal random numbers within a..b; those outside are drawn again.

    Args:
        tensor: the tensor.
        mean: the mean before cutting.
        std: the standard deviation before cutting.
        a: the lowest number.
        b: the highest number.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

    Returns:
        `tensor`.

    Raises:
        ValueError: `a` is not below `b`.

    Example:
        >>> import fastattn as fa
        >>> bool((fa.nn.init.trunc_normal_(fa.empty(100), a=-1, b=1).abs() <= 1).all())
        True

    Source: Robert, "Simulation of truncated normal variables" (1995), section 2.
    """
    if not a < b:
        msg = f"trunc_normal_: a is {a} and b {b}; expected a < b"
        raise ValueError(msg)
    low, high = (a - mean) / std, (b - mean) / std
    peak = min(max(0.0, low), high)  # where the density within is largest
    # Candidates are normal, or uniform where more of those survive: far out in a tail normal ones hardly ever do.
    flat = (high - low) * math.exp(-peak * peak / 2) < math.sqrt(2 * math.pi)
    parts: list[Any] = []
    need = tensor.numel()
    while need > 0:
        n = 2 * need + 16
        if flat:
            x = ops.uniform_(np.empty(n), low, high, seed=_seed(generator))
            x = x[ops.uniform_(np.empty(n), seed=_seed(generator)) < np.exp((peak * peak - x * x) / 2)]
        else:
            x = ops.normal_(np.empty(n), seed=_seed(generator))
            x = x[(x >= low) & (x <= high)]
        parts.append(x[:need])
        need -= len(parts[-1])
    values = np.concatenate(parts) if parts else np.empty(0)
    return tensor.copy_((values * std + mean).clip(a, b).reshape(tensor.shape))


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere.

    Args:
        tensor: a matrix.

    Returns:
        `tensor`.

    Raises:
        ValueError: not 2 axes.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.init.eye_(fa.empty(2, 2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    if tensor.ndim != 2:
        msg = f"eye_: shape is {tensor.shape}; expected 2 axes"
        raise ValueError(msg)
    return tensor.copy_(np.eye(tensor.shape[0], tensor.shape[1]))


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The convolution that returns its input: 1 in the middle of kernel (i, i), 0 elsewhere.

    Args:
        tensor: (out, in, ...) of 3 to 5 axes.
        groups: the output channels are split in as many, each the identity.

    Returns:
        `tensor`.

    Raises:
        ValueError: other axes; `groups` does not divide the first.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.init.dirac_(fa.empty(1, 1, 3))
        tensor([[[0., 1., 0.]]])
    """
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        msg = f"dirac_: shape is {tensor.shape} and groups {groups}; expected 3 to 5 axes, groups dividing the first"
        raise ValueError(msg)
    values = np.zeros(tensor.shape)
    per_group = tensor.shape[0] // groups
    for i in range(min(per_group, tensor.shape[1])):
        middle: Any = (slice(i, None, per_group), i, *[n // 2 for n in tensor.shape[2:]])
        values[middle] = 1
    return tensor.copy_(values)


@no_grad()
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """A random orthogonal matrix, times `gain`; axes after the first are taken as one.

    Args:
        tensor: at least 2 axes.
        gain: the factor.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

    Returns:
        `tensor`.

    Raises:
        ValueError: fewer than 2 axes.

    Example:
        >>> import fastattn as fa
        >>> w = fa.nn.init.orthogonal_(fa.empty(3, 3))
        >>> bool((w @ w.T).allclose(fa.eye(3), atol=1e-5))
        True

    Source: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning" (2014).
    """
    _fans("orthogonal_", tensor)
    rows = tensor.shape[0]
    columns = tensor.numel() // max(rows, 1)
    normal = ops.normal_(np.empty((max(rows, columns), min(rows, columns))), seed=_seed(generator))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.diag(r))  # of all orthogonal matrices, each as likely
    return tensor.copy_(gain * (q if rows >= columns else q.T).reshape(tensor.shape))


@no_grad()
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal random numbers, a part of each column 0.

    Args:
        tensor: a matrix.
        sparsity: the part of each column that is 0.
        std: the standard deviation of the others.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

    Returns:
        `tensor`.

    Raises:
        ValueError: not 2 axes.

    Example:
        >>> import fastattn as fa
        >>> (fa.nn.init.sparse_(fa.empty(4, 3), 0.5) == 0).sum(0)
        tensor([2, 2, 2])

    Source: Martens, "Deep learning via Hessian-free optimization" (2010), section 5.
    """
    if tensor.ndim != 2:
        msg = f"sparse_: shape is {tensor.shape}; expected 2 axes"
        raise ValueError(msg)
    normal_(tensor, 0.0, std, generator)
    zeros = math.ceil(sparsity * tensor.shape[0])
    order = np.argsort(ops.uniform_(np.empty(tensor.shape), seed=_seed(generator)), 0)
    hidden = np.zeros(tensor.shape, np.bool_)
    np.put_along_axis(hidden, order[:zeros], True, 0)
    tensor.masked_fill_(wrap(move(hidden, tensor.device)), 0)
    return tensor


__getattr__ = missing(__name__)
