"""When arithmetic on an ndarray goes to a kernel, and when it stays with NumPy."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy import ndarray

HALVES = frozenset({np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)})
FLOATS = frozenset({np.dtype(np.float32), np.dtype(np.float64), *HALVES})
LEAST = 1 << 18  # bytes from which threads pay, against NumPy's one
MAX_DIMS = 8  # of csrc/ops/types.h


def preferred(x: ndarray[Any, Any], least: int = LEAST) -> bool:
    """Whether a kernel does better than NumPy on `x`: for 16-bit floats always (NumPy goes element by element, and sums
    them in 16 bits), for others from `least` bytes on, where threads pay."""
    dtype = x.dtype
    if x.nbytes < least and (dtype.itemsize != 2 or dtype not in HALVES):
        return False
    return dtype in FLOATS and x.ndim <= MAX_DIMS and x.flags.aligned
