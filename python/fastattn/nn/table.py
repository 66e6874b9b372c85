"""What a module has by name."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any


class Table(dict[str, Any]):
    """The parameters, buffers or modules of a module, in order.

    Each is an attribute in the module's `__dict__` too: a model looks up hundreds of them a call, and behind a large
    product nothing that a look-up needs is still in the caches. An attribute of another kind keeps its name.
    """

    __slots__ = ("_owner",)

    def __init__(self, owner: Any, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self._owner = weakref.ref(owner)  # a cycle would keep a model's memory until it is looked for
        self.update(items)

    def _attributes(self, name: str) -> dict[str, Any] | None:
        """Where the attribute of that name stands, or may; None where the name is taken."""
        owner = self._owner()
        if owner is None or hasattr(type(owner), name):
            return None
        attributes: dict[str, Any] = owner.__dict__
        return attributes if name not in attributes or attributes[name] is self.get(name) else None

    def __setitem__(self, name: str, value: Any) -> None:
        attributes = self._attributes(name)
        super().__setitem__(name, value)
        if attributes is not None:
            attributes[name] = value

    def __delitem__(self, name: str) -> None:
        attributes = self._attributes(name)
        super().__delitem__(name)
        if attributes is not None:
            attributes.pop(name, None)

    def __ior__(self, other: Any) -> Table:  # type: ignore[override,misc]
        self.update(other)
        return self

    def pop(self, name: str, *default: Any) -> Any:
        if default and name not in self:
            return default[0]
        value = self[name]
        del self[name]
        return value

    # Through those above.
    clear = MutableMapping.clear
    popitem = MutableMapping.popitem
    setdefault = MutableMapping.setdefault
    update = MutableMapping.update

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # the module that is copied or read makes tables of them
