"""Mixed precision: float32 tensors, with products and attention in 16 bits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from fastattn._dtypes import bfloat16, float16, float32

from .convert import is_float
from .node import Base, mode, wrap

if TYPE_CHECKING:
    from fastattn.ops._op import Op

P = ParamSpec("P")
R = TypeVar("R")


class autocast:
    """Within, ops on tensors choose their dtype: a context manager and a decorator.

    Products and attention cast what they get to `dtype`; losses and softmax to float32; other ops run in the widest dtype
    that they get. Casts are recorded: parameters stay in float32, and so do their gradients. float64 stays float64.

    Args:
        device_type: accepted for torch's sake; tensors are where they are.
        dtype: bfloat16 or float16. Gradients in float16 may need scaling, which is up to the caller.
        enabled: False leaves everything as it is, also within another autocast.

    Raises:
        ValueError: another dtype.

    Example:
        >>> import fastattn as fa
        >>> x, w = fa.ones(2, 3), fa.ones(3, 4, requires_grad=True)
        >>> with fa.autocast(dtype=fa.bfloat16):
        ...     y = x @ w
        >>> y.dtype, fa.cross_entropy(y, fa.tensor([0, 1])).dtype
        (dtype(bfloat16), dtype('float32'))
        >>> y.sum().backward()
        >>> w.grad.dtype
        dtype('float32')

    Source: Micikevicius et al., "Mixed Precision Training" (2018), section 3; torch.autocast's form of it.
    """

    def __init__(self, device_type: str = "cpu", dtype: Any = bfloat16, enabled: bool = True) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (bfloat16, float16):
            msg = f"autocast: dtype is {self.dtype}; expected bfloat16 or float16"
            raise ValueError(msg)
        self.enabled = bool(enabled)
        self.before: list[Any] = []

    def __enter__(self) -> None:
        self.before.append(mode.autocast)
        mode.autocast = self.dtype if self.enabled else None

    def __exit__(self, *exc: object) -> None:
        mode.autocast = self.before.pop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with autocast(dtype=self.dtype, enabled=self.enabled):
                return function(*args, **kwargs)

        return wrapper


def is_autocast_enabled() -> bool:
    """Whether this thread is within an autocast.

    Returns:
        A bool.

    Example:
        >>> import fastattn as fa
        >>> with fa.autocast():
        ...     fa.is_autocast_enabled()
        True
    """
    return mode.autocast is not None


def cast_arguments(op: Op, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of an op in the dtype that autocast wants for it."""
    floats = [a.dtype for a in arrays if a is not None and is_float(a.dtype)]
    if not floats or op.autocast == "keep" or any(d == np.float64 for d in floats):
        return arrays
    if op.autocast == "lower":
        wanted = mode.autocast
    elif op.autocast == "float32" or len(set(floats)) > 1:
        wanted = float32
    else:
        return arrays
    return tuple(a if a is None or not is_float(a.dtype) or a.dtype == wanted else _cast(a, wanted) for a in arrays)


def _cast(array: Any, dtype: Any) -> Any:
    tensor: Any = array if isinstance(array, Base) else wrap(array)
    return tensor.to(dtype)
