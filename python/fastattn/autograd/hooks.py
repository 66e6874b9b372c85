"""Handles of registered functions: what every register_*_hook returns."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

Hook = Callable[..., Any]
Hooks = OrderedDict[int, Hook]

_ids = itertools.count()


class RemovableHandle:
    """What register_*_hook returns: `remove()` takes the hook away again; so does leaving it as a context."""

    def __init__(self, *tables: OrderedDict[int, Any]) -> None:
        self.id = next(_ids)
        self._tables = tables

    def remove(self) -> None:
        """Takes the hook away; a second time does nothing."""
        for table in self._tables:
            table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def add_hook(table: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> RemovableHandle:
    """Puts a hook at the end of a table, or before the others."""
    handle = RemovableHandle(table)
    table[handle.id] = hook
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle
