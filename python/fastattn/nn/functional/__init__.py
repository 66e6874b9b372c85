"""The layers as functions, with torch.nn.functional's names and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastattn import ops
from fastattn._missing import missing
from fastattn.autograd.tensor import Tensor
from fastattn.ops import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    batch_norm,
    max_pool1d,
    max_pool2d,
    scaled_dot_product_attention,
)

from . import activation, convolution, loss, vector
from .activation import *  # noqa: F403
from .convolution import *  # noqa: F403
from .loss import *  # noqa: F403
from .vector import *  # noqa: F403

__all__ = [
    *activation.__all__,
    *convolution.__all__,
    *loss.__all__,
    *vector.__all__,
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "embedding",
    "gelu",
    "layer_norm",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "relu",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "softmax",
    "tanh",
]


def linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    r"""A dense layer, with an activation and a residual fused into the product.

    .. math:: y = \mathrm{activation}(x W^T + b) + \mathrm{residual}

    Args:
        input: (..., in_features).
        weight: (out_features, in_features), the dtype of `input`.
        bias: (out_features,).
        activation: None, "gelu" or "gelu_tanh".
        residual: (..., out_features), added last.

    Returns:
        (..., out_features).

    Raises:
        ValueError: shapes that do not fit.
        TypeError: mixed dtypes.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.linear(fa.ones(1, 2), fa.ones(3, 2))
        tensor([[2., 2., 2.]])

    Source: torch.nn.functional.linear's form of it.
    """
    return ops.matmul(  # type: ignore[no-any-return]
        input, weight, transpose_b=True, bias=bias, activation=activation, residual=residual
    )


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Tensor:
    """Softmax along an axis; see `fa.softmax`.

    Args:
        input: any shape, any floating dtype.
        dim: the axis, the last by default.
        dtype: cast to this first.
        axis: the same as `dim`.

    Returns:
        A tensor of the shape of `input`.

    Raises:
        ValueError: `dim` out of range.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.softmax(fa.zeros(2), dim=0)
        tensor([0.5, 0.5])
    """
    return ops.softmax(input if dtype is None else input.to(dtype), axis, dim=dim)  # type: ignore[no-any-return]


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Tensor:
    """Logarithm of the softmax along an axis; see `fa.log_softmax`.

    Args:
        input: any shape, any floating dtype.
        dim: the axis, the last by default.
        dtype: cast to this first.
        axis: the same as `dim`.

    Returns:
        A tensor of the shape of `input`.

    Raises:
        ValueError: `dim` out of range.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.log_softmax(fa.zeros(1), dim=0)
        tensor([0.])
    """
    return ops.log_softmax(input if dtype is None else input.to(dtype), axis, dim=dim)  # type: ignore[no-any-return]


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x); see `fa.gelu`.

    Args:
        input: any shape, any floating dtype.
        approximate: "none", or "tanh" for the form with tanh.

    Returns:
        A tensor of the shape of `input`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.gelu(fa.zeros(2))
        tensor([0., 0.])
    """
    return ops.gelu(input, approximate)  # type: ignore[no-any-return]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0).

    Args:
        input: any shape.
        inplace: accepted for torch's sake; the result is always a new tensor.

    Returns:
        A tensor of the shape of `input`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.relu(fa.tensor([-1.0, 1.0]))
        tensor([0., 1.])
    """
    return input.relu()


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)).

    Args:
        input: any shape.

    Returns:
        A tensor of the shape of `input`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.sigmoid(fa.zeros(1))
        tensor([0.5])
    """
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent; see `fa.tanh`.

    Args:
        input: any shape, any floating dtype.

    Returns:
        A tensor of the shape of `input`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.tanh(fa.zeros(1))
        tensor([0.])
    """
    return input.tanh()


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalisation of the last axes; see `fa.layer_norm`.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the last axes.
        weight: normalized_shape, or None for 1.
        bias: normalized_shape, or None for 0.
        eps: added to the variance.

    Returns:
        A tensor of the shape of `input`.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.layer_norm(fa.tensor([[1.0, 3.0]]), 2, eps=0.0)
        tensor([[-1.,  1.]])
    """
    return ops.layer_norm(  # type: ignore[no-any-return]
        _in_order(input, normalized_shape), normalized_shape, weight, bias, eps
    )


def rms_norm(
    input: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Root mean square normalisation of the last axes; see `fa.rms_norm`.

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the last axes.
        weight: normalized_shape, or None for 1.
        eps: added to the mean square; None is the epsilon of the dtype computed in.

    Returns:
        A tensor of the shape of `input`.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.rms_norm(fa.tensor([[2.0, -2.0]]), 2, eps=0.0)
        tensor([[ 1., -1.]])
    """
    return ops.rms_norm(  # type: ignore[no-any-return]
        _in_order(input, normalized_shape), normalized_shape, weight, eps
    )


def _in_order(x: Tensor, normalized_shape: int | Sequence[int]) -> Tensor:
    """`x`, or a copy where the elements of the last axes do not lie one after the other: a permuted view, which torch
    takes, and copies too."""
    if x._data.flags.c_contiguous:
        return x
    axes = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
    step = x.itemsize
    for length, stride in zip(x.shape[: -axes - 1 : -1], x._data.strides[: -axes - 1 : -1], strict=True):
        if length != 1 and stride != step:
            return x.contiguous()
        step *= length
    return x


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drops elements with probability p in training, and does nothing otherwise; see `fa.dropout`.

    Args:
        input: any shape, any floating dtype.
        p: the probability.
        training: whether to drop at all.
        inplace: accepted for torch's sake; the result is always a new tensor.

    Returns:
        A tensor of the shape of `input`; `input` itself where nothing is dropped.

    Raises:
        ValueError: `p` outside 0 to 1.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.dropout(fa.ones(2), training=False)
        tensor([1., 1.])
    """
    if not 0.0 <= p <= 1.0:
        msg = f"dropout: p is {p!r}; expected a probability, 0 to 1"
        raise ValueError(msg)
    return ops.dropout(input, p) if training and p > 0 else input


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drops whole channels of (N, C, L) or (C, L)."""
    return _channel_dropout("dropout1d", input, p, training, 1)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drops whole channels of (N, C, H, W) or (C, H, W)."""
    return _channel_dropout("dropout2d", input, p, training, 2)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drops whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    return _channel_dropout("dropout3d", input, p, training, 3)


def _channel_dropout(name: str, input: Tensor, p: float, training: bool, axes: int) -> Tensor:
    if input.ndim not in (axes + 1, axes + 2):
        msg = f"{name}: input has shape {input.shape}; expected {axes + 1} or {axes + 2} axes"
        raise ValueError(msg)
    channels = input.new_ones(*input.shape[:-axes], *[1] * axes)
    kept = dropout(channels, p, training)
    return input if kept is channels else input * kept


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of a table; see `fa.embedding`.

    Args:
        input: row numbers, int32 or int64.
        weight: (V, D).
        padding_idx: a row that gets no gradient.

    Returns:
        (*input.shape, D).

    Raises:
        IndexError: a row out of range.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.embedding(fa.tensor([1]), fa.tensor([[1.0], [2.0]]))
        tensor([[2.]])
    """
    return ops.embedding(input, weight, padding_idx)  # type: ignore[no-any-return]


__getattr__ = missing(__name__)
