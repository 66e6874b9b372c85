"""Odds and ends of Keras's utils."""

from __future__ import annotations

from ._lookup import (
    custom_object_scope,
    get_custom_objects,
    get_registered_object,
    register_keras_serializable,
)
from .progress import Progbar

__all__ = [
    "Progbar",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_object",
    "register_keras_serializable",
]
