"""The operators of a tensor, and torch's names of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastattn import ops

from . import arithmetic as math
from .node import Base, array_module, wrap

if TYPE_CHECKING:
    from .arithmetic import Operand
    from .tensor import Tensor


def _me(tensor: Base) -> Tensor:
    return tensor  # type: ignore[return-value]  # every Base is a Tensor; this class is one of its parts


class Arithmetic(Base):
    """Arithmetic, comparisons and logic."""

    __slots__ = ()

    def __add__(self, other: Operand) -> Tensor:
        return math.ADD(self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return math.ADD(other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return math.SUB(self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return math.SUB(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return math.MUL(self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return math.MUL(other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return math.DIV(self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return math.DIV(other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return math.POW(self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return math.POW(other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return math.constant("floor_divide", np.floor_divide, self, other)

    def __rfloordiv__(self, other: Operand) -> Tensor:
        return math.constant("floor_divide", np.floor_divide, other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return math.REMAINDER(self, other)

    def __rmod__(self, other: Operand) -> Tensor:
        return math.REMAINDER(other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        if not hasattr(other, "__array_namespace__") and not isinstance(other, Base):
            return NotImplemented
        return ops.matmul(self, other)  # type: ignore[no-any-return]

    def __rmatmul__(self, other: Operand) -> Tensor:
        return ops.matmul(other, self)  # type: ignore[no-any-return]

    def __neg__(self) -> Tensor:
        return math.NEG(_me(self))

    def __pos__(self) -> Tensor:
        return _me(self)

    def __abs__(self) -> Tensor:
        return math.ABS(_me(self))

    def __invert__(self) -> Tensor:
        return wrap(~self._data)

    def __and__(self, other: Operand) -> Tensor:
        return math.constant("and", np.bitwise_and, self, other)

    def __or__(self, other: Operand) -> Tensor:
        return math.constant("or", np.bitwise_or, self, other)

    def __xor__(self, other: Operand) -> Tensor:
        return math.constant("xor", np.bitwise_xor, self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return math.constant("eq", np.equal, self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return math.constant("ne", np.not_equal, self, other)

    def __lt__(self, other: Operand) -> Tensor:
        return math.constant("lt", np.less, self, other)

    def __le__(self, other: Operand) -> Tensor:
        return math.constant("le", np.less_equal, self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return math.constant("gt", np.greater, self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return math.constant("ge", np.greater_equal, self, other)

    __hash__ = object.__hash__  # a tensor is a key by identity: == compares elements

    def __iadd__(self, other: Operand) -> Tensor:
        return math.inplace(math.ADD, _me(self), other)

    def __isub__(self, other: Operand) -> Tensor:
        return math.inplace(math.SUB, _me(self), other)

    def __imul__(self, other: Operand) -> Tensor:
        return math.inplace(math.MUL, _me(self), other)

    def __itruediv__(self, other: Operand) -> Tensor:
        return math.inplace(math.DIV, _me(self), other)

    def __ipow__(self, other: Operand) -> Tensor:
        return math.inplace(math.POW, _me(self), other)

    # torch's names of the same --------------------------------------------------------------------------------------

    def add(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """self + alpha * other."""
        out: Tensor = self + (other if alpha == 1 else other * alpha)
        return out

    def sub(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """self - alpha * other."""
        out: Tensor = self - (other if alpha == 1 else other * alpha)
        return out

    def mul(self, other: Operand) -> Tensor:
        """self * other."""
        out: Tensor = self * other
        return out

    def div(self, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
        """self / other (integers become float32), or its "floor", or "trunc": towards 0."""
        if rounding_mode is None:
            return self / other  # type: ignore[no-any-return]
        if rounding_mode == "floor":
            return self // other  # type: ignore[no-any-return]
        if rounding_mode == "trunc":
            return (self / other).trunc().to((self // other).dtype)  # type: ignore[no-any-return]
        msg = f'div: rounding_mode is {rounding_mode!r}; expected None, "floor" or "trunc"'
        raise ValueError(msg)

    def floor_divide(self, other: Operand) -> Tensor:
        """The largest integer not above self / other; no gradient."""
        return self // other  # type: ignore[no-any-return]

    def remainder(self, other: Operand) -> Tensor:
        """self - other * floor(self / other): has the sign of `other`."""
        return self % other  # type: ignore[no-any-return]

    def fmod(self, other: Operand) -> Tensor:
        """self - other * trunc(self / other): has the sign of self."""
        return math.FMOD(self, other)

    def rsub(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """other - alpha * self."""
        return other - (self if alpha == 1 else self * alpha)  # type: ignore[no-any-return]

    def pow(self, exponent: Operand) -> Tensor:
        """self ** exponent."""
        out: Tensor = self**exponent
        return out

    def maximum(self, other: Operand) -> Tensor:
        """The larger of both, element by element."""
        return math.maximum(self, other)

    def minimum(self, other: Operand) -> Tensor:
        """The smaller of both, element by element."""
        return math.minimum(self, other)

    def eq(self, other: Operand) -> Tensor:
        """self == other, a bool tensor."""
        out: Tensor = self == other
        return out

    def ne(self, other: Operand) -> Tensor:
        """self != other, a bool tensor."""
        out: Tensor = self != other
        return out

    def lt(self, other: Operand) -> Tensor:
        """self < other, a bool tensor."""
        out: Tensor = self < other
        return out

    def le(self, other: Operand) -> Tensor:
        """self <= other, a bool tensor."""
        out: Tensor = self <= other
        return out

    def gt(self, other: Operand) -> Tensor:
        """self > other, a bool tensor."""
        out: Tensor = self > other
        return out

    def ge(self, other: Operand) -> Tensor:
        """self >= other, a bool tensor."""
        out: Tensor = self >= other
        return out

    def neg(self) -> Tensor:
        """-self."""
        return math.NEG(_me(self))

    def positive(self) -> Tensor:
        """+self: itself."""
        return _me(self)

    subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg
    greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne

    def logical_not(self) -> Tensor:
        """True where an element is 0."""
        return wrap(array_module(self._data).logical_not(self._data))

    def logical_and(self, other: Operand) -> Tensor:
        """True where both are not 0."""
        return math.constant("logical_and", np.logical_and, self, other)

    def logical_or(self, other: Operand) -> Tensor:
        """True where one or both are not 0."""
        return math.constant("logical_or", np.logical_or, self, other)

    def logical_xor(self, other: Operand) -> Tensor:
        """True where just one is not 0."""
        return math.constant("logical_xor", np.logical_xor, self, other)

    def bitwise_not(self) -> Tensor:
        """~self."""
        return ~self

    def bitwise_and(self, other: Operand) -> Tensor:
        """self & other."""
        return self & other  # type: ignore[no-any-return]

    def bitwise_or(self, other: Operand) -> Tensor:
        """self | other."""
        return self | other  # type: ignore[no-any-return]

    def bitwise_xor(self, other: Operand) -> Tensor:
        """self ^ other."""
        return self ^ other  # type: ignore[no-any-return]

    def isclose(self, other: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
        """Where |self - other| <= atol + rtol * |other|."""
        _, _, x, y = math.both("isclose", self, other)
        return wrap(array_module(self._data).isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan))

    def allclose(self, other: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
        """Whether all elements are close; see `isclose`."""
        return bool(self.isclose(other, rtol, atol, equal_nan)._data.all())

    def equal(self, other: Tensor) -> bool:
        """Whether both have one shape and the same elements."""
        return self._data.shape == other._data.shape and bool((self._data == other._data).all())
