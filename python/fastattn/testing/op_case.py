"""One way to call an op, and the random arguments of such a call; op_cases.py is the table of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastattn as fa

from .tolerance import DTYPES, accumulator

NDArray = np.ndarray[Any, Any]
Arguments = tuple[Any, ...]

FLOATS = tuple(dtype.name for dtype in DTYPES)


class Draw:
    """Random arguments of one dtype."""

    def __init__(self, seed: int, dtype: str) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        self.state = accumulator(self.dtype)  # the dtype of statistics and of an optimizer's state

    def normal(self, *shape: int, dtype: Any = None) -> NDArray:
        return np.asarray(self.rng.standard_normal(shape)).astype(dtype or self.dtype)

    def positive(self, *shape: int, dtype: Any = None) -> NDArray:
        return np.asarray(self.rng.random(shape) + 0.01).astype(dtype or self.dtype)

    def ids(self, high: int, *shape: int) -> NDArray:
        return self.rng.integers(0, high, shape)

    def keep(self, *shape: int) -> NDArray:
        """A boolean mask."""
        return np.asarray(self.rng.random(shape) < 0.7)


@dataclass(frozen=True)
class OpCase:
    """One way to call an op. `call`, `reference` and `backward` take the arguments that `make` draws, in order, and
    `options` by name; an op in place writes to them, and `call` returns what it wrote. `reference` and `backward` may
    return more than is compared: the first results count."""

    op: str  # its public name
    make: Callable[..., Arguments]  # of a Draw and a size
    call: Callable[..., Any]
    reference: Callable[..., Any]
    sizes: tuple[tuple[int, ...], ...]  # the first small enough for finite differences, the others across tiles
    backward: Callable[..., Any] | None = None  # of the result's gradient and the arguments
    differentiable: tuple[int, ...] = (0,)  # the arguments whose gradients `backward` returns
    options: dict[str, Any] = field(default_factory=dict)
    label: str = ""  # what sets it apart from other cases of the op
    dtypes: tuple[str, ...] = FLOATS
    statistic: bool = False  # whether the result is of the dtype of statistics
    exception: str = ""  # the name under which tolerance.EXCEPTIONS lists `backward`

    @property
    def name(self) -> str:
        return f"{self.op}, {self.label}" if self.label else self.op

    def arguments(self, dtype: str, size: tuple[int, ...]) -> Arguments:
        """The same for the same case, dtype and size."""
        return self.make(Draw(zlib.crc32(f"{self.name} {dtype} {size}".encode()), dtype), *size)

    def gradients(self, dout: NDArray, arguments: Arguments) -> list[Any]:
        """What fastattn's tape gives, in the order of `differentiable`. Within explain() there is no gradient: None."""
        tensors = [fa.Tensor(a, requires_grad=True) if i in self.differentiable else a for i, a in enumerate(arguments)]
        self.call(*tensors, **self.options).backward(fa.Tensor(dout))
        return [getattr(tensors[i].grad, "_data", None) for i in self.differentiable]


def copies(arguments: Arguments) -> Arguments:
    """Arrays of their own, for ops in place."""
    return tuple(a.copy() if isinstance(a, np.ndarray) else a for a in arguments)
