"""Keras's interface to the same layers and kernels: a script for tf.keras runs with its imports changed.

Names are imported when they are first used. docs/keras.md says what is covered.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = (
    "activations",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "saving",
    "utils",
)
# The module in which each other name is defined.
_NAMES = {
    "Initializer": "initializers",
    "Input": "layers",
    "Layer": "layers",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "models",
    "Optimizer": "optimizers",
    "Regularizer": "regularizers",
    "Sequential": "models",
}

__all__ = [*sorted((*_MODULES, *_NAMES))]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    msg = f"{__name__} has no {name!r}; what of Keras is covered: docs/keras.md"
    raise AttributeError(msg, name=name)


def __dir__() -> list[str]:
    return list(__all__)
