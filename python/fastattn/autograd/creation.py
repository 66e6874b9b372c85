"""Functions that make tensors, with torch's names and defaults (floats are float32)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn import ops
from fastattn.ops import _kinds

from .convert import FLOAT32, as_data
from .node import Base
from .tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


def _size(size: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) from f(2, 3) or f((2, 3))."""
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
    shared = isinstance(data, Base) or hasattr(data, "__array_namespace__")
    return Tensor(array.copy() if shared else array, requires_grad)


def from_numpy(array: Any) -> Tensor:
    """A tensor that shares the memory of an array.

    Args:
        array: an ndarray.

    Returns:
        A leaf; what is written to one of the two is seen in the other.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> x = np.zeros(2, np.float32)
        >>> t = fa.from_numpy(x)
        >>> x[0] = 1
        >>> t
        tensor([1., 0.])
    """
    return Tensor(array)


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """A tensor of `data` that shares its memory where that is possible.

    Args:
        data: a number, nested lists, an array or a tensor; a tensor of the right dtype is returned as it is.
        dtype: the dtype, by default that of `data`.

    Returns:
        A tensor.

    Example:
        >>> import fastattn as fa
        >>> x = fa.ones(2)
        >>> fa.as_tensor(x) is x
        True
    """
    if isinstance(data, Tensor):
        return data.to(dtype=dtype)
    return Tensor(as_data(data, dtype))


def empty(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever its memory held.

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: the dtype.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.empty(2, 3).shape
        (2, 3)
    """
    return Tensor(_kinds.NUMPY.empty(_size(size), np.dtype(dtype), None), requires_grad)


def zeros(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: the dtype.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.zeros(2, 2)
        tensor([[0., 0.],
                [0., 0.]])
    """
    return full(_size(size), 0, dtype=dtype, requires_grad=requires_grad)


def ones(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """A tensor of ones.

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: the dtype.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.ones(2)
        tensor([1., 1.])
    """
    return full(_size(size), 1, dtype=dtype, requires_grad=requires_grad)


def full(size: Sequence[int], fill_value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one number.

    Args:
        size: the lengths of the axes.
        fill_value: the number.
        dtype: the dtype, by default that of the number: float32, int64 or bool.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.full((2,), 7)
        tensor([7, 7])
    """
    array = _kinds.NUMPY.empty(tuple(size), as_data(fill_value).dtype if dtype is None else np.dtype(dtype), None)
    array.fill(fill_value)
    return Tensor(array, requires_grad)


def empty_like(input: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the shape and dtype of another, not filled.

    Args:
        input: a tensor or array.
        dtype: another dtype.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.empty_like(fa.ones(2, 3)).shape
        (2, 3)
    """
    return empty(input.shape, dtype=dtype or input.dtype, requires_grad=requires_grad)


def zeros_like(input: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of another tensor.

    Args:
        input: a tensor or array.
        dtype: another dtype.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.zeros_like(fa.arange(2))
        tensor([0, 0])
    """
    return full(input.shape, 0, dtype=dtype or input.dtype, requires_grad=requires_grad)


def ones_like(input: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of another tensor.

    Args:
        input: a tensor or array.
        dtype: another dtype.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.ones_like(fa.zeros(2))
        tensor([1., 1.])
    """
    return full(input.shape, 1, dtype=dtype or input.dtype, requires_grad=requires_grad)


def full_like(input: Any, fill_value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """One number in the shape and dtype of another tensor.

    Args:
        input: a tensor or array.
        fill_value: the number.
        dtype: another dtype.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.full_like(fa.zeros(2), 3.0)
        tensor([3., 3.])
    """
    return full(input.shape, fill_value, dtype=dtype or input.dtype, requires_grad=requires_grad)


def arange(
    start: float, end: float | None = None, step: float = 1, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """start, start + step, ... before `end`; from 0 if only one of them is given.

    Args:
        start: the first number, or the end if that is missing.
        end: the bound, not included.
        step: the distance.
        dtype: the dtype, by default int64 for integers, else float32.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf of one axis.

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
    """Numbers at equal distances, both ends included.

    Args:
        start: the first number.
        end: the last number.
        steps: how many.
        dtype: the dtype.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf of one axis.

    Example:
        >>> import fastattn as fa
        >>> fa.linspace(0, 1, 3)
        tensor([0. , 0.5, 1. ])
    """
    return Tensor(np.linspace(start, end, steps, dtype=dtype), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere.

    Args:
        n: rows.
        m: columns, `n` by default.
        dtype: the dtype.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf (n, m).

    Example:
        >>> import fastattn as fa
        >>> fa.eye(2)
        tensor([[1., 0.],
                [0., 1.]])
    """
    return Tensor(np.eye(n, m, dtype=dtype), requires_grad)


def rand(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers of [0, 1), from the global stream (`fa.manual_seed`).

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: float32 or float64.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> bool((fa.rand(100) < 1).all())
        True
    """
    return Tensor(ops.uniform_(empty(*size, dtype=dtype)._data), requires_grad)


def randn(*size: Any, dtype: Any = FLOAT32, requires_grad: bool = False) -> Tensor:
    """Normal random numbers of mean 0 and variance 1, from the global stream (`fa.manual_seed`).

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: float32 or float64.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.manual_seed(0)
        >>> fa.randn(2, 3).shape
        (2, 3)
    """
    return Tensor(ops.normal_(empty(*size, dtype=dtype)._data), requires_grad)


def rand_like(input: Any, *, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers of [0, 1) in the shape and dtype of another tensor.

    Args:
        input: a tensor or array, float32 or float64.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.rand_like(fa.ones(2, 3)).shape
        (2, 3)
    """
    return rand(input.shape, dtype=input.dtype, requires_grad=requires_grad)


def randn_like(input: Any, *, requires_grad: bool = False) -> Tensor:
    """Normal random numbers in the shape and dtype of another tensor.

    Args:
        input: a tensor or array, float32 or float64.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.randn_like(fa.ones(2, 3)).shape
        (2, 3)
    """
    return randn(input.shape, dtype=input.dtype, requires_grad=requires_grad)


def randint(low: int, high: int | None = None, size: Sequence[int] = (), *, dtype: Any = np.int64) -> Tensor:
    """Random integers, from the global stream (`fa.manual_seed`).

    Args:
        low: the smallest; or, if `high` is missing, the bound, and 0 is the smallest.
        high: the bound, not included.
        size: the lengths of the axes.
        dtype: the dtype.

    Returns:
        A leaf.

    Raises:
        ValueError: an empty range.

    Example:
        >>> import fastattn as fa
        >>> fa.randint(3, 4, (2,))
        tensor([3, 3])
    """
    if high is None:
        low, high = 0, low
    if high <= low:
        msg = f"randint: low is {low} and high {high}; expected low < high"
        raise ValueError(msg)
    uniform = ops.uniform_(empty(tuple(size), dtype=np.float64)._data)
    return Tensor((low + np.floor(uniform * (high - low))).astype(dtype))


def randperm(n: int) -> Tensor:
    """The integers of 0 to n - 1 in random order, from the global stream (`fa.manual_seed`).

    Args:
        n: how many.

    Returns:
        A leaf (n,) of int64.

    Example:
        >>> import fastattn as fa
        >>> sorted(fa.randperm(3).tolist())
        [0, 1, 2]
    """
    return Tensor(np.argsort(ops.uniform_(empty(n, dtype=np.float64)._data), kind="stable"))
