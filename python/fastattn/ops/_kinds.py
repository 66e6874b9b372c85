"""The kinds of arrays that ops take: one table from a type to what owns it.

A kind allocates outputs, and decides whether a call is recorded for a gradient. ndarrays are here; `fastattn.Tensor` and
torch register themselves (torch's entry is imported when the first torch tensor is seen).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from fastattn import _C
from fastattn._runtime import mode

from .sum import sum_over

if TYPE_CHECKING:
    from ._op import Array, Op

FLOAT64 = np.dtype(np.float64)
FLOAT32 = np.dtype(np.float32)


class Kind:
    """What owns arrays of a type: how to allocate them and run an op on them."""

    name: str
    index: Any = np.dtype(np.int64)  # the dtype of what counts, in this kind's own terms
    byte: Any = np.dtype(np.uint8)

    def empty(self, shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
        """An uninitialised array, `dtype` in this kind's own terms, on the device of `like`."""
        raise TypeError(self.name)

    def zeros(self, shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
        raise TypeError(self.name)

    def accumulator(self, dtype: Any) -> Any:
        """The dtype of statistics (lse, mean, rstd) for data of `dtype`: float64 for float64, else float32."""
        raise TypeError(self.name)

    def sum_to(self, array: Array, shape: tuple[int, ...]) -> Array:
        """The gradient of a broadcast: sums `array` over the axes that broadcasting `shape` to it has repeated."""
        extra = array.ndim - len(shape)
        axes = (*range(extra), *(i + extra for i, n in enumerate(shape) if n == 1 and array.shape[i + extra] != 1))
        return (self.sum(array, axes) if axes else array).reshape(shape)

    def sum(self, array: Array, axes: tuple[int, ...]) -> Array:
        return array.sum(axes)

    def contiguous(self, array: Array) -> Array:
        """`array`, or a row-major copy of the same shape: gradients come as broadcast views too."""
        raise TypeError(self.name)

    def classes_last(self, array: Array) -> Array:
        """(N, C, d1, ...) as a contiguous (N, d1, ..., C)."""
        raise TypeError(self.name)

    def asarray(self, array: ndarray[Any, Any], like: Array) -> Array:
        """A mask or an index made in NumPy, as it goes with `like`."""
        return array

    def raw(self, array: Array) -> Array:
        """What `_C` reads for `array`."""
        return array

    def mutated(self, array: Array) -> None:
        """Takes note that an op has written to `array` in place."""

    def run(self, op: Op, arrays: tuple[Array, ...], attrs: tuple[Any, ...], out: Array | None) -> Any:
        outs = self.allocate(op, arrays, attrs, out, saving=False)
        op.forward(arrays, attrs, outs)
        n = op.public(attrs)
        return outs[0] if n == 1 else outs[:n]

    def allocate(
        self, op: Op, arrays: tuple[Array, ...], attrs: tuple[Any, ...], out: Array | None, *, saving: bool
    ) -> tuple[Array | None, ...]:
        """The outputs of `op`, the first of them `out` where that is given."""
        try:
            specs = op.outputs(self, arrays, attrs, saving)
        except AttributeError:  # None has no shape
            for name, array in zip(op.arrays[: op.required], arrays, strict=False):
                if array is None:
                    msg = f"{op.name}: {name} is None; expected an array"
                    raise TypeError(msg) from None
            raise
        like = arrays[0]
        outs: list[Array | None] = []
        for spec in specs:  # neither a generator nor a comprehension: they cost as much as the allocation
            if spec is None:
                outs.append(None)
            elif out is None:
                outs.append(self.empty(spec[0], spec[1], like))
            else:
                outs.append(out)
                out = None
        return tuple(outs)


class NumpyKind(Kind):
    name = "numpy"
    empty = staticmethod(_C.empty)

    def zeros(self, shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
        array = _C.empty(shape, dtype)
        array.fill(0)
        return array

    def sum(self, array: Array, axes: tuple[int, ...]) -> Array:
        return sum_over(array, axes)

    def contiguous(self, array: Array) -> Array:
        return np.asarray(array, order="C")

    def classes_last(self, array: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(array, 1, -1))

    def accumulator(self, dtype: Any) -> Any:
        return FLOAT64 if dtype == FLOAT64 else FLOAT32


class ForeignKind(NumpyKind):
    """Arrays of an unknown producer of DLPack: read in place; the result is an ndarray."""

    name = "dlpack"

    def raw(self, array: Array) -> Array:
        return np.from_dlpack(array)

    def contiguous(self, array: Array) -> Array:
        return np.asarray(np.from_dlpack(array), order="C")

    def classes_last(self, array: Array) -> Array:
        return super().classes_last(np.from_dlpack(array))

    def run(self, op: Op, arrays: tuple[Array, ...], attrs: tuple[Any, ...], out: Array | None) -> Any:
        views = tuple(np.from_dlpack(a) if a is not None and type(a) is not ndarray else a for a in arrays)
        return super().run(op, views, attrs, out)


NUMPY = NumpyKind()
FOREIGN = ForeignKind()

# The table. A type that is not here yet is found once by `_find`.
KINDS: dict[type, Kind] = {ndarray: NUMPY}
# Packages whose arrays have a door of their own: the module that registers it, imported when such an array comes.
_DOORS = {"torch": "fastattn.interop.torch", "cupy": "fastattn.interop.cupy"}


def register(array_type: type, kind: Kind) -> None:
    KINDS[array_type] = kind


def _find(array_type: type) -> Kind | None:
    for base in array_type.__mro__:
        package = base.__module__.partition(".")[0]
        if package in _DOORS:
            importlib.import_module(_DOORS[package])
        if base in KINDS:
            KINDS[array_type] = KINDS[base]
            return KINDS[base]
    if hasattr(array_type, "__dlpack__"):
        KINDS[array_type] = FOREIGN
        return FOREIGN
    return None


def kind_of(op: str, names: tuple[str, ...], arrays: tuple[Array, ...]) -> Kind:
    """The kind of the arrays of a call. ndarrays may stand beside Tensors or DLPack arrays; nothing else mixes."""
    found: Kind | None = None
    if len(arrays) == 1 and (found := KINDS.get(type(arrays[0]))) is not None:  # most calls, some of them on hot paths
        return found
    first = ""
    for name, array in zip(names, arrays, strict=True):
        if array is None:
            continue
        kind = KINDS.get(type(array)) or _find(type(array))
        if kind is None:
            msg = (
                f"{op}: {name} is a {type(array).__name__}; expected an array (NumPy, fastattn.Tensor, torch or DLPack)"
            )
            if isinstance(array, (list, tuple, int, float, np.generic)):
                msg += f". Pass numpy.asarray({name})"
            raise TypeError(msg)
        if found is None or found is kind:
            found, first = kind, first or name
        elif {found.name, kind.name} in ({"numpy", "tensor"}, {"numpy", "dlpack"}):
            found = kind if found.name == "numpy" else found
        else:
            msg = f"{op}: {first} is a {found.name} array and {name} a {kind.name} array; pass arrays of one kind"
            raise TypeError(msg)
    return found or NUMPY


def raw(op: str, name: str, array: Array | None) -> Array | None:
    """An argument of an in-place op as `_C` reads it."""
    return array if type(array) is ndarray or array is None else kind_of(op, (name,), (array,)).raw(array)


def raw_list(op: str, name: str, arrays: Sequence[Array] | None) -> list[Array] | None:
    """A list argument of an in-place op as `_C` reads it."""
    if arrays is None:
        return None
    if not isinstance(arrays, (list, tuple)):
        msg = f"{op}: {name} is a {type(arrays).__name__}; expected a list of arrays"
        raise TypeError(msg)
    return [raw(op, name, a) for a in arrays]


def host_number(arrays: Sequence[Array] | None) -> Array | None:
    """Where an op on these arrays puts a float64 that the caller is given as a number: None on the host, which needs no
    array, else one on their device."""
    if not arrays or type(arrays[0]) is ndarray or not hasattr(arrays[0], "__cuda_array_interface__"):
        return None
    return kind_of("", ("",), (arrays[0],)).empty((), FLOAT64, arrays[0])


def mutated(*lists: Sequence[Array] | None) -> None:
    """Takes note that the arrays of these lists have been written to in place: everything that an op writes to, but
    what it has allocated itself, passes here. Within explain() nothing was written."""
    if mode.explaining:
        return
    for arrays in lists:
        for a in arrays or ():
            if type(a) is not ndarray:
                KINDS[type(a)].mutated(a)
