"""Functions that make tensors, with torch's names and defaults (floats are float32)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn._device import move, resolve

from .convert import FLOAT32, as_data
from .node import Array, Base, empty_on
from .shape import ints
from .tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


def _dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype asked for, float32 by default."""
    return FLOAT32 if dtype is None else np.dtype(dtype)


def _at(name: str, device: Any, array: Array) -> Array:
    """An array made on the host, on the device asked for."""
    return move(array, resolve(name, device))


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of a copy of `data`.

    Args:
        data: a number, nested lists, an array or a tensor. Python floats become float32, integers int64.
        dtype: the dtype, by default that of `data`.
        device: where it is made, the CPU by default.
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
    there = array if device is None else _at("tensor", device, array)
    return Tensor(array.copy() if shared and there is array else there, requires_grad)


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
        device: where it is made, the CPU by default.

    Returns:
        A tensor.

    Example:
        >>> import fastattn as fa
        >>> x = fa.ones(2)
        >>> fa.as_tensor(x) is x
        True
    """
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    array = as_data(data, dtype)
    return Tensor(array if device is None else _at("as_tensor", device, array))


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever its memory held.

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: the dtype, float32 by default.
        device: where it is made, the CPU by default.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.empty(2, 3).shape
        (2, 3)
    """
    return Tensor(empty_on(resolve("empty", device), ints(size), _dtype(dtype)), requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: the dtype, float32 by default.
        device: where it is made, the CPU by default.
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
        device: where it is made, the CPU by default.
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
        device: where it is made, the CPU by default.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.full((2,), 7)
        tensor([7, 7])
    """
    wanted = _dtype(as_data(fill_value).dtype if dtype is None else dtype)
    array = empty_on(resolve("full", device), tuple(size), wanted)
    array.fill(fill_value)
    return Tensor(array, requires_grad)


def _like(input: Any, device: Any) -> Any:
    """The device asked for, or that of `input`."""
    return input.device if device is None and isinstance(input, Base) else device


def empty_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of the shape and dtype of another, not filled.

    Args:
        input: a tensor or array.
        dtype: another dtype.
        device: where it is made, by default where `input` is.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.empty_like(fa.ones(2, 3)).shape
        (2, 3)
    """
    return empty(input.shape, dtype=dtype or input.dtype, device=_like(input, device), requires_grad=requires_grad)


def zeros_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of another tensor.

    Args:
        input: a tensor or array.
        dtype: another dtype.
        device: where it is made, the CPU by default.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.zeros_like(fa.arange(2))
        tensor([0, 0])
    """
    return full(input.shape, 0, dtype=dtype or input.dtype, device=_like(input, device), requires_grad=requires_grad)


def ones_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of another tensor.

    Args:
        input: a tensor or array.
        dtype: another dtype.
        device: where it is made, the CPU by default.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.ones_like(fa.zeros(2))
        tensor([1., 1.])
    """
    return full(input.shape, 1, dtype=dtype or input.dtype, device=_like(input, device), requires_grad=requires_grad)


def full_like(
    input: Any, fill_value: float, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One number in the shape and dtype of another tensor.

    Args:
        input: a tensor or array.
        fill_value: the number.
        dtype: another dtype.
        device: where it is made, the CPU by default.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.full_like(fa.zeros(2), 3.0)
        tensor([3., 3.])
    """
    return full(
        input.shape, fill_value, dtype=dtype or input.dtype, device=_like(input, device), requires_grad=requires_grad
    )


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
        device: where it is made, the CPU by default.
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
    return Tensor(_at("arange", device, np.arange(start, end, step, dtype=dtype)), requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Numbers at equal distances, both ends included.

    Args:
        start: the first number.
        end: the last number.
        steps: how many.
        dtype: the dtype, float32 by default.
        device: where it is made, the CPU by default.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf of one axis.

    Example:
        >>> import fastattn as fa
        >>> fa.linspace(0, 1, 3)
        tensor([0. , 0.5, 1. ])
    """
    return Tensor(_at("linspace", device, np.linspace(start, end, steps, dtype=_dtype(dtype))), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere.

    Args:
        n: rows.
        m: columns, `n` by default.
        dtype: the dtype, float32 by default.
        device: where it is made, the CPU by default.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf (n, m).

    Example:
        >>> import fastattn as fa
        >>> fa.eye(2)
        tensor([[1., 0.],
                [0., 1.]])
    """
    return Tensor(_at("eye", device, np.eye(n, m, dtype=_dtype(dtype))), requires_grad)


def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Powers of `base` whose exponents lie at equal distances, both ends included."""
    return Tensor(_at("logspace", device, np.logspace(start, end, steps, base=base, dtype=_dtype(dtype))))


def scalar_tensor(value: float, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor without axes; float32 by default."""
    return full((), value, dtype=_dtype(dtype), device=device)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = np.int64, device: Any = None) -> Tensor:
    """Rows and columns, (2, n), of the elements on and below a diagonal of a matrix."""
    return Tensor(_at("tril_indices", device, np.stack(np.tril_indices(row, offset, col)).astype(_dtype(dtype))))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = np.int64, device: Any = None) -> Tensor:
    """Rows and columns, (2, n), of the elements on and above a diagonal of a matrix."""
    return Tensor(_at("triu_indices", device, np.stack(np.triu_indices(row, offset, col)).astype(_dtype(dtype))))


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor that shares the memory of an array of any library that speaks DLPack."""
    return Tensor(np.from_dlpack(ext_tensor))


def is_tensor(obj: Any) -> bool:
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


def get_default_dtype() -> np.dtype[Any]:
    """The dtype of Python's floats as tensors: float32."""
    return FLOAT32
