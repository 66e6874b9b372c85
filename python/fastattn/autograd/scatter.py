"""Adding to places that may be named several times.

On the host NumPy adds one after the other. CuPy's add.at adds floats by atomics, in an order that differs from run to run;
here their places are sorted first, stably, so that a sum has the same bits every time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray

from fastattn import _C
from fastattn.ops._native import FLOAT64, FLOATS, new

from .node import Array, array_module, kind_of

Key = tuple[Any, ...]


def sum_at(shape: tuple[int, ...], key: Key, values: Array) -> Array:
    """An array of a shape whose [key] are the sums of the values that go there, and 0 elsewhere: the gradient of x[key]."""
    xp = array_module(values)
    if type(values) is ndarray or values.dtype not in FLOATS or 0 in shape or not values.size:
        out = kind_of(values).zeros(shape, values.dtype, values)
        if values.size:
            xp.add.at(out, key, values)
        return out
    lead, key = _leading(key, len(shape))
    inner = shape[lead:]
    count = math.prod(shape[:lead])
    with values.device:
        rows = xp.arange(count).reshape(shape[:lead])[key]
    table = xp.ascontiguousarray(xp.broadcast_to(values, rows.shape + inner)).reshape(rows.size, math.prod(inner))
    rows = xp.ascontiguousarray(rows).reshape(-1)
    if values.dtype == FLOAT64:
        return _by_rank(rows, table, count).reshape(shape)
    out = new((count, table.shape[1]), values)
    _C.embedding_bwd(rows, table, out, -1)
    return out.reshape(shape)


def add_at(x: Array, key: Key, values: Array) -> None:
    """x[key] += values, in place, as often as the key names a place."""
    if type(x) is ndarray or x.dtype not in FLOATS:
        array_module(x).add.at(x, key, values)
    else:
        x += sum_at(x.shape, key, values)


def _leading(key: Key, ndim: int) -> tuple[int, Key]:
    """How many axes a key picks from, and the key of those: whole axes behind them go along as they are."""
    last_is_dots = bool(key) and key[-1] is Ellipsis
    parts = list(key[:-1] if last_is_dots else key)
    if any(part is None or part is Ellipsis or _is_mask(part) for part in parts):
        return ndim, key
    while parts and isinstance(parts[-1], slice) and parts[-1] == slice(None):
        parts.pop()
    return len(parts), tuple(parts)


def _is_mask(part: Any) -> bool:
    return isinstance(part, (bool, np.bool_)) or getattr(getattr(part, "dtype", None), "kind", "") == "b"


def _by_rank(rows: Array, table: Array, count: int) -> Array:
    """The sums without a kernel, which float64 has none of there: a pass for the first value of every row, one for the
    second, and so on; in none of them a row comes twice."""
    xp = array_module(table)
    out = kind_of(table).zeros((count, table.shape[1]), table.dtype, table)
    order = xp.argsort(rows, kind="stable")
    ordered = rows[order]
    with table.device:
        rank = xp.arange(rows.size) - xp.searchsorted(ordered, ordered)
    for r in range(int(rank.max()) + 1):
        chosen = order[rank == r]
        out[rows[chosen]] += table[chosen]
    return out
