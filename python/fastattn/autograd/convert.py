"""From anything to the array of a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from .node import Array, Base

FLOAT32 = np.dtype(np.float32)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is of floats, ml_dtypes' included."""
    return dtype.kind == "f" or dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def as_data(data: Any, dtype: Any = None) -> Array:
    """An array of anything: arrays as they are, numbers and lists of them as float32, int64 or bool."""
    if isinstance(data, Base):
        data = data._data
    if hasattr(data, "__array_namespace__"):
        return data if dtype is None or data.dtype == dtype else data.astype(dtype)
    if isinstance(data, (list, tuple)) and any(isinstance(part, Base) for part in data):
        data = [part._data.tolist() if isinstance(part, Base) else part for part in data]
    array = np.asarray(data)
    if dtype is None and array.dtype == np.float64 and not _of_numpy(data):
        dtype = FLOAT32
    return array if dtype is None else array.astype(dtype, copy=False)


def _of_numpy(data: Any) -> bool:
    """Whether the float64 in `data` is NumPy's own, not Python's default."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.generic, ndarray)) or hasattr(data, "__array__")
