"""What a module says of a name that it does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def missing(module: str) -> Callable[[str], Any]:
    """The module `__getattr__` of a module that follows one of torch's."""

    def __getattr__(name: str) -> NoReturn:
        msg = f"{module} has no {name!r}; what of torch is covered: docs/torch.md"
        raise AttributeError(msg, name=name)

    return __getattr__
