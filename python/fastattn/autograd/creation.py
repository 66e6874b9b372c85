"""Functions that make tensors, with torch's names and defaults (floats are float32)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn import ops
from fastattn.ops import _kinds

from .node import Base
from .tensor import FLOAT32, Tensor, as_data

if TYPE_CHECKING:
    from collections.abc import Sequence

Size = Any  # f(2, 3), f((2, 3))


def _size(size: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a copy of `data`.

    Args:
        data: a number, nested lists, an array or a tensor. Python floats become float32, integers int64.
        dtype: the dtype, by default that of `data`.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Raises:
        TypeError: `requires_grad` of a tensor that is not of floats.

    Example:
        >>> import fastattn as fa
        >>> fa.tensor([[1, 2], [3, 4]])
        tensor([[1, 2],
                [3, 4]])
    """
    array = as_data(data, dtype)
    return Tensor(
        array.copy() if hasattr(data, "__array_namespace__") or isinstance(data, Base) else array, requires_grad
    )


def from_numpy(array: Any) -> Tensor:
    """A tensor that shares the memory of an ndarray."""
    return Tensor(array)


as_tensor = from_numpy


def empty(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever its memory held."""
    return Tensor(_kinds.NUMPY.empty(_size(size), np.dtype(dtype), None), requires_grad)


def zeros(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Example:
        >>> import fastattn as fa
        >>> fa.zeros(2, 2)
        tensor([[0., 0.],
                [0., 0.]])
    """
    return full(_size(size), 0, dtype=dtype, requires_grad=requires_grad)


def ones(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    return full(_size(size), 1, dtype=dtype, requires_grad=requires_grad)


def full(size: Sequence[int], fill_value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one number; its dtype is the number's (float32, int64 or bool) by default."""
    array = _kinds.NUMPY.empty(tuple(size), np.dtype(dtype) if dtype is not None else as_data(fill_value).dtype, None)
    array.fill(fill_value)
    return Tensor(array, requires_grad)


def empty_like(input: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the shape and dtype of another, not filled."""
    return empty(input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad)


def zeros_like(input: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of another tensor."""
    return full(input.shape, 0, dtype=dtype or input.dtype, requires_grad=requires_grad)


def ones_like(input: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of another tensor."""
    return full(input.shape, 1, dtype=dtype or input.dtype, requires_grad=requires_grad)


def full_like(input: Any, fill_value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One number in the shape and dtype of another tensor."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype, requires_grad=requires_grad)


def arange(
    start: float, end: float | None = None, step: float = 1, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """start, start + step, ... before `end`; from 0 if only one is given. int64 for integers, else float32.

    Example:
        >>> import fastattn as fa
        >>> fa.arange(3)
        tensor([0, 1, 2])
    """
    if end is None:
        start, end = 0, start
    if dtype is None and any(isinstance(x, float) for x in (start, end, step)):
        dtype = FLOAT32
    return Tensor(np.arange(start, end, step, dtype=dtype), requires_grad)


def linspace(start: float, end: float, steps: int, *, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """`steps` numbers at equal distances from `start` to `end`, both included."""
    return Tensor(np.linspace(start, end, steps, dtype=dtype), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """The identity matrix."""
    return Tensor(np.eye(n, m, dtype=dtype), requires_grad)


def rand(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers of [0, 1), from the global stream (`fa.manual_seed`)."""
    return Tensor(ops.uniform_(empty(*size, dtype=dtype)._data), requires_grad)


def randn(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Normal random numbers of mean 0 and variance 1, from the global stream (`fa.manual_seed`).

    Example:
        >>> import fastattn as fa
        >>> fa.manual_seed(0)
        >>> fa.randn(2, 3).shape
        (2, 3)
    """
    return Tensor(ops.normal_(empty(*size, dtype=dtype)._data), requires_grad)


def rand_like(input: Any, *, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers in the shape and dtype of another tensor."""
    return rand(input.shape, dtype=input.dtype, requires_grad=requires_grad)


def randn_like(input: Any, *, requires_grad: bool = False) -> Tensor:
    """Normal random numbers in the shape and dtype of another tensor."""
    return randn(input.shape, dtype=input.dtype, requires_grad=requires_grad)


def randint(low: int, high: int | None = None, size: Sequence[int] = (), *, dtype: Any = np.int64) -> Tensor:
    """Random integers from `low` to `high` - 1 (from 0 to `low` - 1 if only one is given), from the global stream."""
    if high is None:
        low, high = 0, low
    if high <= low:
        msg = f"randint: low is {low} and high {high}; expected low < high"
        raise ValueError(msg)
    uniform = ops.uniform_(empty(tuple(size), dtype=np.float64)._data)
    return Tensor((low + np.floor(uniform * (high - low))).astype(dtype))


def randperm(n: int) -> Tensor:
    """A random order of 0 to n - 1, from the global stream."""
    return Tensor(np.argsort(ops.uniform_(empty(n, dtype=np.float64)._data), kind="stable"))
