"""Arithmetic on symbols, as layers that make themselves."""

from __future__ import annotations

import operator
from typing import Any

from fastattn.keras.engine.layer import Layer


class Operator(Layer):
    """An operator of Python's, of two symbols, or of a symbol and a number or an index.

    Args:
        operation: the operator's name in the module `operator`, "add" or "getitem".
        kwargs: see Layer.

    Raises:
        ValueError: another name.

    Example:
        >>> from fastattn import keras
        >>> x = keras.Input(shape=(3,))
        >>> (2 * x + 1).shape, x[:, 0].shape
        ((None, 3), (None,))
    """

    integers = True
    names = ("abs", "add", "getitem", "matmul", "mul", "neg", "pow", "sub", "truediv")

    def __init__(self, operation: str, **kwargs: Any) -> None:
        if operation not in self.names:
            msg = f"Operator: {operation!r} is none; expected one of {', '.join(self.names)}"
            raise ValueError(msg)
        super().__init__(**kwargs)
        self.operation = operation

    def call(self, *operands: Any) -> Any:
        if self.operation == "getitem" and isinstance(operands[1], list):  # from a config
            operands = (operands[0], tuple(operands[1]))
        return getattr(operator, self.operation)(*operands)
