"""What holds for all of Keras here: the dtype of new weights, and the small number that divisions and logarithms avoid."""

from __future__ import annotations

import numpy as np

__all__ = ["epsilon", "floatx", "image_data_format", "set_epsilon", "set_floatx"]

_floatx = "float32"
_epsilon = 1e-7


def floatx() -> str:
    """The dtype of new weights, "float32" at first."""
    return _floatx


def set_floatx(value: str) -> None:
    """Sets the dtype of new weights: "float32", "float64", "bfloat16" or "float16"."""
    global _floatx
    if value not in ("float16", "bfloat16", "float32", "float64"):
        msg = f"set_floatx: value is {value!r}; expected 'float32', 'float64', 'bfloat16' or 'float16'"
        raise ValueError(msg)
    _floatx = value


def epsilon() -> float:
    """The number that probabilities are kept from 0 and 1 by, 1e-7 at first."""
    return _epsilon


def set_epsilon(value: float) -> None:
    """Sets that number."""
    global _epsilon
    _epsilon = float(value)


def image_data_format() -> str:
    """Where the channels of images are: "channels_last"."""
    return "channels_last"


def dtype_of(dtype: object = None) -> np.dtype:
    """A dtype, `floatx` for None."""
    return np.dtype(_floatx if dtype is None else dtype)  # type: ignore[call-overload,no-any-return]
