"""In-place forms: `x.name_(...)` computes `x.name(...)` and writes it to the memory of x."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn import ops
from fastattn._device import move
from fastattn.ops._native import is_array

from .arithmetic import Operand
from .node import Base

if TYPE_CHECKING:
    from .tensor import Tensor

# fmt: off
NAMES = (
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "arccos",
    "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh",
    "baddbmm", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "ceil", "clamp", "clamp_max", "clamp_min",
    "clip", "cos", "cosh", "cumprod", "cumsum", "deg2rad", "div", "divide", "eq", "erf", "exp", "exp2", "expm1", "fix",
    "floor", "floor_divide", "fmod", "frac", "ge", "greater", "greater_equal", "gt", "hypot", "index_add", "index_copy",
    "index_fill", "index_put", "le", "lerp", "less", "less_equal", "log", "log10", "log1p", "log2", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logit", "lt", "masked_fill", "masked_scatter", "mul", "multiply",
    "nan_to_num", "ne", "neg", "negative", "not_equal", "pow", "rad2deg", "reciprocal", "relu", "remainder", "renorm",
    "round", "rsqrt", "scatter", "scatter_add", "sgn", "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "sub",
    "subtract", "tan", "tanh", "tril", "triu", "true_divide", "trunc", "xlogy",
)
# Those that change the shape: the tensor becomes another view of its memory.
VIEWS = ("squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze")
# fmt: on


def _inplace(name: str) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._allow_inplace(method.__name__)
        before = self._before(*args, *kwargs.values())
        result = getattr(before, name)(*[before if a is self else a for a in args], **kwargs)
        return self._become(method.__name__, result)

    return _named(method, name, f"self = self.{name}(...), in the memory that self has.")


def _view_inplace(name: str) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._allow_inplace(method.__name__)
        result = getattr(self, name)(*args, **kwargs)
        self._data, self._node, self._requires_grad = result._data, result._node, result._requires_grad
        return self

    return _named(method, name, f"self = self.{name}(...): another view of the same memory.")


def _named(method: Any, name: str, doc: str) -> Callable[..., Tensor]:
    method.__name__, method.__qualname__, method.__doc__ = f"{name}_", f"Tensor.{name}_", doc
    return method  # type: ignore[no-any-return]


class Fills(Base):
    """What writes new elements to a tensor."""

    __slots__ = ()

    def copy_(self, source: Operand, non_blocking: bool = False) -> Tensor:
        """Writes the elements of `source`, cast, broadcast, and moved to this tensor's device."""
        if isinstance(source, Base):
            return self._filled(source.to(self.device))
        return self._filled(move(source, self.device) if is_array(source) else source)

    def fill_(self, value: float) -> Tensor:
        """Writes one number everywhere."""
        return self._filled(value)

    def zero_(self) -> Tensor:
        """Writes 0 everywhere."""
        return self._filled(0)

    def fill_diagonal_(self, fill_value: float) -> Tensor:
        """Writes one number to the diagonal of a matrix."""
        n = range(min(self._data.shape))
        self[[*n], [*n]] = fill_value
        return self  # type: ignore[return-value]

    def _filled(self, source: Operand) -> Tensor:
        self[...] = source
        return self  # type: ignore[return-value]

    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
        """Fills with normal random numbers; see `fa.normal_`."""
        return self._random("normal_", ops.normal_, mean, std, generator)

    def uniform_(self, low: float = 0.0, high: float = 1.0, *, generator: Any = None) -> Tensor:
        """Fills with uniform random numbers of [low, high); see `fa.uniform_`."""
        return self._random("uniform_", ops.uniform_, low, high, generator)

    def _random(self, name: str, fill: Any, a: float, b: float, generator: Any) -> Tensor:
        self._allow_inplace(name)
        fill(self, a, b, seed=None if generator is None else generator.next_seed())
        return self  # type: ignore[return-value]

    def bernoulli_(self, p: Operand = 0.5, *, generator: Any = None) -> Tensor:
        """Fills with 1 of probability p, else 0."""
        from .random import uniform

        drawn = move(uniform(self._data.shape, generator), self.device)
        return self._filled(drawn < (p._data if isinstance(p, Base) else p))

    def random_(self, low: int = 0, high: int | None = None, *, generator: Any = None) -> Tensor:
        """Fills with integers of low to high - 1; of 0 to low - 1 if `high` is missing."""
        from .random import randint

        return self.copy_(randint(low, high, self._data.shape, generator=generator))

    def exponential_(self, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
        """Fills with numbers of the exponential distribution of rate `lambd`."""
        from .random import uniform

        return self.copy_(-np.log1p(-uniform(self._data.shape, generator)) / lambd)


def add_to(cls: type) -> None:
    """Gives a class of tensors the in-place form of its methods."""
    for name in NAMES:
        setattr(cls, f"{name}_", _inplace(name))
    for name in VIEWS:
        setattr(cls, f"{name}_", _view_inplace(name))
