"""Optimizers by name, with Keras's options and arithmetic; Adam, AdamW and SGD are fastattn.optim's fused kernels."""

from __future__ import annotations

from typing import Any

from .._lookup import Names, serialize
from . import schedules
from .methods import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, Nadam, RMSprop
from .optimizer import Optimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

_NAMES = Names("optimizer", [SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, Nadam, Lion])


def get(identifier: Any) -> Any:
    """The optimizer of a name, a config, a class or an object; None is None."""
    return None if identifier is None else _NAMES.get(identifier)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The optimizer that `serialize` described."""
    return _NAMES.get(config, custom_objects)
