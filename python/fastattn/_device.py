"""Where tensors are, as torch.device says it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from . import _C


class device(str):
    """The name of a device, "cpu" or "cuda:0".

    Args:
        type: a name, or its part before the colon.
        index: the number after it.

    Example:
        >>> import fastattn as fa
        >>> fa.device("cpu").type
        'cpu'
    """

    __slots__ = ()

    def __new__(cls, type: str, index: int | None = None) -> device:
        return super().__new__(cls, type if index is None else f"{type}:{index}")

    @property
    def type(self) -> str:
        """The part before the colon."""
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        """The number after the colon, if there is one."""
        number = self.partition(":")[2]
        return int(number) if number else None


CPU = device("cpu")


def resolve(name: str, wanted: Any) -> device:
    """The device that a `device=` argument of `name` asks for, the CPU for None; raises unless there is one."""
    if wanted is None:
        return CPU
    where = device("cuda", wanted) if isinstance(wanted, int) and not isinstance(wanted, bool) else device(str(wanted))
    if where.type == "cpu":
        return CPU
    number = where.partition(":")[2]
    if where.type != "cuda" or not (number.removeprefix("-").isdecimal() or where == "cuda"):
        msg = f"{name}: there is no device {str(wanted)!r}; expected 'cpu', 'cuda' or 'cuda:0'"
        raise ValueError(msg)
    why = _C.cuda_unavailable()
    count = _C.cuda_device_count()
    if why is None and not 0 <= (where.index or 0) < count:
        why = f"there are {count}, counted from 0"
    if why is not None:
        msg = f"{name}: there is no device {str(wanted)!r}: {why}"
        raise ValueError(msg)
    return device("cuda", where.index or 0)


def named(name: str, argument: Any) -> device | None:
    """The device that an argument of `to` names, None where it is a dtype; raises for a text that is neither."""
    if isinstance(argument, str):
        if argument.partition(":")[0] not in ("cpu", "cuda"):
            try:
                np.dtype(argument)
            except TypeError:
                return resolve(name, argument)  # which says what devices there are
            return None
    elif not isinstance(argument, int) or isinstance(argument, bool):
        return None
    return resolve(name, argument)


def where_is(array: Any) -> device:
    """The device of an ndarray, or of a CuPy array."""
    return CPU if type(array) is ndarray else device("cuda", array.device.id)


def is_cupy(array: Any) -> bool:
    """Whether an argument of any type is an array of CuPy."""
    return type(array).__module__.partition(".")[0] == "cupy"


def write(target: Any, source: Any) -> None:
    """Writes an array to one of the same shape, cast, and moved to where that is."""
    target[...] = move(source, where_is(target))


def place(array: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Address, shape and strides, equal for views of one memory that are the same."""
    return (array.ctypes.data if type(array) is ndarray else array.data.ptr, array.shape, array.strides)


def move(array: Any, where: device) -> Any:
    """The array on a device: itself where it is there, else a copy."""
    if where_is(array) == where:
        return array
    if where == CPU:
        return array.get()
    from .interop import cupy

    return cupy.upload(array, where.index or 0)
