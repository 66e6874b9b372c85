"""When arithmetic on an array goes to a kernel, and when it stays with NumPy or CuPy."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy import ndarray

from fastattn import _C

HALVES = frozenset({np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)})
FLOATS = frozenset({np.dtype(np.float32), np.dtype(np.float64), *HALVES})
LEAST = 1 << 18  # bytes from which threads pay, against NumPy's one
FLOAT64 = np.dtype(np.float64)
MAX_DIMS = 8  # of csrc/ops/types.h


def preferred(x: Any, least: int = LEAST) -> bool:
    """Whether a kernel does better on `x` than the library that it is of. Than NumPy: for 16-bit floats always (NumPy goes
    element by element, and sums them in 16 bits), for others from `least` bytes on, where threads pay."""
    dtype = x.dtype
    if type(x) is not ndarray:  # CuPy's: the kernels round once, and know bfloat16; they have no float64
        return dtype in FLOATS and dtype != FLOAT64 and x.ndim <= MAX_DIMS
    if x.nbytes < least and (dtype.itemsize != 2 or dtype not in HALVES):
        return False
    return dtype in FLOATS and x.ndim <= MAX_DIMS and x.flags.aligned


def is_array(x: Any) -> bool:
    """Whether `x` is an array, of NumPy or CuPy, and not a number."""
    return type(x) is ndarray or (hasattr(x, "shape") and not isinstance(x, np.generic))


def new(shape: tuple[int, ...], like: Any, dtype: Any = None) -> Any:
    """An uninitialised array where `like` is, of its dtype or another."""
    dtype = like.dtype if dtype is None else dtype
    if type(like) is ndarray:
        return _C.empty(shape, dtype)
    with like.device:
        return like.__array_namespace__().empty(shape, dtype)
