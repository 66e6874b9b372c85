"""Odds and ends of Keras's utils."""

from __future__ import annotations

from .._lookup import (
    custom_object_scope,
    get_custom_objects,
    get_registered_object,
    register_keras_serializable,
)
from .._lookup import registered_name as get_registered_name
from ..engine.data import unpack_x_y_sample_weight
from ..progress import Progbar
from .arrays import PyDataset, normalize, pad_sequences, set_random_seed, to_categorical
from .plot import plot_model

CustomObjectScope = custom_object_scope
Sequence = PyDataset

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "PyDataset",
    "Sequence",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "normalize",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "set_random_seed",
    "to_categorical",
    "unpack_x_y_sample_weight",
]
