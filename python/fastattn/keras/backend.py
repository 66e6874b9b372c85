"""What scripts ask keras.backend for: the defaults, and a fresh start."""

from .config import epsilon, floatx, image_data_format, set_epsilon, set_floatx
from .engine.state import clear_session

__all__ = ["clear_session", "epsilon", "floatx", "image_data_format", "set_epsilon", "set_floatx"]
