"""What losses and metrics share: tensors of what they get, and shapes that differ by an axis of 1."""

from __future__ import annotations

from typing import Any

import fastattn as fa
from fastattn.autograd.tensor import Tensor

from .config import epsilon


def as_float(value: Any) -> Tensor:
    """A tensor of a floating dtype: itself where it is one, else float32."""
    x: Tensor = fa.as_tensor(value)
    return x if x.is_floating_point() else x.to("float32")


def like(value: Any, other: Tensor) -> Tensor:
    """A tensor of the dtype of another, on its device."""
    return fa.as_tensor(value, device=other.device).to(other.dtype)


def same_rank(a: Any, b: Any, expand: bool = True) -> tuple[Any, Any]:
    """Arrays or tensors of which the one with a last axis of 1 too many has lost it, or, of two and one axes, the other
    has gained it; what differs otherwise stays."""
    if a.ndim < b.ndim:
        return same_rank(b, a, expand)[::-1]
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        if b.ndim == 1 and expand:
            return a, b[:, None]
        return a.reshape(a.shape[:-1]), b
    return a, b


def normalized(x: Tensor, axis: int) -> Tensor:
    """x over its norm along an axis; where that is below epsilon, over epsilon."""
    return x * x.square().sum(axis, keepdim=True).rsqrt().clamp(max=1 / epsilon())


def classification(y_true_shape: Any, y_pred_shape: Any) -> str:
    """Which of its kinds "accuracy" or "crossentropy" means: "binary", "sparse_categorical" or "categorical"."""
    if y_pred_shape[-1] == 1:
        return "binary"
    sparse = len(y_true_shape) < len(y_pred_shape) or y_true_shape[-1] == 1
    return "sparse_categorical" if sparse else "categorical"
