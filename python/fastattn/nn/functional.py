"""The layers as functions, with torch.nn.functional's names and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastattn import ops
from fastattn.autograd.node import Base
from fastattn.autograd.tensor import Tensor
from fastattn.ops import scaled_dot_product_attention

__all__ = [
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "layer_norm",
    "linear",
    "log_softmax",
    "relu",
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
    """
    return ops.matmul(  # type: ignore[no-any-return]
        input, weight, transpose_b=True, bias=bias, activation=activation, residual=residual
    )


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Tensor:
    """Softmax along an axis, the last by default; see `fa.softmax`."""
    return ops.softmax(input if dtype is None else input.to(dtype), axis, dim=dim)  # type: ignore[no-any-return]


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Tensor:
    """Logarithm of the softmax along an axis, the last by default; see `fa.log_softmax`."""
    return ops.log_softmax(input if dtype is None else input.to(dtype), axis, dim=dim)  # type: ignore[no-any-return]


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """GELU; see `fa.gelu`."""
    return ops.gelu(input, approximate)  # type: ignore[no-any-return]


def relu(input: Tensor) -> Tensor:
    """max(x, 0)."""
    return input.relu()


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return input.tanh()


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalisation of the last axes; see `fa.layer_norm`."""
    return ops.layer_norm(input, normalized_shape, weight, bias, eps)  # type: ignore[no-any-return]


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Drops elements with probability p in training, and is nothing otherwise; see `fa.dropout`."""
    if not 0.0 <= p <= 1.0:
        msg = f"dropout: p is {p!r}; expected a probability, 0 to 1"
        raise ValueError(msg)
    return ops.dropout(input, p) if training and p > 0 else input  # type: ignore[no-any-return]


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of a table; see `fa.embedding`."""
    return ops.embedding(input, weight, padding_idx)  # type: ignore[no-any-return]


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of logits against class ids; see `fa.cross_entropy`.

    Raises:
        NotImplementedError: `weight`, `label_smoothing`, or a target of probabilities.
    """
    if weight is not None or label_smoothing:
        msg = "cross_entropy: weight and label_smoothing are not supported; leave them out"
        raise NotImplementedError(msg)
    if isinstance(target, Base) and target._data.dtype.kind == "f":
        msg = "cross_entropy: a target of probabilities is not supported; pass class ids (int64)"
        raise NotImplementedError(msg)
    return ops.cross_entropy(input, target, ignore_index=ignore_index, reduction=reduction)  # type: ignore[no-any-return]
