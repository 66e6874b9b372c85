"""Functions of each element of a tensor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn import ops

from . import arithmetic
from .arithmetic import (
    ABS,
    ADD,
    COS,
    RECIPROCAL,
    SIN,
    SQRT,
    SQUARE,
    Binary,
    Operand,
    Unary,
    shape_of,
    sum_to,
)
from .convert import FLOAT32, is_float
from .node import Array, Base, Node, array_module, record, wrap

if TYPE_CHECKING:
    from .tensor import Tensor


def _slope(derivative: Any, *, from_out: bool = False) -> dict[str, Any]:
    """What Unary needs for a function whose derivative is a function of the input, or of the output."""
    return {"backward": lambda node, dout: (dout * derivative(node.saved),), "from_out": from_out}


LN2, LN10 = math.log(2), math.log(10)
TAN = Unary("tan", np.tan, **_slope(lambda y: 1 + y * y, from_out=True))
SINH = Unary("sinh", np.sinh, **_slope(np.cosh))
COSH = Unary("cosh", np.cosh, **_slope(np.sinh))
ASIN = Unary("asin", np.arcsin, **_slope(lambda x: 1 / np.sqrt(1 - x * x)))
ACOS = Unary("acos", np.arccos, **_slope(lambda x: -1 / np.sqrt(1 - x * x)))
ATAN = Unary("atan", np.arctan, **_slope(lambda x: 1 / (1 + x * x)))
ASINH = Unary("asinh", np.arcsinh, **_slope(lambda x: 1 / np.sqrt(x * x + 1)))
ACOSH = Unary("acosh", np.arccosh, **_slope(lambda x: 1 / np.sqrt(x * x - 1)))
ATANH = Unary("atanh", np.arctanh, **_slope(lambda x: 1 / (1 - x * x)))
EXP2 = Unary("exp2", np.exp2, **_slope(lambda y: y * LN2, from_out=True))
EXPM1 = Unary("expm1", np.expm1, **_slope(lambda y: y + 1, from_out=True))
LOG2 = Unary("log2", np.log2, **_slope(lambda x: 1 / (x * LN2)))
LOG10 = Unary("log10", np.log10, **_slope(lambda x: 1 / (x * LN10)))
LOG1P = Unary("log1p", np.log1p, **_slope(lambda x: 1 / (1 + x)))


def _atan2_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    (ea, eb), (y, x) = node.edges, node.saved
    scaled = dout / (x * x + y * y)
    return (
        None if ea is None else sum_to(scaled * x, shape_of(y)),
        None if eb is None else sum_to(-scaled * y, shape_of(x)),
    )


def _hypot_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    (ea, eb), (x, y) = node.edges, node.saved
    scaled = dout / np.hypot(x, y)
    return (
        None if ea is None else sum_to(scaled * x, shape_of(x)),
        None if eb is None else sum_to(scaled * y, shape_of(y)),
    )


def _logaddexp_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    (ea, eb), (x, y) = node.edges, node.saved
    out = np.logaddexp(x, y)
    return (
        None if ea is None else sum_to(dout * np.exp(x - out), shape_of(x)),
        None if eb is None else sum_to(dout * np.exp(y - out), shape_of(y)),
    )


ATAN2 = Binary("atan2", np.arctan2, _atan2_backward, as_float=True)
HYPOT = Binary("hypot", np.hypot, _hypot_backward, as_float=True)
LOGADDEXP = Binary("logaddexp", np.logaddexp, _logaddexp_backward, as_float=True)


def _nan_to_num_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    return (dout * node.saved,)


def _frac_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    return (dout,)


def _float(tensor: Base) -> Tensor:
    """The tensor, integers as float32: for the kernels, which take floats."""
    return tensor if is_float(tensor._data.dtype) else tensor.to(FLOAT32)  # type: ignore[return-value]


def _me(tensor: Base) -> Tensor:
    return tensor  # type: ignore[return-value]  # every Base is a Tensor; this class is one of its parts


class Elementwise(Base):
    """Functions of each element, with torch's names."""

    __slots__ = ()

    def abs(self) -> Tensor:
        """Absolute value; gradient 0 at 0."""
        return ABS(_me(self))

    def sqrt(self) -> Tensor:
        """Square root; NaN below 0."""
        return SQRT(_me(self))

    def rsqrt(self) -> Tensor:
        """1 / sqrt(self)."""
        return RECIPROCAL(SQRT(_me(self)))

    def square(self) -> Tensor:
        """self * self."""
        return SQUARE(_me(self))

    def reciprocal(self) -> Tensor:
        """1 / self."""
        return RECIPROCAL(_me(self))

    def sin(self) -> Tensor:
        """Sine."""
        return SIN(_me(self))

    def cos(self) -> Tensor:
        """Cosine."""
        return COS(_me(self))

    def tan(self) -> Tensor:
        """Tangent."""
        return TAN(_me(self))

    def sinh(self) -> Tensor:
        """Hyperbolic sine."""
        return SINH(_me(self))

    def cosh(self) -> Tensor:
        """Hyperbolic cosine."""
        return COSH(_me(self))

    def asin(self) -> Tensor:
        """Inverse sine; NaN outside -1..1."""
        return ASIN(_me(self))

    def acos(self) -> Tensor:
        """Inverse cosine; NaN outside -1..1."""
        return ACOS(_me(self))

    def atan(self) -> Tensor:
        """Inverse tangent."""
        return ATAN(_me(self))

    def asinh(self) -> Tensor:
        """Inverse hyperbolic sine."""
        return ASINH(_me(self))

    def acosh(self) -> Tensor:
        """Inverse hyperbolic cosine; NaN below 1."""
        return ACOSH(_me(self))

    def atanh(self) -> Tensor:
        """Inverse hyperbolic tangent; NaN outside -1..1."""
        return ATANH(_me(self))

    arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh

    def atan2(self, other: Operand) -> Tensor:
        """The angle of the point (other, self), -pi to pi."""
        return ATAN2(self, other)

    arctan2 = atan2

    def hypot(self, other: Operand) -> Tensor:
        """sqrt(self^2 + other^2), without overflow."""
        return HYPOT(self, other)

    def exp(self) -> Tensor:
        """Exponential; see `fa.exp`."""
        return ops.exp(_float(self))  # type: ignore[no-any-return]

    def exp2(self) -> Tensor:
        """2 ** self."""
        return EXP2(_me(self))

    def expm1(self) -> Tensor:
        """exp(self) - 1, exact near 0."""
        return EXPM1(_me(self))

    def log(self) -> Tensor:
        """Natural logarithm; see `fa.log`."""
        return ops.log(_float(self))  # type: ignore[no-any-return]

    def log2(self) -> Tensor:
        """Logarithm to base 2."""
        return LOG2(_me(self))

    def log10(self) -> Tensor:
        """Logarithm to base 10."""
        return LOG10(_me(self))

    def log1p(self) -> Tensor:
        """log(1 + self), exact near 0."""
        return LOG1P(_me(self))

    def logaddexp(self, other: Operand) -> Tensor:
        """log(exp(self) + exp(other)), without overflow."""
        return LOGADDEXP(self, other)

    def xlogy(self, other: Operand) -> Tensor:
        """self * log(other), 0 where self is 0."""
        zero = _me(self) == 0
        other = other if isinstance(other, Base) else wrap(np.asarray(other, self._data.dtype))
        # Where self is 0 the logarithm may be infinite; its gradient, 0 * inf, must not be NaN.
        return arithmetic.where(zero, 0, self * arithmetic.where(zero, 1, other).log())  # type: ignore[no-any-return]

    def tanh(self) -> Tensor:
        """Hyperbolic tangent; see `fa.tanh`."""
        return ops.tanh(_float(self))  # type: ignore[no-any-return]

    def erf(self) -> Tensor:
        """Error function; see `fa.erf`."""
        return ops.erf(_float(self))  # type: ignore[no-any-return]

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-self)), without overflow."""
        return arithmetic.sigmoid(_float(self))

    def logit(self, eps: float | None = None) -> Tensor:
        """log(self / (1 - self)), after limiting self to eps..1 - eps."""
        p = _float(self) if eps is None else _float(self).clamp(eps, 1 - eps)
        return p.log() - LOG1P(-p)

    def relu(self) -> Tensor:
        """max(self, 0); gradient 0 at 0."""
        return arithmetic.relu(_me(self))

    def gelu(self, approximate: str = "none") -> Tensor:
        """GELU; see `fa.gelu`."""
        return ops.gelu(self, approximate)  # type: ignore[no-any-return]

    def softmax(self, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Tensor:
        """Softmax over one axis; see `fa.softmax`."""
        return ops.softmax(_me(self).to(dtype=dtype), axis, dim=dim)  # type: ignore[no-any-return]

    def log_softmax(self, dim: int | None = None, dtype: Any = None, *, axis: int | None = None) -> Tensor:
        """Logarithm of the softmax over one axis; see `fa.log_softmax`."""
        return ops.log_softmax(_me(self).to(dtype=dtype), axis, dim=dim)  # type: ignore[no-any-return]

    def clamp(self, min: Operand = None, max: Operand = None) -> Tensor:
        """Elements limited to min..max, numbers or tensors; gradient 0 outside."""
        if min is None and max is None:
            msg = "clamp: min and max are missing; pass one of them, or both"
            raise ValueError(msg)
        if not isinstance(min, Base) and not isinstance(max, Base):
            return arithmetic.clamp(_me(self), min, max)
        above = _me(self) if min is None else arithmetic.where(self < min, min, self)
        return above if max is None else arithmetic.where(above > max, max, above)

    clip = clamp

    def clamp_min(self, min: Operand) -> Tensor:
        """Elements raised to `min`."""
        return self.clamp(min=min)

    def clamp_max(self, max: Operand) -> Tensor:
        """Elements lowered to `max`."""
        return self.clamp(max=max)

    def masked_fill(self, mask: Operand, value: float | Tensor) -> Tensor:
        """`value` where the bool `mask` is true, self elsewhere."""
        return arithmetic.where(mask, value, self)  # type: ignore[no-any-return]

    def where(self, condition: Operand, other: Operand) -> Tensor:
        """self where `condition` is true, `other` elsewhere."""
        return arithmetic.where(condition, self, other)  # type: ignore[no-any-return]

    def lerp(self, end: Operand, weight: Operand) -> Tensor:
        """self + weight * (end - self)."""
        return self + weight * (end - self)  # type: ignore[no-any-return]

    def addcmul(self, tensor1: Tensor, tensor2: Operand, *, value: float = 1) -> Tensor:
        """self + value * tensor1 * tensor2."""
        return ADD(self, tensor1 * tensor2 * value)

    def addcdiv(self, tensor1: Tensor, tensor2: Operand, *, value: float = 1) -> Tensor:
        """self + value * tensor1 / tensor2."""
        return ADD(self, tensor1 / tensor2 * value)

    def deg2rad(self) -> Tensor:
        """Degrees as radians."""
        return self * (math.pi / 180)  # type: ignore[operator, return-value]

    def rad2deg(self) -> Tensor:
        """Radians as degrees."""
        return self * (180 / math.pi)  # type: ignore[operator, return-value]

    def nan_to_num(self, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
        """NaN and infinities as numbers: 0 and the largest by default; gradient 0 there."""
        xp = array_module(self._data)
        out = wrap(xp.nan_to_num(self._data, nan=nan, posinf=posinf, neginf=neginf))
        return record("nan_to_num", out, (self,), _nan_to_num_backward, xp.isfinite(self._data))

    def floor(self) -> Tensor:
        """The integer below; no gradient."""
        return wrap(array_module(self._data).floor(self._data))

    def ceil(self) -> Tensor:
        """The integer above; no gradient."""
        return wrap(array_module(self._data).ceil(self._data))

    def round(self, *, decimals: int = 0) -> Tensor:
        """The nearest integer (of two, the even), or the nearest with `decimals` places; no gradient."""
        return wrap(self._data.round(decimals))

    def trunc(self) -> Tensor:
        """The integer towards 0; no gradient."""
        return wrap(array_module(self._data).trunc(self._data))

    fix = trunc

    def frac(self) -> Tensor:
        """self - trunc(self)."""
        xp = array_module(self._data)
        return record("frac", wrap(self._data - xp.trunc(self._data)), (self,), _frac_backward, None)

    def sign(self) -> Tensor:
        """-1, 0 or 1; no gradient."""
        return wrap(array_module(self._data).sign(self._data))

    sgn = sign

    def isnan(self) -> Tensor:
        """Where elements are NaN."""
        return wrap(array_module(self._data).isnan(self._data))

    def isinf(self) -> Tensor:
        """Where elements are inf or -inf."""
        return wrap(array_module(self._data).isinf(self._data))

    def isfinite(self) -> Tensor:
        """Where elements are neither inf nor NaN."""
        return wrap(array_module(self._data).isfinite(self._data))

    def isposinf(self) -> Tensor:
        """Where elements are inf."""
        return wrap(self._data == math.inf)

    def isneginf(self) -> Tensor:
        """Where elements are -inf."""
        return wrap(self._data == -math.inf)

    def signbit(self) -> Tensor:
        """Where elements are negative, -0 included."""
        return wrap(array_module(self._data).signbit(self._data))

    absolute = abs


__all__ = ["Elementwise"]
