"""Functions that make tensors, with torch's names and defaults (floats are float32)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn._device import check_device
from fastattn.ops import _kinds

from .convert import FLOAT32, as_data
from .node import Base
from .shape import ints
from .tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


def _dtype(name: str, dtype: Any, device: Any) -> np.dtype[Any]:
    """The dtype asked for, float32 by default; the device must be ours."""
    check_device(name, device)
    return FLOAT32 if dtype is None else np.dtype(dtype)


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a copy of `data`.

    Args:
        data: a number, nested lists, an array or a tensor. Python floats become float32, integers int64.
        dtype: the dtype, by default that of `data`.
        device: only the CPU for now.
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
    check_device("tensor", device)
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


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of `data` that shares its memory where that is possible.

    Args:
        data: a number, nested lists, an array or a tensor; a tensor of the right dtype is returned as it is.
        dtype: the dtype, by default that of `data`.
        device: only the CPU for now.

    Returns:
        A tensor.

    Example:
        >>> import fastattn as fa
        >>> x = fa.ones(2)
        >>> fa.as_tensor(x) is x
        True
    """
    check_device("as_tensor", device)
    if isinstance(data, Tensor):
        return data.to(dtype=dtype)
    return Tensor(as_data(data, dtype))


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever its memory held.

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: the dtype, float32 by default.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.empty(2, 3).shape
        (2, 3)
    """
    return Tensor(_kinds.NUMPY.empty(ints(size), _dtype("empty", dtype, device), None), requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: the dtype, float32 by default.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.zeros(2, 2)
        tensor([[0., 0.],
                [0., 0.]])
    """
    return full(ints(size), 0, dtype=dtype or FLOAT32, device=device, requires_grad=requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones.

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: the dtype, float32 by default.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.ones(2)
        tensor([1., 1.])
    """
    return full(ints(size), 1, dtype=dtype or FLOAT32, device=device, requires_grad=requires_grad)


def full(
    size: Sequence[int], fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of one number.

    Args:
        size: the lengths of the axes.
        fill_value: the number.
        dtype: the dtype, by default that of the number: float32, int64 or bool.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.full((2,), 7)
        tensor([7, 7])
    """
    wanted = _dtype("full", as_data(fill_value).dtype if dtype is None else dtype, device)
    array = _kinds.NUMPY.empty(tuple(size), wanted, None)
    array.fill(fill_value)
    return Tensor(array, requires_grad)


def empty_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the shape and dtype of another, not filled.

    Args:
        input: a tensor or array.
        dtype: another dtype.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.empty_like(fa.ones(2, 3)).shape
        (2, 3)
    """
    return empty(input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def zeros_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of another tensor.

    Args:
        input: a tensor or array.
        dtype: another dtype.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.zeros_like(fa.arange(2))
        tensor([0, 0])
    """
    return full(input.shape, 0, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def ones_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of another tensor.

    Args:
        input: a tensor or array.
        dtype: another dtype.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.ones_like(fa.zeros(2))
        tensor([1., 1.])
    """
    return full(input.shape, 1, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def full_like(
    input: Any, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One number in the shape and dtype of another tensor.

    Args:
        input: a tensor or array.
        fill_value: the number.
        dtype: another dtype.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.full_like(fa.zeros(2), 3.0)
        tensor([3., 3.])
    """
    return full(input.shape, fill_value, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... before `end`; from 0 if only one of them is given.

    Args:
        start: the first number, or the end if that is missing.
        end: the bound, not included.
        step: the distance.
        dtype: the dtype, by default int64 for integers, else float32.
        device: only the CPU for now.
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
    check_device("arange", device)
    return Tensor(np.arange(start, end, step, dtype=dtype), requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Numbers at equal distances, both ends included.

    Args:
        start: the first number.
        end: the last number.
        steps: how many.
        dtype: the dtype, float32 by default.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf of one axis.

    Example:
        >>> import fastattn as fa
        >>> fa.linspace(0, 1, 3)
        tensor([0. , 0.5, 1. ])
    """
    return Tensor(np.linspace(start, end, steps, dtype=_dtype("linspace", dtype, device)), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere.

    Args:
        n: rows.
        m: columns, `n` by default.
        dtype: the dtype, float32 by default.
        device: only the CPU for now.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf (n, m).

    Example:
        >>> import fastattn as fa
        >>> fa.eye(2)
        tensor([[1., 0.],
                [0., 1.]])
    """
    return Tensor(np.eye(n, m, dtype=_dtype("eye", dtype, device)), requires_grad)


def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Powers of `base` whose exponents lie at equal distances, both ends included."""
    return Tensor(np.logspace(start, end, steps, base=base, dtype=_dtype("logspace", dtype, device)))


def scalar_tensor(value: float, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor without axes; float32 by default."""
    return full((), value, dtype=_dtype("scalar_tensor", dtype, device))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = np.int64, device: Any = None) -> Tensor:
    """Rows and columns, (2, n), of the elements on and below a diagonal of a matrix."""
    return Tensor(np.stack(np.tril_indices(row, offset, col)).astype(_dtype("tril_indices", dtype, device)))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = np.int64, device: Any = None) -> Tensor:
    """Rows and columns, (2, n), of the elements on and above a diagonal of a matrix."""
    return Tensor(np.stack(np.triu_indices(row, offset, col)).astype(_dtype("triu_indices", dtype, device)))


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor that shares the memory of an array of any library that speaks DLPack."""
    return Tensor(np.from_dlpack(ext_tensor))


def is_tensor(obj: Any) -> bool:
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


def get_default_dtype() -> np.dtype[Any]:
    """The dtype of Python's floats as tensors: float32."""
    return FLOAT32
