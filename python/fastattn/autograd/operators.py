"""The operators of a tensor and its methods that work element by element."""

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
    """Operators, comparisons, functions of each element, and their in-place forms."""

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
        return math.constant("remainder", np.remainder, self, other)

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

    def div(self, other: Operand) -> Tensor:
        """self / other; integers become float32."""
        out: Tensor = self / other
        return out

    def pow(self, exponent: Operand) -> Tensor:
        """self ** exponent."""
        out: Tensor = self**exponent
        return out

    def matmul(self, other: Operand) -> Tensor:
        """Matrix product; see `fa.matmul`."""
        out: Tensor = self @ other
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

    def logical_not(self) -> Tensor:
        """True where an element is 0."""
        return wrap(array_module(self._data).logical_not(self._data))

    # Functions of each element --------------------------------------------------------------------------------------

    def abs(self) -> Tensor:
        """Absolute value; gradient 0 at 0."""
        return math.ABS(_me(self))

    def sqrt(self) -> Tensor:
        """Square root; NaN below 0."""
        return math.SQRT(_me(self))

    def rsqrt(self) -> Tensor:
        """1 / sqrt(self)."""
        return math.RECIPROCAL(math.SQRT(_me(self)))

    def square(self) -> Tensor:
        """self * self."""
        return math.SQUARE(_me(self))

    def reciprocal(self) -> Tensor:
        """1 / self."""
        return math.RECIPROCAL(_me(self))

    def sin(self) -> Tensor:
        """Sine."""
        return math.SIN(_me(self))

    def cos(self) -> Tensor:
        """Cosine."""
        return math.COS(_me(self))

    def exp(self) -> Tensor:
        """Exponential; see `fa.exp`."""
        return ops.exp(self)  # type: ignore[no-any-return]

    def log(self) -> Tensor:
        """Natural logarithm; see `fa.log`."""
        return ops.log(self)  # type: ignore[no-any-return]

    def tanh(self) -> Tensor:
        """Hyperbolic tangent; see `fa.tanh`."""
        return ops.tanh(self)  # type: ignore[no-any-return]

    def erf(self) -> Tensor:
        """Error function; see `fa.erf`."""
        return ops.erf(self)  # type: ignore[no-any-return]

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-self)), without overflow."""
        return math.sigmoid(_me(self))

    def relu(self) -> Tensor:
        """max(self, 0); gradient 0 at 0."""
        return math.relu(_me(self))

    def gelu(self, approximate: str = "none") -> Tensor:
        """GELU; see `fa.gelu`."""
        return ops.gelu(self, approximate)  # type: ignore[no-any-return]

    def softmax(self, dim: int | None = None, *, axis: int | None = None) -> Tensor:
        """Softmax over one axis; see `fa.softmax`."""
        return ops.softmax(self, axis, dim=dim)  # type: ignore[no-any-return]

    def log_softmax(self, dim: int | None = None, *, axis: int | None = None) -> Tensor:
        """Logarithm of the softmax over one axis; see `fa.log_softmax`."""
        return ops.log_softmax(self, axis, dim=dim)  # type: ignore[no-any-return]

    def clamp(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Elements limited to min..max; gradient 0 outside."""
        return math.clamp(_me(self), min, max)

    def masked_fill(self, mask: Operand, value: float | Tensor) -> Tensor:
        """`value` where the bool `mask` is true, self elsewhere."""
        return math.where(mask, value, self)

    def where(self, condition: Operand, other: Operand) -> Tensor:
        """self where `condition` is true, `other` elsewhere."""
        return math.where(condition, self, other)

    def floor(self) -> Tensor:
        """The integer below; no gradient."""
        return wrap(array_module(self._data).floor(self._data))

    def ceil(self) -> Tensor:
        """The integer above; no gradient."""
        return wrap(array_module(self._data).ceil(self._data))

    def round(self, decimals: int = 0) -> Tensor:
        """The nearest integer, or the nearest with `decimals` places; no gradient."""
        return wrap(self._data.round(decimals))

    def sign(self) -> Tensor:
        """-1, 0 or 1; no gradient."""
        return wrap(array_module(self._data).sign(self._data))

    def isnan(self) -> Tensor:
        """Where elements are NaN."""
        return wrap(array_module(self._data).isnan(self._data))

    def isinf(self) -> Tensor:
        """Where elements are inf or -inf."""
        return wrap(array_module(self._data).isinf(self._data))

    def isfinite(self) -> Tensor:
        """Where elements are neither inf nor NaN."""
        return wrap(array_module(self._data).isfinite(self._data))

    # In place -------------------------------------------------------------------------------------------------------

    def add_(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """self += alpha * other."""
        tensor = _me(self)
        tensor += other if alpha == 1 else other * alpha
        return tensor

    def sub_(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """self -= alpha * other."""
        tensor = _me(self)
        tensor -= other if alpha == 1 else other * alpha
        return tensor

    def mul_(self, other: Operand) -> Tensor:
        """self *= other."""
        tensor = _me(self)
        tensor *= other
        return tensor

    def div_(self, other: Operand) -> Tensor:
        """self /= other."""
        tensor = _me(self)
        tensor /= other
        return tensor

    def clamp_(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Limits the elements to min..max, in place."""
        tensor = _me(self)
        tensor._allow_inplace("clamp_")
        return tensor._become("clamp_", tensor._before().clamp(min, max))

    def masked_fill_(self, mask: Operand, value: float | Tensor) -> Tensor:
        """Writes `value` where the bool `mask` is true."""
        tensor = _me(self)
        tensor._allow_inplace("masked_fill_")
        return tensor._become("masked_fill_", tensor._before().masked_fill(mask, value))

    def copy_(self, source: Operand) -> Tensor:
        """Writes the elements of `source`, cast and broadcast."""
        tensor = _me(self)
        tensor[...] = source
        return tensor

    def fill_(self, value: float) -> Tensor:
        """Writes one number everywhere."""
        tensor = _me(self)
        tensor[...] = value
        return tensor

    def zero_(self) -> Tensor:
        """Writes 0 everywhere."""
        return self.fill_(0)

    def normal_(self, mean: float = 0.0, std: float = 1.0) -> Tensor:
        """Fills with normal random numbers; see `fa.normal_`."""
        tensor = _me(self)
        tensor._allow_inplace("normal_")
        ops.normal_(tensor, mean, std)
        return tensor

    def uniform_(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Fills with uniform random numbers of [low, high); see `fa.uniform_`."""
        tensor = _me(self)
        tensor._allow_inplace("uniform_")
        ops.uniform_(tensor, low, high)
        return tensor
