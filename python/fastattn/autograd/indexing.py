"""Reading and writing parts of a tensor: integers, slices, None, ..., integer arrays and masks, as NumPy has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from . import arithmetic
from .node import Array, Base, Node, array_module, kind_of, mode, record, wrap, wrap_view

if TYPE_CHECKING:
    from .tensor import Tensor


def _index(index: Any) -> tuple[Any, bool]:
    """An index as the array takes it, and whether it selects a view (integers and slices only)."""
    parts = index if isinstance(index, tuple) else (index,)
    basic = True
    found = []
    for part in parts:
        if isinstance(part, Base):
            part = part._data
        if isinstance(part, (ndarray, list)) or hasattr(part, "__array_namespace__"):
            if isinstance(part, list):
                part = np.asarray([p._data if isinstance(p, Base) else p for p in part])
                part = part.astype(np.intp) if part.size == 0 else part
            if part.ndim == 0 and part.dtype.kind in "iu":
                part = int(part)
            else:
                basic = False
        elif isinstance(part, bool):
            basic = False
        found.append(part)
    return tuple(found), basic


def _repeats(index: tuple[Any, ...]) -> bool:
    """Whether an index may name an element twice: then its gradient has to be added up."""
    arrays = [part for part in index if hasattr(part, "dtype") and part.dtype.kind != "b"]
    if not arrays:
        return False  # masks
    if len(arrays) == 1:
        values = array_module(arrays[0]).unique(arrays[0])
        # -1 and the last row are the same row
        return bool(values.size != arrays[0].size or (values.size and values.min() < 0 <= values.max()))
    return True


def _getitem_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    shape, index, basic = node.saved
    dx = kind_of(dout).zeros(shape, dout.dtype, dout)
    if basic or not _repeats(index):
        dx[index] = dout
    else:
        array_module(dout).add.at(dx, index, dout)
    return (dx,)


def getitem(a: Base, index: Any) -> Tensor:
    key, basic = _index(index)
    x = a._data
    out = x[key]
    result = wrap_view(x[(..., *key)] if out.ndim == 0 and Ellipsis not in key else out, a) if basic else wrap(out)
    return record("getitem", result, (a,), _getitem_backward, (x.shape, key, basic))


def _setitem_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    index, shape = node.saved
    to_old, to_value = node.edges
    dvalue = None
    if to_value is not None:
        part = np.asarray(dout[index]) if type(dout) is ndarray else dout[index]
        dvalue = arithmetic.sum_to(part, shape) if part.ndim >= len(shape) else part.reshape(shape)
    if to_old is None:
        return None, dvalue
    dold = dout.copy()
    dold[index] = 0
    return dold, dvalue


def setitem(a: Tensor, index: Any, value: Any) -> None:
    a._allow_inplace("setitem")
    key, _ = _index(index)
    source = value._data if isinstance(value, Base) else value
    tracked = a._requires_grad or (isinstance(value, Base) and value._requires_grad)
    if not (mode.enabled and tracked):
        a._data[key] = source
        a._version[0] += 1
        return
    data = a._data.copy()
    data[key] = source
    inputs = (a, value if isinstance(value, Base) else None)
    out = record("setitem", wrap(data), inputs, _setitem_backward, (key, getattr(source, "shape", ())))
    a._become("setitem", out)
