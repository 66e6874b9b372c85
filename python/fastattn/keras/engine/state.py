"""The counters of automatic names."""

from __future__ import annotations

import re
from collections import defaultdict

_names: defaultdict[str, int] = defaultdict(int)


def clear_session(free_memory: bool = True) -> None:
    """Starts the numbers of automatic names again.

    Args:
        free_memory: accepted for Keras's sake; models are freed when nothing holds them.

    Example:
        >>> from fastattn import keras
        >>> keras.backend.clear_session()
        >>> keras.layers.Dense(1).name, keras.layers.Dense(1).name
        ('dense', 'dense_1')
    """
    _names.clear()


def snake_case(name: str) -> str:
    """A class's name as names of layers are written: Conv2D is conv2d, MaxPooling2D is max_pooling2d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def auto_name(class_name: str) -> str:
    """The next name of a class: dense, dense_1, dense_2."""
    name = snake_case(class_name)
    count = _names[name]
    _names[name] += 1
    return f"{name}_{count}" if count else name
