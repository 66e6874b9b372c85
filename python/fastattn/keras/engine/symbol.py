"""Symbols: what a model is described with before there are data. A layer called on symbols leaves a node."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn.keras.config import dtype_of

from .state import auto_name
from .tree import leaves

if TYPE_CHECKING:
    from .layer import Layer

Shape = tuple[int | None, ...]


class Symbol:
    """A tensor that is not there yet.

    Args:
        shape: the axes, None for a length that is not known, as that of the batch.
        dtype: of the elements.
        name: a name, or None.
    """

    __array_priority__ = 1000

    def __init__(self, shape: Shape, dtype: Any = None, name: str | None = None) -> None:
        self.shape: Shape = tuple(None if n is None else int(n) for n in shape)
        self.dtype: np.dtype[Any] = dtype_of(dtype)
        self.name = auto_name("keras_tensor") if name is None else name
        self.node: Node | None = None
        self.index = 0

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def history(self) -> tuple[Layer, int, int]:
        """The layer that made it, the number of that layer's call, and the number of the output."""
        assert self.node is not None
        return self.node.layer, self.node.layer._inbound_nodes.index(self.node), self.index

    def __repr__(self) -> str:
        return f"<Symbol shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def _refuse(self, what: str) -> Any:
        msg = f"a symbol of shape {self.shape} has no {what}: it stands for data to come; use layers on it"
        raise TypeError(msg)

    def __bool__(self) -> bool:
        return bool(self._refuse("truth value"))

    def __float__(self) -> float:
        return float(self._refuse("value"))

    def __len__(self) -> int:
        return int(self._refuse("length"))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._refuse("iterator"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self._refuse("array")

    # Arithmetic is layers, which are made as it goes.

    def _arithmetic(self, name: str, *operands: Any) -> Symbol:
        from fastattn.keras.layers.operator import Operator

        symbol: Symbol = Operator(name)(*operands)
        return symbol

    def __add__(self, other: Any) -> Symbol:
        return self._arithmetic("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self._arithmetic("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self._arithmetic("sub", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._arithmetic("sub", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self._arithmetic("mul", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._arithmetic("mul", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self._arithmetic("truediv", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self._arithmetic("truediv", other, self)

    def __pow__(self, other: Any) -> Symbol:
        return self._arithmetic("pow", self, other)

    def __matmul__(self, other: Any) -> Symbol:
        return self._arithmetic("matmul", self, other)

    def __neg__(self) -> Symbol:
        return self._arithmetic("neg", self)

    def __abs__(self) -> Symbol:
        return self._arithmetic("abs", self)

    def __getitem__(self, key: Any) -> Symbol:
        return self._arithmetic("getitem", self, key)


class Node:
    """One call of a layer on symbols.

    Args:
        layer: the layer.
        args: its arguments, with symbols among them.
        kwargs: its keyword arguments.
        outputs: the structure of symbols that it gives.
    """

    def __init__(self, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        self.layer = layer
        self.args = args
        self.kwargs = kwargs
        self.outputs = outputs
        self.inputs: list[Symbol] = [x for x in leaves((args, kwargs)) if isinstance(x, Symbol)]
        for index, symbol in enumerate(leaves(outputs)):
            symbol.node, symbol.index = self, index
        layer._inbound_nodes.append(self)

    @property
    def is_input(self) -> bool:
        """Whether it is a place where data come in."""
        return not self.inputs


def has_symbol(values: Any) -> bool:
    """Whether there is a symbol in a structure."""
    return any(isinstance(x, Symbol) for x in leaves(values))


def elements(shape: Shape) -> int | None:
    """The product of the lengths; None if one of them is not known."""
    return None if None in shape else math.prod(n for n in shape if n is not None)
