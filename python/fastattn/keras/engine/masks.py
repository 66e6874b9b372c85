"""Masks that travel with tensors: bool, True where a step of a sequence counts.

A tensor has no field for one, so they lie in a table by identity; an entry goes with its tensor.
"""

from __future__ import annotations

import weakref
from typing import Any

_table: dict[int, tuple[weakref.ref[Any], Any]] = {}


def set_mask(tensor: Any, mask: Any) -> None:
    """Lets `mask` travel with `tensor`."""
    key = id(tensor)
    _table[key] = (weakref.ref(tensor, lambda _: _table.pop(key, None)), mask)


def mask_of(tensor: Any) -> Any:
    """The mask that travels with a tensor, or None."""
    if not _table:
        return None
    entry = _table.get(id(tensor))
    return entry[1] if entry is not None and entry[0]() is tensor else None
