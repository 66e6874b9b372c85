"""Models, layers and configs, out of files and into them."""

from ._lookup import (
    custom_object_scope,
    get_custom_objects,
    get_registered_object,
    register_keras_serializable,
    registered_name,
)
from .engine.saving import deserialize_object as deserialize_keras_object
from .engine.saving import load_model, save_model
from .engine.saving import serialize_object as serialize_keras_object

CustomObjectScope = custom_object_scope
get_registered_name = registered_name

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "register_keras_serializable",
    "save_model",
    "serialize_keras_object",
]
