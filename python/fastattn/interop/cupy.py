"""CuPy: its arrays are what ops and tensors work on where data are on a GPU. Imported when the first one is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from fastattn.ops import _kinds
from fastattn.ops._native import new
from fastattn.ops.sum import sum_over

try:
    import cupy
except ImportError as error:
    msg = "arrays on a GPU are CuPy's, which is not installed: pip install 'fastattn[cuda13]'"
    raise ImportError(msg) from error


class CupyKind(_kinds.Kind):
    """Arrays of CuPy: outputs come from its memory pool, on the device and the stream of the inputs."""

    name = "cupy"

    def empty(self, shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
        return cupy.empty(shape, dtype) if like is None else new(shape, like, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
        array = self.empty(shape, dtype, like)
        array.fill(0)
        return array

    def sum(self, array: Any, axes: tuple[int, ...]) -> Any:
        return sum_over(array, axes)

    def contiguous(self, array: Any) -> Any:
        # cupy.ascontiguousarray gives an array without axes one.
        return array if array.flags.c_contiguous else cupy.ascontiguousarray(array)

    def classes_last(self, array: Any) -> Any:
        return cupy.ascontiguousarray(cupy.moveaxis(array, 1, -1))

    def accumulator(self, dtype: Any) -> Any:
        return _kinds.NUMPY.accumulator(dtype)

    def asarray(self, array: ndarray[Any, Any], like: Any) -> Any:
        with like.device:
            return cupy.asarray(array)


CUPY = CupyKind()
_kinds.register(cupy.ndarray, CUPY)


def empty(shape: tuple[int, ...], dtype: Any, index: int) -> Any:
    """An uninitialised array on GPU number `index`."""
    with cupy.cuda.Device(index):
        return cupy.empty(shape, dtype)


def upload(array: Any, index: int) -> Any:
    """A copy of an ndarray, or of another GPU's array, on GPU number `index`."""
    with cupy.cuda.Device(index):
        return cupy.asarray(np.asarray(array, order="C") if type(array) is ndarray else array)


def memory(index: int) -> tuple[int, int]:
    """The bytes of CuPy's pool on GPU number `index` that are handed out, and that it holds."""
    with cupy.cuda.Device(index):
        pool = cupy.get_default_memory_pool()
        return int(pool.used_bytes()), int(pool.total_bytes())


def free_memory() -> None:
    """Gives back what CuPy's pool keeps for reuse."""
    cupy.get_default_memory_pool().free_all_blocks()
