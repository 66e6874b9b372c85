"""Sums, differences, products, quotients and extremes, element by element: what the operators of a Tensor run on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from fastattn import _C

from ._native import is_array, new, preferred

# By NumPy's functions of the same meaning, their codes (csrc/ops/binary.h).
FUNCTIONS: dict[Any, int] = {
    np.add: 0,
    np.subtract: 1,
    np.multiply: 2,
    np.true_divide: 3,
    np.maximum: 4,
    np.minimum: 5,
}


def binary(ufunc: Any, x: Any, y: Any, out: Any = None) -> Any:
    """ufunc(x, y) of arrays of one dtype, or of one and a number: on all threads where that is faster than NumPy.

    The bits are NumPy's for float32 and float64. 16-bit floats are computed in float32 and rounded once; a number beside
    them is not rounded to 16 bits first, as NumPy does, and torch only where it adds on the CPU.

    Args:
        ufunc: one of FUNCTIONS.
        x: an array, or a Python number.
        y: likewise, not both numbers; arrays broadcast.
        out: where to write, of the result's shape and dtype; may be `x`.

    Raises:
        ValueError: shapes that do not broadcast.
    """
    x_is_array, y_is_array = is_array(x), is_array(y)
    both = x_is_array and y_is_array
    like = y if not x_is_array or (both and y.size > x.size) else x
    if not preferred(like) or (both and x.dtype != y.dtype) or (out is not None and not _apart(out, x, y)):
        return ufunc(x, y, out=out)
    shape, scalar, a, b = like.shape, 0.0, x, y
    # An array without axes is a number too; but not on a GPU, which would have to be waited for.
    if not y_is_array or (both and y.ndim == 0 and type(y) is ndarray):
        scalar, b = float(y), None
    elif not x_is_array or (x.ndim == 0 and type(x) is ndarray):
        scalar, a = float(x), None
    elif x.shape != y.shape:
        shape = np.broadcast_shapes(x.shape, y.shape)
    if out is None:
        out = new(shape, like)
    _C.binary(a, b, out, scalar, FUNCTIONS[ufunc])
    return out


def _apart(out: Any, x: Any, y: Any) -> bool:
    """Whether `out`, which may be `x`, overlaps nothing else."""
    may_share = (np if type(out) is ndarray else out.__array_namespace__()).may_share_memory
    return (out is x or not is_array(x) or not may_share(out, x)) and not (is_array(y) and may_share(out, y))
