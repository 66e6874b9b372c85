"""Layers, with Keras's names, arguments and weights."""

from fastattn.keras.engine.functional import Input, InputLayer
from fastattn.keras.engine.layer import Layer

from .core import *  # noqa: F403
